export type Age = "today" | "yesterday" | "week" | "older";

const DAY = 86_400_000;

/** How long ago, in days of this place. `seconds` since 1970; `now` in milliseconds. */
export function ageOf(seconds: number, now: number): Age {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const at = seconds * 1000;
  if (at >= midnight) return "today";
  if (at >= midnight - DAY) return "yesterday";
  return at >= midnight - 7 * DAY ? "week" : "older";
}
