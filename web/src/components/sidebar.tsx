import { useEffect, useState } from "preact/hooks";
import { fileAddress, session } from "../api/client";
import type { Summary } from "../api/types";
import { cursor, loadList, query, remove, rename, summaries } from "../chat/store";
import { logout } from "../account";
import { t } from "../i18n";
import { go, route } from "../router";
import { changeSettings, settings } from "../settings";
import { ageOf } from "../dates";
import { Confirm } from "./dialog";
import { Icon, type IconName } from "./icon";
import { Menu } from "./menu";
import { drawer } from "./drawer";
import { attempt } from "./toast";

const SEARCH_PAUSE = 200; // milliseconds without a key before the server is asked

function Entry({ summary }: { summary: Summary }) {
  const [renaming, setRenaming] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const { id } = summary;
  const title = summary.title || t("untitled");
  const current = route.value.page === "chat" && route.value.id === id;
  const save = (text: string) => {
    setRenaming(false);
    if (text.trim() && text !== summary.title) void attempt(() => rename(id, text.trim()));
  };
  if (renaming) {
    return (
      <li>
        <input
          class="rename"
          aria-label={t("rename.label")}
          defaultValue={summary.title}
          maxLength={session.value?.limits.max_title_characters ?? 200}
          ref={(element: HTMLInputElement | null) => element?.focus()}
          onBlur={(event) => save(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.isComposing) return;
            if (event.key === "Escape") {
              event.stopPropagation();
              event.currentTarget.value = summary.title;
            }
            if (event.key === "Escape" || event.key === "Enter") event.currentTarget.blur();
          }}
        />
      </li>
    );
  }
  return (
    <li class={current ? "entry current" : "entry"}>
      <a href={`/c/${id}`} aria-current={current ? "page" : undefined} title={title} onClick={() => (drawer.value = false)}>
        <span class="entry-title">{title}</span>
        {summary.snippet && <span class="entry-snippet">{summary.snippet}</span>}
      </a>
      <Menu
        className="entry-menu"
        icon="more"
        label={t("menu.of", { title })}
        items={[
          { label: t("rename"), icon: "edit", onSelect: () => setRenaming(true) },
          { label: t("export.markdown"), icon: "down", onSelect: () => download(id, "markdown") },
          { label: t("export.json"), icon: "down", onSelect: () => download(id, "json") },
          { label: t("delete"), icon: "close", danger: true, onSelect: () => setDeleting(true) },
        ]}
      />
      {deleting && (
        <Confirm
          title={t("delete.title")}
          text={t("delete.text", { title })}
          action={t("delete")}
          onConfirm={() => void attempt(() => remove(id))}
          onClose={() => setDeleting(false)}
        />
      )}
    </li>
  );
}

function download(id: string, format: "json" | "markdown"): void {
  const link = document.createElement("a");
  link.href = fileAddress(`/conversations/${id}/export?format=${format}`);
  link.download = "";
  link.click();
}

function Search() {
  useEffect(() => {
    const timer = setTimeout(() => void loadList().catch(() => undefined), SEARCH_PAUSE);
    return () => clearTimeout(timer);
  }, [query.value]);
  const clear = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || event.isComposing || !query.value) return;
    event.stopPropagation();
    query.value = "";
  };
  return (
    <label class="search">
      <Icon name="search" />
      <input
        id="search"
        type="search"
        value={query.value}
        aria-label={t("search")}
        placeholder={t("search")}
        onInput={(event) => (query.value = event.currentTarget.value)}
        onKeyDown={clear}
      />
    </label>
  );
}

function List() {
  const groups = Map.groupBy(summaries.value, (summary) => ageOf(summary.updated, Date.now()));
  if (summaries.value.length === 0) {
    const q = query.value.trim();
    return <p class="sidebar-empty">{q ? t("search.none", { q }) : t("conversations.none")}</p>;
  }
  return (
    <>
      {[...groups].map(([age, entries]) => (
        <section key={age}>
          <h3>{t(age)}</h3>
          <ul>
            {entries.map((summary) => (
              <Entry key={summary.id} summary={summary} />
            ))}
          </ul>
        </section>
      ))}
      {cursor.value && (
        <button type="button" class="link-button more" onClick={() => void attempt(() => loadList(true))}>
          {t("conversations.more")}
        </button>
      )}
    </>
  );
}

function Foot() {
  const account = session.value?.account;
  const accounts = session.value?.mode === "accounts";
  const link = (href: string, icon: IconName, text: string) => (
    <a href={href} aria-current={location.pathname === href ? "page" : undefined} onClick={() => (drawer.value = false)}>
      <Icon name={icon} />
      {text}
    </a>
  );
  void route.value;
  return (
    <div class="sidebar-foot">
      {accounts && link("/keys", "key", t("keys"))}
      {accounts && link("/usage", "chart", t("usage"))}
      {session.value?.moderation && link("/policy", "shield", t("policy"))}
      {link("/settings", "gear", t("settings"))}
      {accounts && account && (
        <div class="sidebar-account">
          <Icon name="user" />
          <span>{account.name}</span>
          <button type="button" class="icon-button" aria-label={t("logout")} title={t("logout")} onClick={() => void attempt(logout)}>
            <Icon name="exit" />
          </button>
        </div>
      )}
    </div>
  );
}

export function Sidebar() {
  const hide = () => {
    drawer.value = false;
    changeSettings({ sidebar: false });
  };
  const shown = settings.value.sidebar;
  return (
    <>
      {drawer.value && <div class="veil" onClick={() => (drawer.value = false)} />}
      <nav class={`sidebar${shown ? "" : " hidden"}${drawer.value ? " drawn" : ""}`} aria-label={t("conversations")}>
        <div class="sidebar-head">
          <a class="brand" href="/">
            <img src="/icon.svg" alt="" width="26" height="26" />
            Ponder
          </a>
          <button type="button" class="icon-button" aria-label={t("menu.close")} title={t("menu.close")} onClick={hide}>
            <Icon name="sidebar" />
          </button>
        </div>
        <button type="button" class="new-chat" onClick={() => ((drawer.value = false), go("/"))}>
          <Icon name="plus" />
          {t("new.chat")}
        </button>
        <Search />
        <div class="sidebar-list">
          <List />
        </div>
        <Foot />
      </nav>
    </>
  );
}

