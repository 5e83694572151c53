import type { ComponentChildren } from "preact";
import { t } from "../i18n";
import { go } from "../router";
import { changeSettings, settings } from "../settings";
import { drawer, NARROW } from "./drawer";
import { Icon } from "./icon";

export function toggleSidebar(): void {
  if (matchMedia(NARROW).matches) drawer.value = !drawer.value;
  else changeSettings({ sidebar: !settings.value.sidebar });
}

export function Header({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <header class={settings.value.sidebar ? "head" : "head alone"}>
      <button type="button" class="icon-button open-sidebar" aria-label={t("menu.open")} title={t("menu.open")} onClick={toggleSidebar}>
        <Icon name="sidebar" />
      </button>
      {children}
      <span class="head-title">{title}</span>
      <button type="button" class="icon-button head-new" aria-label={t("new.chat")} title={t("new.chat")} onClick={() => go("/")}>
        <Icon name="plus" />
      </button>
    </header>
  );
}
