import { useId, useRef, useState } from "preact/hooks";
import { control } from "../chat/store";
import type { Live } from "../chat/live";
import type { Message } from "../api/types";
import { t } from "../i18n";
import { settings } from "../settings";
import { Icon } from "./icon";
import { PlainText } from "./plain-text";
import { atEnd } from "./scroller";
import { attempt } from "./toast";

/** Whole seconds; of less than one, tenths: a small model may think no longer. */
export function shownSeconds(seconds: number): number {
  return seconds < 0.95 ? Math.max(1, Math.round(10 * seconds)) / 10 : Math.round(seconds);
}

function label(live: Live): string {
  const seconds = shownSeconds(live.seconds.value ?? 0);
  const tokens = live.tokens.value ?? 0;
  if (live.phase.value === "thinking") return t("thinking.live", { seconds, tokens });
  return live.seconds.value === null ? t("thought.stopped") : t("thought.for", { seconds });
}

/** The thought: open while it is written and closed after, unless its reader has said otherwise. */
export function Thought({ live, message }: { live: Live; message: Message }) {
  const thinking = live.phase.value === "thinking";
  const habit = { open: thinking, always: true, never: false }[settings.value.thoughts];
  const [chosen, setChosen] = useState<boolean | null>(null);
  const before = useRef(thinking);
  // who reads it at this moment does not want it to close
  if (before.current && !thinking && habit === false && chosen === null && !atEnd.peek()) setChosen(true);
  before.current = thinking;
  const open = chosen ?? habit;
  const id = useId();
  const tokens = live.tokens.value;
  return (
    <section class={thinking ? "thought thinking" : "thought"}>
      <div class="thought-head">
        <button type="button" class="thought-toggle" aria-expanded={open} aria-controls={id} onClick={() => setChosen(!open)}>
          <Icon name="spark" />
          <span>{label(live)}</span>
          <Icon name="chevron" />
        </button>
        {thinking ? (
          <button
            type="button"
            class="link-button"
            title={t("answer.now.hint")}
            onClick={() => void attempt(() => control(message, "answer_now"))}
          >
            {t("answer.now")}
          </button>
        ) : (
          tokens !== null && <span class="thought-tokens">{t("thought.tokens", { tokens })}</span>
        )}
      </div>
      <div id={id} class="thought-body" hidden={!open}>
        {open && <PlainText stream={live.reasoning.value} />}
      </div>
    </section>
  );
}
