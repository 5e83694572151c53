import type { Message } from "../api/types";
import { setCompared, showBranch } from "../chat/store";
import { t } from "../i18n";
import { Icon } from "./icon";
import { AssistantMessage } from "./message";
import { attempt } from "./toast";

/** Two answers to one question: with a thought, and without. */
export function Comparison({ pair, question }: { pair: readonly [Message, Message]; question: string }) {
  const goOn = (message: Message) => {
    setCompared(question, false);
    void attempt(() => showBranch(message.id));
  };
  return (
    <div class="comparison">
      <button type="button" class="link-button comparison-hide" onClick={() => setCompared(question, false)}>
        {t("compare.hide")}
      </button>
      {pair.map((message) => (
        <section key={message.id} class="comparison-side" aria-label={t(message.thinking ? "compare.with" : "compare.without")}>
          <header>
            {message.thinking && <Icon name="spark" />}
            {t(message.thinking ? "compare.with" : "compare.without")}
          </header>
          <AssistantMessage message={message} side />
          {message.run_id === null && (
            <button type="button" class="button small" onClick={() => goOn(message)}>
              {t("compare.continue")}
            </button>
          )}
        </section>
      ))}
    </div>
  );
}
