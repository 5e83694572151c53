import { json, session } from "./api/client";
import type { Session } from "./api/types";
import { closeConversation, loadList, summaries } from "./chat/store";
import { go } from "./router";

export interface Credentials {
  name: string;
  password: string;
  invite?: string;
}

export async function enter(kind: "login" | "register", credentials: Credentials): Promise<void> {
  session.value = await json<Session>("POST", `/${kind}`, credentials);
  go("/", true);
  await loadList();
}

export async function logout(): Promise<void> {
  session.value = await json<Session>("POST", "/logout", {});
  closeConversation();
  summaries.value = [];
  go("/login", true);
}
