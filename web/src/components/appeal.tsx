import { useState } from "preact/hooks";
import { json } from "../api/client";
import type { Appeal, Message } from "../api/types";
import { t } from "../i18n";
import { Dialog } from "./dialog";
import { attempt, toast } from "./toast";

export function AppealDialog({ message, onClose }: { message: Message; onClose: () => void }) {
  const [text, setText] = useState("");
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const sent = await attempt(() => json<Appeal>("POST", "/appeals", { message_id: message.id, text }));
    if (!sent) return;
    toast(t("appeal.sent"));
    onClose();
  };
  return (
    <Dialog title={t("appeal.title")} onClose={onClose}>
      <form onSubmit={(event) => void send(event)}>
        <p>{t("appeal.text")}</p>
        <label class="field">
          <span>{t("appeal.label")}</span>
          <textarea rows={5} required maxLength={4000} value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <div class="dialog-actions">
          <button type="button" class="button" onClick={onClose}>
            {t("cancel")}
          </button>
          <button type="submit" class="button primary" disabled={!text.trim()}>
            {t("appeal.send")}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
