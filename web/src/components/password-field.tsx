import { useId, useState } from "preact/hooks";
import { session } from "../api/client";
import { t } from "../i18n";

interface Properties {
  kind: "current" | "new";
  label: string;
  value: string;
  onInput: (value: string) => void;
}

export function PasswordField({ kind, label, value, onInput }: Properties) {
  const [shown, setShown] = useState(false);
  const hint = useId();
  const id = useId();
  const shortest = session.value?.limits.min_password_characters ?? 1;
  const common = {
    id,
    value,
    required: true,
    maxLength: 1024,
    onInput: (event: InputEvent) => onInput((event.currentTarget as HTMLInputElement).value),
    ...(kind === "new"
      ? { minLength: shortest, autoComplete: "new-password", "aria-describedby": hint }
      : { autoComplete: "current-password" }),
  } as const;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <span class="with-button">
        {shown ? <input type="text" {...common} /> : <input type="password" {...common} />}
        <button type="button" class="link-button" aria-pressed={shown} onClick={() => setShown(!shown)}>
          {t(shown ? "password.hide" : "password.show")}
        </button>
      </span>
      {kind === "new" && (
        <small id={hint} class="muted">
          {t("password.hint", { n: shortest })}
        </small>
      )}
    </div>
  );
}
