import { json, session } from "./api/client";
import type { Session } from "./api/types";
import { closeConversation, loadList, summaries } from "./chat/store";
import { go } from "./router";

export async function enter(kind: "login" | "register", name: string, password: string): Promise<void> {
  session.value = await json<Session>("POST", `/${kind}`, { name, password });
  go("/", true);
  await loadList();
}

export async function logout(): Promise<void> {
  session.value = await json<Session>("POST", "/logout", {});
  closeConversation();
  summaries.value = [];
  go("/login", true);
}
