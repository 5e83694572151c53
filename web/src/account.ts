import { effect, untracked } from "@preact/signals";
import { json, session } from "./api/client";
import type { Session } from "./api/types";
import { forget, loadList } from "./chat/store";
import { go } from "./router";

let owner: string | null = null; // the account that the page's conversations and draft belong to

// a session may end by itself; whoever logs in again goes on, anybody else finds nothing
effect(() => {
  const account = session.value?.account;
  if (!account) return;
  if (owner !== null && owner !== account.id) untracked(forget);
  owner = account.id;
});

export interface Credentials {
  name: string;
  password: string;
  invite?: string;
}

export async function openSession(kind: "login" | "register", credentials: Credentials): Promise<void> {
  session.value = await json<Session>("POST", `/${kind}`, credentials);
  go("/", true);
  await loadList();
}

export async function logout(): Promise<void> {
  session.value = await json<Session>("POST", "/logout", {});
  forget();
  go("/login", true);
}
