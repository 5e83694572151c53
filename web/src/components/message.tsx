import { useState } from "preact/hooks";
import type { Message } from "../api/types";
import { cutShort } from "../chat/ending";
import type { Live } from "../chat/live";
import { ask, liveOf, model, regenerate, running, setCompared, showBranch, tree } from "../chat/store";
import { comparable } from "../chat/tree";
import { copyText } from "../clipboard";
import { money, t } from "../i18n";
import { AppealDialog } from "./appeal";
import { EditForm } from "./edit-form";
import { Icon, type IconName } from "./icon";
import { Markdown } from "./markdown";
import { Thought } from "./thought";
import { attempt, toast } from "./toast";

function Action({ icon, label, onClick }: { icon: IconName; label: string; onClick: () => void }) {
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} onClick={onClick}>
      <Icon name={icon} />
    </button>
  );
}

async function copyMessage(text: string): Promise<void> {
  const done = await copyText(text);
  toast(t(done ? "copied" : "copy.failed"), !done);
}

/** ‹1/3›: the other messages that follow the same one. */
function Versions({ message }: { message: Message }) {
  const siblings = tree.value.get(message.parent_id) ?? [];
  if (siblings.length < 2) return null;
  const at = siblings.findIndex(({ id }) => id === message.id);
  const step = (to: number) => void attempt(() => showBranch(siblings[to]!.id));
  return (
    <div class="versions" role="group" aria-label={t("version.of", { n: at + 1, count: siblings.length })}>
      <button type="button" class="icon-button" disabled={at === 0} aria-label={t("version.previous")} onClick={() => step(at - 1)}>
        <Icon name="left" />
      </button>
      <span aria-hidden="true">
        {at + 1}/{siblings.length}
      </span>
      <button
        type="button"
        class="icon-button"
        disabled={at === siblings.length - 1}
        aria-label={t("version.next")}
        onClick={() => step(at + 1)}
      >
        <Icon name="right" />
      </button>
    </div>
  );
}

export function UserMessage({ message }: { message: Message }) {
  const [editing, setEditing] = useState(false);
  if (editing) {
    return (
      <EditForm
        text={message.content}
        onCancel={() => setEditing(false)}
        onSend={async (text) => {
          if (await attempt(() => ask(message.parent_id, text))) setEditing(false);
        }}
      />
    );
  }
  return (
    <article class="message user">
      <h3 class="visually-hidden">{t("you.said")}</h3>
      <div class="bubble">{message.content}</div>
      <div class="actions">
        <Versions message={message} />
        <Action icon="copy" label={t("copy")} onClick={() => void copyMessage(message.content)} />
        <Action icon="edit" label={t("edit")} onClick={() => setEditing(true)} />
      </div>
    </article>
  );
}

function Waiting({ live }: { live: Live }) {
  const phase = live.phase.value;
  if (phase !== "waiting" && phase !== "queued") return null;
  const position = live.position.value;
  const text = phase === "waiting" ? t("waiting") : position === 0 ? t("queued.next") : t("queued", { n: position });
  return (
    <p class="waiting">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {text}
    </p>
  );
}

function Retracted({ message, notice }: { message: Message; notice: string | null }) {
  const [appealing, setAppealing] = useState(false);
  return (
    <div class="retracted" role="note">
      <Icon name="shield" />
      <div>
        <p>
          <strong>{t("retracted")}</strong> {notice}
        </p>
        <p class="retracted-links">
          <a href="/policy">{t("retracted.policy")}</a>
          <button type="button" class="link-button" onClick={() => setAppealing(true)}>
            {t("retracted.appeal")}
          </button>
        </p>
      </div>
      {appealing && <AppealDialog message={message} onClose={() => setAppealing(false)} />}
    </div>
  );
}

/** Why an answer is not what one expects: cut off, stopped, withdrawn in part, not saved. */
function Endings({ message, live }: { message: Message; live: Live }) {
  const reason = cutShort(message);
  const lines = reason === null ? [] : [reason];
  if (live.unsaved.value) lines.push(t("finish.unsaved"));
  return (
    <>
      {lines.map((line) => (
        <p key={line} class="ending">
          {line}
        </p>
      ))}
      {live.notice.value && !live.retracted.value && <p class="ending">{live.notice.value}</p>}
    </>
  );
}

function Cost({ message }: { message: Message }) {
  const { usage, cost } = message;
  if (!usage) return null;
  const detail = t("usage.detail", {
    prompt: usage.prompt_tokens,
    cached: usage.cache_hit_tokens,
    thought: usage.reasoning_tokens,
    answer: usage.completion_tokens - usage.reasoning_tokens,
  });
  const parts = [t("usage.message", { tokens: usage.completion_tokens })];
  if (cost) parts.push(money(cost.micro_units, cost.currency));
  return (
    <span class="cost" title={detail}>
      {parts.join(" · ")}
      <span class="visually-hidden">. {detail}</span>
    </span>
  );
}

/** Sets the answer beside the one with, or without, a thought; makes that one where there is none yet. */
function CompareAction({ message, busy }: { message: Message; busy: boolean }) {
  const question = message.parent_id;
  if (question === null || !model.value?.thinks) return null;
  const pair = comparable(tree.value.get(question) ?? []);
  if (!pair && busy) return null;
  const thinking = !message.thinking;
  const label = pair ? t("compare.show") : t(thinking ? "compare.other.thinking" : "compare.other.plain");
  const show = async () => {
    if (!pair) await regenerate(message, thinking);
    setCompared(question, true);
  };
  return <Action icon="columns" label={label} onClick={() => void attempt(show)} />;
}

function AnswerActions({ message, live, side }: { message: Message; live: Live; side: boolean }) {
  const busy = running.value.length > 0;
  return (
    <div class="actions">
      {!side && <Versions message={message} />}
      {!live.retracted.value && (
        <Action icon="copy" label={t("copy.answer")} onClick={() => void copyMessage(live.content.value.text)} />
      )}
      {!side && !busy && (
        <Action
          icon="redo"
          label={t("regenerate")}
          onClick={() => void attempt(() => regenerate(message, message.thinking ?? false))}
        />
      )}
      {!side && <CompareAction message={message} busy={busy} />}
      <Cost message={message} />
      {message.model && <span class="by">{message.model}</span>}
    </div>
  );
}

/** `side`: it stands beside another answer. */
export function AssistantMessage({ message, side = false }: { message: Message; side?: boolean }) {
  const live = liveOf(message);
  const thought = live.reasoning.value;
  const thinks = live.phase.value === "thinking" || thought.text !== "" || live.seconds.value !== null;
  return (
    <article class="message assistant" aria-busy={live.running}>
      <h3 class="visually-hidden">{t("ponder.said")}</h3>
      {live.leftOut.value > 0 && <p class="ending">{t("left.out", { n: live.leftOut.value })}</p>}
      <Waiting live={live} />
      {live.retracted.value ? (
        <Retracted message={message} notice={live.notice.value} />
      ) : (
        <>
          {thinks && <Thought live={live} message={message} />}
          <Markdown stream={live.content.value} className={live.phase.value === "answering" ? "writing" : ""} />
        </>
      )}
      {live.broken.value && live.running && <p class="ending">{t("reconnecting")}</p>}
      <Endings message={message} live={live} />
      {!live.running && <AnswerActions message={message} live={live} side={side} />}
    </article>
  );
}
