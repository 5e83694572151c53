/** What the server's JSON interface for the page sends. Times are seconds since 1970. */

export interface Session {
  mode: "open" | "accounts";
  account: Account | null;
  csrf: string;
  registration: "open" | "invite" | "closed" | "braked";
  notices: Notice[];
  models: Model[];
  efforts: Effort[];
  prices: Prices | null;
  moderation: boolean;
  limits: Limits;
}

export interface Limits {
  max_content_characters: number;
  max_runs: number;
  max_title_characters: number;
  min_password_characters: number | null; // null in open mode, which has no passwords
}

export interface Account {
  id: string;
  name: string;
  admin: boolean;
  created: number;
}

export interface Notice {
  id: string;
  level: "info" | "warning";
  text: { en: string; zh: string };
}

export interface Model {
  id: string;
  context: number;
  thinks: boolean;
  recommended: boolean;
  tools: boolean;
  examples: string[]; // questions for a person to begin with; none: the page has its own
}

export interface Prices {
  currency: string;
  models: Record<string, { cache_hit: number; cache_miss: number; output: number }>;
  until: number | null;
}

export type Effort = "low" | "high" | "max";

export interface Summary {
  id: string;
  title: string;
  model: string | null;
  created: number;
  updated: number;
  leaf_id: string | null;
  snippet: string | null;
}

export interface Conversation extends Summary {
  messages: Message[];
}

export interface Message {
  id: string;
  parent_id: string | null;
  role: "user" | "assistant";
  content: string;
  created: number;
  reasoning: string | null;
  model: string | null;
  thinking: boolean | null;
  effort: Effort | null;
  thinking_seconds: number | null;
  thought_tokens: number | null;
  usage: Usage | null;
  cost: Money | null;
  finish_reason: FinishReason | null;
  error: string | null;
  notice: string | null;
  retracted: boolean;
  left_out: number;
  run_id: string | null;
}

/** What only an answer has: a question comes without these. */
const QUESTION = {
  reasoning: null,
  model: null,
  thinking: null,
  effort: null,
  thinking_seconds: null,
  thought_tokens: null,
  usage: null,
  cost: null,
  finish_reason: null,
  error: null,
  notice: null,
  retracted: false,
  left_out: 0,
  run_id: null,
} as const;

type Sent = Pick<Message, "id" | "parent_id" | "role" | "content" | "created"> & Partial<Message>;

export function completeMessage(sent: Sent): Message {
  return { ...QUESTION, ...sent };
}

export type FinishReason =
  | "stop"
  | "length"
  | "content_filter"
  | "insufficient_system_resource"
  | "cancelled"
  | "interrupted"
  | "error";

export interface Usage {
  prompt_tokens: number;
  cache_hit_tokens: number;
  cache_miss_tokens: number;
  completion_tokens: number;
  reasoning_tokens: number;
  total_tokens: number;
}

export interface Money {
  micro_units: number;
  currency: string;
}

export interface Ask {
  parent_id: string | null;
  content: string | null;
  model: string;
  thinking: boolean;
  effort: Effort | null;
  language: "en" | "zh";
  request_id: string;
}

export interface Asked {
  user_message: Message | null;
  assistant_message: Message;
  run_id: string;
}

export type RunEvent =
  | { event: "start"; data: { left_out: number } }
  | { event: "queued"; data: { position: number } }
  | { event: "reasoning"; data: { text: string; seconds: number; tokens: number } }
  | { event: "thought_end"; data: { seconds: number; tokens: number } }
  | { event: "content"; data: { text: string } }
  | { event: "retract"; data: { notice: string } }
  | { event: "notice"; data: { notice: string } }
  | { event: "finish"; data: { message: Message; stored?: boolean } }
  | { event: "message"; data: { message: Message } };

export interface ApiKey {
  id: string;
  name: string;
  last4: string;
  created: number;
  last_used: number | null;
  key?: string;
}

export interface UsageDay {
  date: string;
  model: string;
  requests: number;
  prompt_tokens: number;
  cache_hit_tokens: number;
  completion_tokens: number;
  reasoning_tokens: number;
  micro_units: number;
}

export interface UsageReport {
  days: UsageDay[];
  currency: string | null;
  balance: { granted: number; topped_up: number; total: number } | null;
}

export interface Policy {
  enabled: boolean;
  title: string;
  markdown: string;
  rules: Array<{ number: number; title: string; description: string; action: "retract" | "refuse" | "flag" }>;
}

export interface Appeal {
  id: string;
  message_id: string;
  conversation_id: string | null;
  text: string;
  created: number;
  state: "open" | "upheld" | "reversed";
  answer: string | null;
}
