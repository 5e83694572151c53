/** The forms of TeX in Markdown: `$x$` and `\(x\)` in a line, `$$x$$` and `\[x\]` displayed. */

import type { MarkdownIt, StateBlock, StateInline } from "markdown-it";

interface Form {
  open: string;
  close: string;
  display: boolean;
}

const FORMS: readonly Form[] = [
  { open: "$$", close: "$$", display: true },
  { open: "\\[", close: "\\]", display: true },
  { open: "\\(", close: "\\)", display: false },
  { open: "$", close: "$", display: false },
];

/** The place of the closing mark from `from` on, or -1; a mark after a backslash is text. */
function closing(source: string, close: string, from: number): number {
  for (let at = source.indexOf(close, from); at >= 0; at = source.indexOf(close, at + 1)) {
    let slashes = 0;
    while (source[at - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return at;
  }
  return -1;
}

/** "It costs $5 and $6" is money: a formula in dollars touches its marks, and no digit follows. */
function isMoney(source: string, from: number, to: number): boolean {
  return /\s/.test(source[from] ?? " ") || /\s/.test(source[to - 1] ?? " ") || /\d/.test(source[to + 1] ?? "");
}

function inlineMath(state: StateInline, silent: boolean): boolean {
  const form = FORMS.find(({ open }) => state.src.startsWith(open, state.pos));
  if (!form) return false;
  const from = state.pos + form.open.length;
  const to = closing(state.src, form.close, from);
  if (to < 0 || to >= state.posMax || state.src.slice(from, to).trim() === "") return false;
  if (form.open === "$" && isMoney(state.src, from, to)) return false;
  if (!silent) {
    const token = state.push(form.display ? "math_display" : "math_inline", "span", 0);
    token.content = state.src.slice(from, to).trim();
  }
  state.pos = to + form.close.length;
  return true;
}

function blockMath(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  const start = state.bMarks[startLine]! + state.tShift[startLine]!;
  const form = FORMS.find(({ open, display }) => display && state.src.startsWith(open, start));
  if (!form) return false;
  const from = start + form.open.length;
  const to = closing(state.src, form.close, from);
  let line = startLine;
  while (line < endLine && state.eMarks[line]! < to) line++;
  if (to < 0 || line >= endLine || state.src.slice(to + form.close.length, state.eMarks[line]!).trim() !== "") return false;
  if (silent) return true;
  const token = state.push("math_display", "span", 0);
  token.content = state.src.slice(from, to).trim();
  token.map = [startLine, line + 1];
  token.block = true;
  state.line = line + 1;
  return true;
}

export function mathSyntax(markdown: MarkdownIt): void {
  const escape = markdown.utils.escapeHtml;
  markdown.inline.ruler.before("escape", "math", inlineMath);
  markdown.block.ruler.before("fence", "math", blockMath, { alt: ["paragraph", "reference", "blockquote", "list"] });
  markdown.renderer.rules["math_inline"] = (tokens, index) =>
    `<span class="math-inline">${escape(tokens[index]!.content)}</span>`;
  markdown.renderer.rules["math_display"] = (tokens, index) => {
    const formula = `<span class="math-display">${escape(tokens[index]!.content)}</span>`;
    return tokens[index]!.block ? `<p>${formula}</p>\n` : formula;
  };
}
