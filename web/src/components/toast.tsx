import { signal } from "@preact/signals";
import { ApiError } from "../api/client";
import { t, type Key } from "../i18n";
import { en } from "../i18n/en";
import { Icon } from "./icon";

interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

const toasts = signal<Toast[]>([]);
const SHOWN = 7000; // milliseconds
let next = 0;

export function toast(text: string, bad = false): void {
  const id = next++;
  toasts.value = [...toasts.value, { id, text, bad }];
  setTimeout(() => dismiss(id), SHOWN);
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

/** What went wrong, in the page's language where the server's code is known. */
export function describe(error: unknown): string {
  if (!(error instanceof ApiError)) return t("error.generic");
  if (error.status === 0) return t("offline");
  const key = `error.${error.code}`;
  const text = key in en ? t(key as Key) : error.message || t("error.generic");
  return error.retryAfter === null ? text : `${text} ${t("error.retry_after", { n: Math.ceil(error.retryAfter) })}`;
}

/** Runs something that was asked for; a failure is told. The answer: whether it worked. */
export async function attempt(action: () => Promise<unknown>): Promise<boolean> {
  try {
    await action();
    return true;
  } catch (error) {
    toast(describe(error), true);
    return false;
  }
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, text, bad }) => (
        <div key={id} class={bad ? "toast bad" : "toast"}>
          <span>{text}</span>
          <button type="button" class="icon-button" aria-label={t("close")} onClick={() => dismiss(id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
