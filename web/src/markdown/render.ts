/** Markdown to safe DOM: no HTML of the author passes, no address but http, https and mailto, nothing is loaded. */

import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";
import { literalStars } from "./literal-stars";
import { mathSyntax } from "./math-syntax";

const markdown = new MarkdownIt({ html: false, linkify: true, typographer: false, breaks: false });
markdown.use(mathSyntax);
markdown.use(literalStars);
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

// Cells are aligned by a class: the page's policy allows no style attribute.
for (const rule of ["td_open", "th_open"]) {
  markdown.renderer.rules[rule] = (tokens, index, options, _env, self) => {
    const token = tokens[index]!;
    const align = /text-align:(left|center|right)/.exec(String(token.attrGet("style") ?? ""));
    token.attrs = (token.attrs ?? []).filter(([name]) => name !== "style");
    if (align) token.attrJoin("class", `align-${align[1]}`);
    return self.renderToken(tokens, index, options);
  };
}

// An image becomes a link: showing it would tell another server who reads what, and when.
markdown.renderer.rules["image"] = (tokens, index) => {
  const token = tokens[index]!;
  const escape = markdown.utils.escapeHtml;
  const address = String(token.attrGet("src") ?? "");
  return `<a href="${escape(address)}">${escape(token.content || address)}</a>`;
};

const RULES = {
  ALLOWED_TAGS: [
    ...["a", "b", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "li", "ol"],
    ...["p", "pre", "s", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul", "div"],
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true as const,
};

/** HTML of our own making, once more through the sanitizer: the last line if a renderer has a fault. */
export function safeFragment(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, RULES);
}

/** One block of Markdown as DOM. Formulas and code are bare; `decorate` finishes them. */
export function renderMarkdown(source: string): DocumentFragment {
  const fragment = safeFragment(markdown.render(source));
  for (const link of fragment.querySelectorAll("a[href]")) {
    link.setAttribute("target", "_blank");
    link.setAttribute("rel", "noopener noreferrer nofollow");
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "table-frame";
    frame.tabIndex = 0; // a wide table is scrolled with the keys, too
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}
