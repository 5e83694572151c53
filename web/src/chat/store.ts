/** The conversations, the one that is open, and everything that can be done with them. */

import { batch, computed, signal } from "@preact/signals";
import { ApiError, json, request, session } from "../api/client";
import { type Ask, type Asked, completeMessage, type Conversation, type Message, type Model, type Summary } from "../api/types";
import { language } from "../i18n";
import { go, route } from "../router";
import { settings } from "../settings";
import { announced, announceRun } from "./announce";
import { followRun } from "./follow";
import { Live } from "./live";
import { branchTo, childrenOf, newestLeaf } from "./tree";

// ---- the list ----

export const summaries = signal<Summary[]>([]);
export const cursor = signal<string | null>(null);
export const query = signal("");

interface Page {
  data: Summary[];
  next_cursor: string | null;
}

let asked = 0; // an answer to an older search must not replace that to a newer one

export async function loadList(more = false): Promise<void> {
  const turn = ++asked;
  const parameters = new URLSearchParams({ limit: "50" });
  if (query.value.trim()) parameters.set("q", query.value.trim());
  if (more && cursor.value) parameters.set("cursor", cursor.value);
  const page = await json<Page>("GET", `/conversations?${parameters}`);
  if (turn !== asked) return;
  batch(() => {
    summaries.value = more ? [...summaries.value, ...page.data] : page.data;
    // the server names a conversation by its first question
    const shown = page.data.find(({ id }) => id === open.value?.id);
    if (open.value && shown && shown.title !== open.value.title) open.value = { ...open.value, title: shown.title };
    cursor.value = page.next_cursor;
  });
}

export async function rename(id: string, title: string): Promise<void> {
  const changed = await json<Summary>("PATCH", `/conversations/${id}`, { title });
  summaries.value = summaries.value.map((one) => (one.id === id ? { ...one, title: changed.title } : one));
  if (open.value?.id === id) open.value = { ...open.value, title: changed.title };
}

export async function remove(id: string): Promise<void> {
  await request("DELETE", `/conversations/${id}`);
  summaries.value = summaries.value.filter((one) => one.id !== id);
  if (open.value?.id === id) go("/");
}

// ---- the open conversation ----

export const open = signal<Conversation | null>(null);
/** Whether the open conversation is the one that the address names: only then does a question go where one sees it. */
export const ready = computed(() => {
  const now = route.value;
  return now.page === "chat" && (now.id === null || now.id === open.value?.id);
});
/** The questions whose two answers stand side by side. */
export const compared = signal<ReadonlySet<string>>(new Set());

export const tree = computed(() => childrenOf(open.value?.messages ?? []));
export const branch = computed(() => (open.value ? branchTo(open.value.messages, open.value.leaf_id) : []));

const lives = new Map<string, Live>();

export function liveOf(message: Message): Live {
  let live = lives.get(message.id);
  if (!live) lives.set(message.id, (live = new Live(message)));
  return live;
}

/** Whether an answer of the open conversation is under way. */
export const running = computed(() => (open.value?.messages ?? []).filter((message) => message.run_id !== null));

let opened = 0; // a conversation that comes after the person has gone on to another is not shown

export async function openConversation(id: string): Promise<void> {
  const turn = ++opened;
  const sent = await json<Conversation>("GET", `/conversations/${id}`);
  if (turn !== opened) return;
  const conversation = { ...sent, messages: sent.messages.map(completeMessage) };
  for (const [message, live] of lives) if (!live.running) lives.delete(message);
  open.value = conversation;
  for (const message of conversation.messages) if (message.run_id !== null) void follow(id, message);
}

export function closeConversation(): void {
  opened++;
  open.value = null;
}

const followed = new Set<string>();

async function follow(conversation: string, message: Message): Promise<void> {
  const runId = message.run_id;
  if (runId === null || followed.has(runId)) return;
  followed.add(runId);
  const live = liveOf(message);
  announceRun(live);
  const final = await followRun(runId, live);
  followed.delete(runId);
  if (final) putMessages(conversation, [final]);
  else {
    live.phase.value = "ended";
    lives.delete(message.id);
    if (open.value?.id === conversation) await openConversation(conversation).catch(() => undefined);
  }
  void loadList().catch(() => undefined);
}

function putMessages(conversation: string, messages: Message[], leaf?: string): void {
  const now = open.value;
  if (now?.id !== conversation) return;
  const fresh = new Map(messages.map((message) => [message.id, completeMessage(message)]));
  const kept = now.messages.map((message) => {
    const changed = fresh.get(message.id);
    fresh.delete(message.id);
    return changed ?? message;
  });
  open.value = { ...now, messages: [...kept, ...fresh.values()], leaf_id: leaf ?? now.leaf_id };
}

// ---- asking ----

export const model = computed<Model | null>(() => {
  const models = session.value?.models ?? [];
  return (
    models.find(({ id }) => id === settings.value.model) ?? models.find(({ recommended }) => recommended) ?? models[0] ?? null
  );
});

/** What is written and not yet sent; it survives going to another page of the app. */
export const draft = signal("");

/** The next question gets two answers, with a thought and without. */
export const comparing = signal(false);

interface Choice {
  parent: string | null;
  content: string | null;
  thinking: boolean;
}

async function post(conversation: string, { parent, content, thinking }: Choice): Promise<Asked> {
  const ask: Ask = {
    parent_id: parent,
    content,
    model: model.value?.id ?? "",
    thinking,
    effort: thinking ? settings.value.effort : null,
    language: language.value,
    request_id: requestId(),
  };
  const answer = await json<Asked>("POST", `/conversations/${conversation}/messages`, ask);
  const messages = answer.user_message ? [answer.user_message, answer.assistant_message] : [answer.assistant_message];
  putMessages(conversation, messages, answer.assistant_message.id);
  void follow(conversation, answer.assistant_message);
  return answer;
}

function requestId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The first question of a new conversation. One that the server refuses leaves no empty conversation behind. */
async function begin(choice: Choice): Promise<[string, Asked]> {
  const summary = await json<Summary>("POST", "/conversations", {});
  const { id } = summary;
  open.value = { ...summary, messages: [] };
  const isOpen = () => open.value?.id === id;
  try {
    const answer = await post(id, choice);
    if (isOpen()) go(`/c/${id}`);
    return [id, answer];
  } catch (error) {
    if (isOpen()) open.value = null;
    // without an answer nobody knows whether the question was taken
    if (error instanceof ApiError && error.status !== 0) await request("DELETE", `/conversations/${id}`).catch(() => undefined);
    throw error;
  }
}

/** A question after `parent`; where a question stands there already, this makes another branch. */
export async function ask(parent: string | null, content: string): Promise<void> {
  const thinks = model.value?.thinks ?? false;
  const both = comparing.value && thinks;
  const choice = { parent, content, thinking: both || (thinks && settings.value.thinking) };
  const now = open.value;
  const [conversation, first] = now ? [now.id, await post(now.id, choice)] : await begin(choice);
  void loadList().catch(() => undefined);
  if (!both) return;
  comparing.value = false; // for one question: two answers cost twice
  const question = first.assistant_message.parent_id as string;
  compared.value = new Set([...compared.value, question]);
  await post(conversation, { parent: question, content: null, thinking: false });
  await showBranch(first.assistant_message.id);
}

/** Another answer to the question of `message`. */
export async function regenerate(message: Message, thinking: boolean): Promise<void> {
  if (open.value) await post(open.value.id, { parent: message.parent_id, content: null, thinking });
}

/** Shows the branch that goes on from a message. */
export async function showBranch(id: string): Promise<void> {
  const now = open.value;
  if (!now) return;
  const leaf = newestLeaf(tree.value, id);
  open.value = { ...now, leaf_id: leaf };
  await json("PATCH", `/conversations/${now.id}`, { leaf_id: leaf });
}

/** Sets two answers to a question side by side, or one behind the other again. */
export function setCompared(question: string, side: boolean): void {
  const questions = new Set(compared.value);
  if (side) questions.add(question);
  else questions.delete(question);
  compared.value = questions;
}

export async function control(message: Message, action: "stop" | "answer_now"): Promise<void> {
  if (message.run_id === null) return;
  try {
    await request("POST", `/runs/${message.run_id}/${action}`, {});
  } catch (error) {
    // it ended by itself meanwhile
    if (!(error instanceof ApiError && error.code === "run_ended")) throw error;
  }
}

// ---- leaving ----

/** Nothing is left of what one account wrote, searched and read: the next one at this page may be another's. */
export function forget(): void {
  asked++; // a list under way is the old account's
  batch(() => {
    closeConversation();
    summaries.value = [];
    cursor.value = null;
    query.value = "";
    compared.value = new Set();
    comparing.value = false;
    draft.value = "";
    announced.value = [];
  });
}
