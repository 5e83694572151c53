/** Numbers that look random and are the same in every run (mulberry32). */
export function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** A text cut into pieces of 1 to `longest` UTF-16 units. */
export function pieces(text: string, next: () => number, longest: number): string[] {
  const parts: string[] = [];
  for (let at = 0; at < text.length; ) {
    const size = 1 + Math.floor(next() * longest);
    parts.push(text.slice(at, at + size));
    at += size;
  }
  return parts;
}

const LINES = [
  ...["", "", "", "plain words", "# head", "- one", "  more", "- two", "3. three", "   ```js", "```python", "```", "~~~", "$$"],
  ...["x = 1", "    indented", "> quoted", "| a | b |", "|---|---|", "\\[ a", "b \\]", "$$ x $$", "\t tab", "*  *  *", "---"],
  ...["中文，标点。", "emoji 😀😀", "`code` and $x$", "<script>alert(1)</script>", "- ```", "1) item", "\r"],
];

/** Lines of Markdown in any order: forms that close, and forms that do not. */
export function anyMarkdown(next: () => number, lines: number): string {
  return Array.from({ length: lines }, () => LINES[Math.floor(next() * LINES.length)]).join("\n");
}
