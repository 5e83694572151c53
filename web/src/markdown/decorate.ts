/** What a rendered block still needs: drawn formulas, coloured code, a head with a copy button on code. */

import { copyText } from "../clipboard";
import { t } from "../i18n";
import { soon } from "../work";

let math: typeof import("./math") | null = null;
let code: typeof import("./code") | null = null;

const FORMULAS = ".math-inline:not(.drawn, .undrawn), .math-display:not(.drawn, .undrawn)";
const LONGEST_COLOURED = 20_000; // characters

/** Formulas that were drawn in the older form of a block stand again in the newer one, without work or flicker. */
export function keepFormulas(older: HTMLElement, newer: HTMLElement): void {
  const drawn = new Map<string, Element[]>();
  for (const element of older.querySelectorAll<HTMLElement>(".drawn")) {
    const key = element.className + element.dataset["tex"];
    drawn.set(key, [...(drawn.get(key) ?? []), element]);
  }
  if (drawn.size === 0) return;
  for (const element of newer.querySelectorAll<HTMLElement>(FORMULAS)) {
    const same = drawn.get(`${element.className} drawn${element.textContent}`)?.shift();
    if (same) element.replaceWith(same);
  }
}

async function drawFormulas(block: HTMLElement): Promise<void> {
  if (!block.querySelector(FORMULAS)) return;
  math ??= await import("./math");
  for (const element of block.querySelectorAll<HTMLElement>(FORMULAS)) {
    soon(() => element.isConnected && math?.drawFormula(element));
  }
}

async function colourBlocks(block: HTMLElement): Promise<void> {
  const blocks = [...block.querySelectorAll<HTMLElement>("pre > code[class*=language-]")];
  if (blocks.length === 0) return;
  code ??= await import("./code");
  for (const element of blocks) {
    if (element.textContent.length > LONGEST_COLOURED) continue;
    soon(() => element.isConnected && code?.colourCode(element));
  }
}

function headCode(block: HTMLElement): void {
  for (const pre of block.querySelectorAll<HTMLPreElement>("pre")) {
    if (pre.parentElement?.classList.contains("code")) continue;
    const frame = document.createElement("div");
    frame.className = "code";
    const head = document.createElement("div");
    head.className = "code-head";
    const language = document.createElement("span");
    language.textContent = /language-(\S+)/.exec(pre.firstElementChild?.className ?? "")?.[1] ?? "";
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "code-copy";
    copy.textContent = t("copy");
    copy.addEventListener("click", () => void copyText(pre.textContent, copy));
    head.append(language, copy);
    pre.replaceWith(frame);
    pre.tabIndex = 0; // wide code is scrolled with the keys, too
    frame.append(head, pre);
  }
}

/** `open`: the block is still being written, and will be rendered again in a moment. */
export function decorate(block: HTMLElement, open: boolean): void {
  headCode(block);
  void drawFormulas(block);
  if (!open) void colourBlocks(block);
  else if (code) for (const element of block.querySelectorAll<HTMLElement>("pre > code[class*=language-]")) code.colourCode(element);
}
