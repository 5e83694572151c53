import { computed } from "@preact/signals";
import { settings } from "../settings";
import { en, type Key } from "./en";
import { zh } from "./zh";

export type { Key };
export type Language = "en" | "zh";

export const language = computed<Language>(() => {
  const chosen = settings.value.language;
  if (chosen !== "auto") return chosen;
  return navigator.languages.find((tag) => /^(zh|en)\b/i.test(tag))?.slice(0, 2).toLowerCase() === "zh" ? "zh" : "en";
});

/** Fills `{name}` with a value and `{name|one|many}` with the word that fits the number. Numbers get their separators. */
export function fill(text: string, values: Record<string, string | number>, locale: string): string {
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^|}]*))?\}/g, (whole, name: string, one?: string, many?: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    if (one !== undefined && many !== undefined) return value === 1 ? one : many;
    return typeof value === "number" ? value.toLocaleString(locale) : value;
  });
}

/** A text of the page in its language. Inside a component, the component follows when the language changes. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return fill((language.value === "zh" ? zh : en)[key], values, language.value);
}

const MOST_DIGITS = 6; // after the point: money is kept in millionths

/** Millionths of a currency's unit, as money: small costs keep the digits that tell them from nothing. */
export function money(microUnits: number, currency: string): string {
  const amount = microUnits / 1e6;
  const size = Math.abs(amount);
  const digits = size > 0 && size < 1 ? Math.min(2 + Math.ceil(-Math.log10(size)), MOST_DIGITS) : 2;
  return amount.toLocaleString(language.value, {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: 2,
    maximumFractionDigits: digits,
  });
}

/** Seconds since 1970 as date and time. */
export function moment(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString(language.value, { dateStyle: "medium", timeStyle: "short" });
}
