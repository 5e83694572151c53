/** What a person has chosen on this device. */

import { effect, signal } from "@preact/signals";

export interface Settings {
  language: "auto" | "en" | "zh";
  theme: "auto" | "light" | "dark";
  thoughts: "open" | "always" | "never";
  enter: "send" | "line";
  thinking: boolean;
  effort: "low" | "high" | "max";
  model: string | null;
  sidebar: boolean;
}

const DEFAULTS: Settings = {
  language: "auto",
  theme: "auto",
  thoughts: "open",
  enter: "send",
  thinking: true,
  effort: "high",
  model: null,
  sidebar: true,
};

const CHOICES: { [K in keyof Settings]?: readonly unknown[] } = {
  language: ["auto", "en", "zh"],
  theme: ["auto", "light", "dark"],
  thoughts: ["open", "always", "never"],
  enter: ["send", "line"],
  effort: ["low", "high", "max"],
  thinking: [true, false],
  sidebar: [true, false],
};

const PLACE = "ponder.settings";

/** What was stored; anything that an older or another version wrote and this one does not know is left out. */
export function readSettings(stored: string | null): Settings {
  let found: unknown;
  try {
    found = JSON.parse(stored ?? "{}");
  } catch {
    found = {};
  }
  const known = Object.entries(found && typeof found === "object" ? found : {}).filter(([name, value]) => {
    if (name === "model") return value === null || typeof value === "string";
    return CHOICES[name as keyof Settings]?.includes(value) ?? false;
  });
  return { ...DEFAULTS, ...Object.fromEntries(known) };
}

function stored(): string | null {
  try {
    return localStorage.getItem(PLACE);
  } catch {
    return null; // storage is switched off: the choices last as long as the page
  }
}

export const settings = signal<Settings>(readSettings(stored()));

export function changeSettings(change: Partial<Settings>): void {
  settings.value = { ...settings.value, ...change };
  try {
    localStorage.setItem(PLACE, JSON.stringify(settings.value));
  } catch {
    // as above
  }
}

export function applyTheme(): void {
  effect(() => {
    const { theme } = settings.value;
    if (theme === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
  });
}
