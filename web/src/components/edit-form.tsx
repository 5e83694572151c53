import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { sends } from "../keyboard";

interface Properties {
  text: string;
  onCancel: () => void;
  onSend: (text: string) => Promise<void>; // closes the form where the text was sent
}

export function EditForm({ text, onCancel, onSend }: Properties) {
  const [value, setValue] = useState(text);
  const [sending, setSending] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    field.current!.focus();
    field.current!.setSelectionRange(text.length, text.length);
  }, []);
  const send = async () => {
    if (!value.trim() || sending) return;
    setSending(true);
    await onSend(value);
    setSending(false);
  };
  const key = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      onCancel();
    } else if (sends(event)) {
      event.preventDefault();
      void send();
    }
  };
  return (
    <form class="edit-form" onSubmit={(event) => (event.preventDefault(), void send())}>
      <textarea
        ref={field}
        aria-label={t("edit.label")}
        value={value}
        readOnly={sending}
        rows={Math.min(12, value.split("\n").length + 1)}
        onInput={(event) => setValue(event.currentTarget.value)}
        onKeyDown={key}
      />
      <div class="dialog-actions">
        <button type="button" class="button small" onClick={onCancel}>
          {t("cancel")}
        </button>
        <button type="submit" class="button small primary" disabled={!value.trim() || sending}>
          {t("edit.send")}
        </button>
      </div>
    </form>
  );
}
