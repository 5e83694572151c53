import { useEffect, useState } from "preact/hooks";
import { ApiError, session } from "../api/client";
import type { Message } from "../api/types";
import { branch, closeConversation, compared, draft, model, open, openConversation, tree } from "../chat/store";
import { comparable } from "../chat/tree";
import { Comparison } from "../components/comparison";
import { Composer, focusComposer } from "../components/composer";
import { Header } from "../components/header";
import { AssistantMessage, UserMessage } from "../components/message";
import { Scroller } from "../components/scroller";
import { describe } from "../components/toast";
import { t, type Key } from "../i18n";
import { changeSettings, settings } from "../settings";
import { Missing } from "./missing";
import { LoadState } from "./state";

const EXAMPLES: readonly Key[] = ["example.math", "example.code", "example.riddle", "example.words"];

function Empty() {
  const write = (text: string) => {
    draft.value = text;
    focusComposer();
  };
  const own = model.value?.examples ?? [];
  const examples = own.length > 0 ? own : EXAMPLES.map((key) => t(key));
  return (
    <div class="empty">
      <img src="/icon.svg" alt="" width="52" height="52" />
      <h1>{t("empty.title")}</h1>
      <p>{t(model.value?.thinks === false ? "empty.hint.plain" : "empty.hint")}</p>
      <ul class="examples">
        {examples.map((text) => (
          <li key={text}>
            <button type="button" onClick={() => write(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function ModelChoice() {
  const models = session.value?.models ?? [];
  if (models.length === 0) return <p class="no-models">{t("no.models")}</p>;
  if (models.length === 1) return <span class="model-name">{models[0]!.id}</span>;
  return (
    <select
      class="model-choice"
      aria-label={t("model")}
      value={model.value?.id}
      onChange={(event) => changeSettings({ model: event.currentTarget.value })}
    >
      {models.map(({ id }) => (
        <option key={id} value={id}>
          {id}
        </option>
      ))}
    </select>
  );
}

function Turn({ message }: { message: Message }) {
  if (message.role === "user") return <UserMessage message={message} />;
  const question = message.parent_id;
  const pair = question !== null && compared.value.has(question) ? comparable(tree.value.get(question) ?? []) : null;
  return pair && question !== null ? <Comparison pair={pair} question={question} /> : <AssistantMessage message={message} />;
}

type State = "loading" | "there" | "missing" | { error: string };

/** Loads the conversation that the address names; again when it is told to. */
function useConversation(id: string | null): { state: State; reload: () => void } {
  const [turn, setTurn] = useState(0);
  const [state, setState] = useState<State>(id === null ? "there" : "loading");
  useEffect(() => {
    if (id === null) {
      closeConversation();
      setState("there");
      return;
    }
    if (open.peek()?.id === id) return setState("there"); // it was just made
    let left = false;
    setState("loading");
    closeConversation();
    openConversation(id).then(
      () => left || setState("there"),
      (error: unknown) => {
        const missing = error instanceof ApiError && error.status === 404;
        if (!left) setState(missing ? "missing" : { error: describe(error) });
      },
    );
    return () => void (left = true);
  }, [id, turn]);
  return { state, reload: () => setTurn((now) => now + 1) };
}

export function Chat({ id }: { id: string | null }) {
  const { state, reload } = useConversation(id);
  useEffect(() => {
    document.title = open.value?.title ? `${open.value.title} – Ponder` : "Ponder";
  }, [open.value?.title]);
  if (state === "missing") return <Missing />;
  const turns = branch.value;
  const empty = state === "there" && turns.length === 0;
  const wide = turns.some(({ parent_id }) => parent_id !== null && compared.value.has(parent_id));
  void settings.value.model;
  return (
    <div class={`chat${empty ? " is-empty" : ""}${wide ? " wide" : ""}`}>
      <Header title={open.value?.title ?? ""}>
        <ModelChoice />
      </Header>
      {empty ? (
        <Empty />
      ) : (
        <Scroller key={id}>
          {state !== "there" && <LoadState loaded={{ error: state === "loading" ? null : state.error, reload }} />}
          {turns.map((message) => (
            <Turn key={message.role === "user" ? message.id : `${message.parent_id}/${message.id}`} message={message} />
          ))}
        </Scroller>
      )}
      <footer class="dock">
        <Composer />
        <p class="small-print">{t("composer.hint")}</p>
      </footer>
    </div>
  );
}
