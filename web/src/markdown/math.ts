/** Formulas, by KaTeX; loaded when a text has the first one. */

import katex from "katex";
import "katex/dist/katex.min.css";

/**
 * Renders into an element. KaTeX builds nodes and sets their style through the DOM, which the page's policy allows; the
 * two commands whose MathML carries a style attribute, which it does not, are drawn without MathML.
 */
export function drawFormula(element: HTMLElement): void {
  const tex = element.textContent;
  try {
    katex.render(tex, element, {
      displayMode: element.classList.contains("math-display"),
      output: /\\(?:pmb|fcolorbox)\b/.test(tex) ? "html" : "htmlAndMathml",
      throwOnError: true,
      strict: "ignore",
      trust: false,
      maxExpand: 200,
      maxSize: 20,
    });
    element.dataset["tex"] = tex;
    element.classList.add("drawn");
  } catch {
    // half a formula, or none: its source stands there
    element.textContent = tex;
    element.classList.add("undrawn");
  }
}
