/**
 * Asterisks of arithmetic are no emphasis. CommonMark makes "9*5=5 and 9*1=9" italic, and drops the signs; here a run of
 * asterisks between two ASCII letters or digits is text, and so is a single one between brackets or next to one:
 * "(1+2)*3". Between other letters emphasis stays possible: Chinese is written without spaces.
 */

import type { MarkdownIt } from "markdown-it";

const STAR = 0x2a;
const BEFORE = /[0-9A-Za-z)\]]/;
const AFTER = /[0-9A-Za-z([]/;
const WORD = /[0-9A-Za-z]/;

export function literalStars(markdown: MarkdownIt): void {
  markdown.inline.ruler.before("emphasis", "literal_stars", (state, silent) => {
    const { src, pos } = state;
    if (silent || src.charCodeAt(pos) !== STAR) return false;
    let end = pos + 1;
    while (src.charCodeAt(end) === STAR) end++;
    const before = src[pos - 1] ?? "";
    const after = src[end] ?? "";
    const sign = end - pos === 1 ? BEFORE.test(before) && AFTER.test(after) : WORD.test(before) && WORD.test(after);
    if (!sign) return false;
    state.pending += src.slice(pos, end);
    state.pos = end;
    return true;
  });
}
