/** The keys that work everywhere, and the one that sends. */

import { changeSettings, settings } from "./settings";

/** Whether this key press sends what is written. A key that picks a word in an input method never does. */
export function sends(event: KeyboardEvent): boolean {
  if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return false;
  if (event.ctrlKey || event.metaKey) return true;
  return settings.value.enter === "send" && !event.shiftKey && !event.altKey;
}

export interface Commands {
  newChat: () => void;
  search: () => void;
  write: () => void;
  sidebar: () => void;
  stop: () => boolean; // whether there was something to stop
}

const typing = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** Ctrl, or Command on a Mac, with Shift for letters that browsers keep for themselves. */
export function listen(commands: Commands): () => void {
  const pressed = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const control = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (control && !event.shiftKey && key === "k") commands.search();
    else if (control && event.shiftKey && key === "o") commands.newChat();
    else if (control && event.shiftKey && key === "s") commands.sidebar();
    else if (control && event.shiftKey && key === "e") changeSettings({ thinking: !settings.value.thinking });
    else if (!control && !event.altKey && key === "/" && !typing(event.target)) commands.write();
    else if (key === "escape") {
      if (!commands.stop()) return;
    } else return;
    event.preventDefault();
  };
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", pressed);
}

export const SHORTCUTS = [
  ["shortcut.focus", "/"],
  ["shortcut.search", "Ctrl K"],
  ["shortcut.new", "Ctrl Shift O"],
  ["shortcut.think", "Ctrl Shift E"],
  ["shortcut.sidebar", "Ctrl Shift S"],
  ["shortcut.stop", "Esc"],
] as const;
