import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { session } from "../api/client";
import type { Effort } from "../api/types";
import { ask, branch, comparing, control, draft, model, ready, running } from "../chat/store";
import { t } from "../i18n";
import { sends } from "../keyboard";
import { changeSettings, settings } from "../settings";
import { Icon } from "./icon";
import { scrollToEnd } from "./scroller";
import { attempt } from "./toast";

export function focusComposer(): void {
  document.querySelector<HTMLTextAreaElement>("#composer")?.focus();
}

/** Gives the field the height of its text, where the style sheet's `field-sizing` cannot. */
function fit(field: HTMLTextAreaElement): void {
  if (CSS.supports("field-sizing", "content")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

async function send(): Promise<void> {
  const text = draft.value;
  if (!text.trim() || running.value.length > 0 || !model.value || !ready.value) return;
  draft.value = "";
  scrollToEnd();
  const last = () => branch.value.at(-1)?.id ?? null;
  const parent = last();
  const sent = await attempt(() => ask(parent, text));
  if (!sent && !draft.value && last() === parent) draft.value = text; // of a comparison one side may have been taken
}

export function stopAll(): boolean {
  const messages = running.value;
  for (const message of messages) void attempt(() => control(message, "stop"));
  return messages.length > 0;
}

function Switch({ icon, label, hint, on, onToggle }: {
  icon: "spark" | "columns";
  label: string;
  hint: string;
  on: boolean;
  onToggle: () => void;
}) {
  return (
    <button
      type="button"
      class={`switch switch-${icon}${on ? " on" : ""}`}
      aria-label={label}
      aria-pressed={on}
      title={hint}
      onClick={onToggle}
    >
      <Icon name={icon} />
      <span>{label}</span>
    </button>
  );
}

function EffortChoice() {
  const efforts = session.value?.efforts ?? [];
  if (!settings.value.thinking && !comparing.value) return null;
  return (
    <select
      class="effort"
      aria-label={t("effort")}
      title={t("effort")}
      value={settings.value.effort}
      onChange={(event) => changeSettings({ effort: event.currentTarget.value as Effort })}
    >
      {efforts.map((effort) => (
        <option key={effort} value={effort}>
          {t(`effort.${effort}`)}
        </option>
      ))}
    </select>
  );
}

export function Composer() {
  const field = useRef<HTMLTextAreaElement>(null);
  const busy = running.value.length > 0;
  const text = draft.value;
  const thinks = model.value?.thinks ?? false;
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) field.current?.focus();
  }, []);
  useLayoutEffect(() => fit(field.current!), [text]);
  const key = (event: KeyboardEvent) => {
    if (!sends(event)) return;
    event.preventDefault();
    void send();
  };
  return (
    <form class="composer" onSubmit={(event) => (event.preventDefault(), void send())}>
      <textarea
        id="composer"
        ref={field}
        rows={1}
        value={text}
        aria-label={t("composer.label")}
        placeholder={t("composer.placeholder")}
        enterkeyhint={settings.value.enter === "send" ? "send" : "enter"}
        onInput={(event) => (draft.value = event.currentTarget.value)}
        onKeyDown={key}
      />
      <div class="composer-row">
        {thinks && (
          <>
            <Switch
              icon="spark"
              label={t("deepthink")}
              hint={t("deepthink.hint")}
              on={settings.value.thinking || comparing.value}
              onToggle={() => {
                comparing.value = false;
                changeSettings({ thinking: !settings.value.thinking });
              }}
            />
            <EffortChoice />
            <Switch
              icon="columns"
              label={t("compare")}
              hint={t("compare.hint")}
              on={comparing.value}
              onToggle={() => (comparing.value = !comparing.value)}
            />
          </>
        )}
        <span class="spring" />
        {busy ? (
          <button type="button" class="round stop" aria-label={t("stop.label")} title={t("stop.label")} onClick={stopAll}>
            <Icon name="stop" />
          </button>
        ) : (
          <button
            type="submit"
            class="round"
            aria-label={t("send")}
            title={t("send")}
            disabled={!text.trim() || !model.value || !ready.value}
          >
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}
