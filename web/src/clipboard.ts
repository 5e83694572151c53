import { t } from "./i18n";

/** Copies; the button says so for a moment. Plain http elsewhere than on this machine has no clipboard interface. */
export async function copyText(text: string, button?: HTMLElement): Promise<boolean> {
  const done = await write(text);
  if (button) tell(button, t(done ? "copied" : "copy.failed"));
  return done;
}

const TOLD = 1500; // milliseconds

/** The buttons that say how it went: the label that they had, and the timer that gives it back. */
const telling = new WeakMap<HTMLElement, { label: string; timer: ReturnType<typeof setTimeout> }>();

function tell(button: HTMLElement, text: string): void {
  const before = telling.get(button);
  clearTimeout(before?.timer);
  const label = before?.label ?? button.textContent;
  button.textContent = text;
  const timer = setTimeout(() => {
    telling.delete(button);
    button.textContent = label;
  }, TOLD);
  telling.set(button, { label, timer });
}

async function write(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return writeBySelection(text);
  }
}

function writeBySelection(text: string): boolean {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  try {
    return document.execCommand("copy");
  } finally {
    field.remove();
  }
}
