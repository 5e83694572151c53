import { signal } from "@preact/signals";

/** Whether the sidebar lies over the page, on a screen too narrow for both. */
export const drawer = signal(false);

/** The width from which on both have room; the style sheet has the same. */
export const NARROW = "(max-width: 820px)";
