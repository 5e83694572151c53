import { t } from "./i18n";

/** Copies; the button says so for a moment. Plain http elsewhere than on this machine has no clipboard interface. */
export async function copyText(text: string, button?: HTMLElement): Promise<boolean> {
  const done = await write(text);
  if (button) {
    const before = button.textContent;
    button.textContent = t(done ? "copied" : "copy.failed");
    setTimeout(() => (button.textContent = before), 1500);
  }
  return done;
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
