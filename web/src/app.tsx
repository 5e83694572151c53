import { effect, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { loadSession, session } from "./api/client";
import { announced } from "./chat/announce";
import { loadList } from "./chat/store";
import { focusComposer, stopAll } from "./components/composer";
import { drawer, NARROW } from "./components/drawer";
import { toggleSidebar } from "./components/header";
import { Sidebar } from "./components/sidebar";
import { describe, toast, Toasts } from "./components/toast";
import { language, t } from "./i18n";
import { listen } from "./keyboard";
import { Chat } from "./pages/chat";
import { Keys } from "./pages/keys";
import { Missing } from "./pages/missing";
import { PolicyPage } from "./pages/policy";
import { SettingsPage } from "./pages/settings";
import { Usage } from "./pages/usage";
import { Welcome } from "./pages/welcome";
import { go, route } from "./router";
import { changeSettings, settings } from "./settings";

const failed = signal<string | null>(null);

async function start(): Promise<void> {
  failed.value = null;
  try {
    const { account } = await loadSession();
    if (account) await loadList();
  } catch (error) {
    if (session.value) toast(describe(error), true);
    else failed.value = describe(error);
  }
}

/** Esc: what lies over the page goes first, then what runs. */
function stop(): boolean {
  if (!drawer.value) return stopAll();
  drawer.value = false;
  return true;
}

function search(): void {
  if (matchMedia(NARROW).matches) drawer.value = true;
  else changeSettings({ sidebar: true });
  requestAnimationFrame(() => document.querySelector<HTMLInputElement>("#search")?.focus());
}

function CurrentPage() {
  const now = route.value;
  const accounts = session.value?.mode === "accounts";
  switch (now.page) {
    case "chat":
      return <Chat id={now.id} />;
    case "keys":
      return accounts ? <Keys /> : <Missing />;
    case "usage":
      return accounts ? <Usage /> : <Missing />;
    case "settings":
      return <SettingsPage />;
    case "policy":
      return <PolicyPage />;
    default:
      return <Missing />;
  }
}

function Unreachable({ text }: { text: string }) {
  return (
    <main class="welcome">
      <div class="welcome-card" role="alert">
        <h1>Ponder</h1>
        <p>{text}</p>
        <button type="button" class="button primary" onClick={() => void start()}>
          {t("retry")}
        </button>
      </div>
    </main>
  );
}

export function App() {
  useEffect(() => {
    void start();
    const dispose = effect(() => void (document.documentElement.lang = language.value === "zh" ? "zh-CN" : "en"));
    const leave = listen({ newChat: () => go("/"), search, write: focusComposer, sidebar: toggleSidebar, stop });
    return () => (dispose(), leave());
  }, []);
  const now = session.value;
  const { page } = route.value;
  const outside = page === "login" || page === "register";
  useEffect(() => {
    if (now && !now.account && !outside) go("/login", true);
    else if (now?.account && outside) go("/", true);
  }, [now, outside]);

  if (failed.value !== null) return <Unreachable text={failed.value} />;
  if (!now) return <main class="welcome" aria-busy="true" />;
  if (!now.account || outside) {
    return (
      <>
        <main id="main">
          <Welcome kind={page === "register" ? "register" : "login"} />
        </main>
        <Toasts />
      </>
    );
  }
  return (
    <>
      <a class="skip" href="#main">
        {t("skip")}
      </a>
      <div class={settings.value.sidebar ? "app" : "app no-sidebar"}>
        <Sidebar />
        <main id="main" tabIndex={-1}>
          <CurrentPage />
        </main>
      </div>
      <div class="visually-hidden" role="log" aria-live="polite">
        {announced.value.map(({ id, text }) => (
          <p key={id}>{text}</p>
        ))}
      </div>
      <Toasts />
    </>
  );
}
