import { useEffect, useRef, useState } from "preact/hooks";
import { openSession } from "../account";
import { ApiError, session } from "../api/client";
import { describe } from "../components/toast";
import { PasswordField } from "../components/password-field";
import { Notices } from "../components/notices";
import { t } from "../i18n";

/** Log in, or sign up. */
export function Welcome({ kind }: { kind: "login" | "register" }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [invite, setInvite] = useState("");
  const [error, setError] = useState<{ text: string; param: string | null } | null>(null);
  const [busy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);
  const registration = session.value?.registration;
  const closed = kind === "register" && registration === "closed";
  const invited = kind === "register" && registration === "invite";
  useEffect(() => {
    document.title = `${t(kind)} – Ponder`;
    setError(null);
    first.current?.focus();
  }, [kind]);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await openSession(kind, { name: name.trim(), password, ...(invited ? { invite: invite.trim() } : {}) });
    } catch (problem) {
      setError({ text: describe(problem), param: problem instanceof ApiError ? problem.param : null });
    } finally {
      setBusy(false);
    }
  };

  return (
    <div class="welcome">
      <div class="welcome-card">
        <img src="/icon.svg" alt="" width="52" height="52" />
        <h1>{t(`${kind}.title`)}</h1>
        <p class="muted">{t("app.tagline")}</p>
        <Notices />
        {closed ? (
          <p class="problem">{t("register.closed")}</p>
        ) : (
          <form onSubmit={(event) => void submit(event)}>
            <label class="field">
              <span>{t("name")}</span>
              <input
                ref={first}
                required
                autoComplete="username"
                autoCapitalize="none"
                spellcheck={false}
                maxLength={64}
                value={name}
                aria-invalid={error?.param === "name"}
                onInput={(event) => setName(event.currentTarget.value)}
              />
            </label>
            <PasswordField kind={kind === "login" ? "current" : "new"} label={t("password")} value={password} onInput={setPassword} />
            {invited && (
              <label class="field">
                <span>{t("invite")}</span>
                <input
                  required
                  name="invite"
                  autoComplete="off"
                  autoCapitalize="none"
                  spellcheck={false}
                  maxLength={200}
                  value={invite}
                  aria-invalid={error?.param === "invite"}
                  onInput={(event) => setInvite(event.currentTarget.value)}
                />
                <small class="muted">{t("invite.hint")}</small>
              </label>
            )}
            {error && (
              <p class="problem" role="alert">
                {error.text}
              </p>
            )}
            <button type="submit" class="button primary block-button" disabled={busy}>
              {t(kind)}
            </button>
          </form>
        )}
        <p class="muted welcome-other">
          {t(`${kind}.to`)}{" "}
          <a href={kind === "login" ? "/register" : "/login"}>{t(kind === "login" ? "register" : "login")}</a>
        </p>
      </div>
    </div>
  );
}
