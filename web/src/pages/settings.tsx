import { useState } from "preact/hooks";
import { fileAddress, request, session } from "../api/client";
import { PasswordField } from "../components/password-field";
import { attempt, toast } from "../components/toast";
import { t } from "../i18n";
import { SHORTCUTS } from "../keyboard";
import { changeSettings, settings, type Settings } from "../settings";
import { Frame } from "./frame";

interface Choice<Name extends keyof Settings> {
  name: Name;
  label: string;
  options: ReadonlyArray<readonly [Settings[Name] & string, string]>;
}

function Choose<Name extends keyof Settings>({ name, label, options }: Choice<Name>) {
  return (
    <label class="setting">
      <span>{label}</span>
      <select
        value={settings.value[name] as string}
        onChange={(event) => changeSettings({ [name]: event.currentTarget.value } as Partial<Settings>)}
      >
        {options.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

function PasswordChange() {
  const [current, setCurrent] = useState("");
  const [fresh, setFresh] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (!(await attempt(() => request("POST", "/password", { current, new: fresh })))) return;
    toast(t("password.changed"));
    setCurrent("");
    setFresh("");
  };
  return (
    <section>
      <h2>{t("password.change")}</h2>
      <form class="narrow" onSubmit={(event) => void submit(event)}>
        <input class="visually-hidden" tabIndex={-1} aria-hidden="true" autoComplete="username" readOnly value={session.value?.account?.name} />
        <PasswordField kind="current" label={t("password.current")} value={current} onInput={setCurrent} />
        <PasswordField kind="new" label={t("password.new")} value={fresh} onInput={setFresh} />
        <button type="submit" class="button">
          {t("password.change")}
        </button>
      </form>
    </section>
  );
}

export function SettingsPage() {
  return (
    <Frame title={t("settings")}>
      <section class="settings">
        <Choose
          name="language"
          label={t("settings.language")}
          options={[
            ["auto", t("settings.language.auto")],
            ["en", "English"],
            ["zh", "简体中文"],
          ]}
        />
        <Choose
          name="theme"
          label={t("settings.theme")}
          options={[
            ["auto", t("settings.theme.auto")],
            ["light", t("settings.theme.light")],
            ["dark", t("settings.theme.dark")],
          ]}
        />
        <Choose
          name="thoughts"
          label={t("settings.thoughts")}
          options={[
            ["open", t("settings.thoughts.open")],
            ["always", t("settings.thoughts.always")],
            ["never", t("settings.thoughts.never")],
          ]}
        />
        <Choose
          name="enter"
          label={t("settings.enter")}
          options={[
            ["send", t("settings.enter.send")],
            ["line", t("settings.enter.line")],
          ]}
        />
      </section>
      <section>
        <h2>{t("settings.data")}</h2>
        <p class="muted">{t("export.all.text")}</p>
        <a class="button" href={fileAddress("/export")} download="">
          {t("export.all")}
        </a>
      </section>
      {session.value?.mode === "accounts" && <PasswordChange />}
      <section>
        <h2>{t("shortcuts")}</h2>
        <dl class="shortcuts">
          {SHORTCUTS.map(([label, keys]) => (
            <div key={label}>
              <dt>{t(label)}</dt>
              <dd>
                {keys.split(" ").map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dd>
            </div>
          ))}
        </dl>
      </section>
    </Frame>
  );
}
