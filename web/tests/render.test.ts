import { describe, expect, it } from "vitest";
import { renderMarkdown } from "../src/markdown/render";

function html(source: string): string {
  const root = document.createElement("div");
  root.append(renderMarkdown(source));
  return root.innerHTML.trim();
}

describe("Markdown", () => {
  it("makes formulas of all four forms", () => {
    expect(html("a $x^2$ and \\(y\\)")).toBe('<p>a <span class="math-inline">x^2</span> and <span class="math-inline">y</span></p>');
    expect(html("$$\nx\n$$")).toBe('<p><span class="math-display">x</span></p>');
    expect(html("\\[\nx < y\n\\]")).toBe('<p><span class="math-display">x &lt; y</span></p>');
    expect(html("so $$x$$ here")).toBe('<p>so <span class="math-display">x</span> here</p>');
  });

  it("takes dollars for money where they are", () => {
    expect(html("from $5 to $6 or $ 7 $")).toBe("<p>from $5 to $6 or $ 7 $</p>");
    expect(html("\\$5 and $5$")).toBe('<p>$5 and <span class="math-inline">5</span></p>');
  });

  it.each(["9*5=5, 5-9=6, 9*1=9", "(1+2)*(3+4)*5", "2*(3+4) and (1)*2", "2**3 and 4**5", "a*b*c", "n*(n+1)*(2n+1)"])(
    "takes the asterisks of %s for signs",
    (source) => expect(html(source)).toBe(`<p>${source}</p>`),
  );

  it("keeps emphasis, also in a script without spaces", () => {
    expect(html("a *b* **c** ***d***.")).toBe("<p>a <em>b</em> <strong>c</strong> <em><strong>d</strong></em>.</p>");
    expect(html("**9*5=45** (*so*)")).toBe("<p><strong>9*5=45</strong> (<em>so</em>)</p>");
    expect(html("**bold**(x)")).toBe("<p><strong>bold</strong>(x)</p>");
    expect(html("这是**重点**内容，*也*是，**2**个")).toBe(
      "<p>这是<strong>重点</strong>内容，<em>也</em>是，<strong>2</strong>个</p>",
    );
  });

  it("leaves formulas in code alone", () => {
    expect(html("`$x$`")).toBe("<p><code>$x$</code></p>");
  });

  it("aligns cells by class and has no style attribute", () => {
    const table = html("| a | b |\n|:-:|--:|\n| 1 | 2 |");
    expect(table).toContain('<td class="align-center">1</td>');
    expect(table).not.toContain("style");
  });

  it("opens links elsewhere, without a referrer", () => {
    expect(html("[a](https://example.org)")).toBe(
      '<p><a href="https://example.org" target="_blank" rel="noopener noreferrer nofollow">a</a></p>',
    );
  });

  it("loads no image", () => {
    expect(html("![a cat](https://example.org/cat.png)")).not.toContain("<img");
    expect(html("![a cat](https://example.org/cat.png)")).toContain(">a cat</a>");
  });

  it.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](data:text/html,<script>alert(1)</script>)",
    "![x](javascript:alert(1))",
    '![" onerror="alert(1)](x)',
    "<svg><a xlink:href='javascript:alert(1)'>",
    "[a](https://x\"onmouseover=alert(1))",
    "$<img src=x onerror=alert(1)>$",
    "```<img onerror=alert(1)>\nx\n```",
    "<style>*{display:none}</style>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
  ])("makes nothing that runs of %s", (source) => {
    const root = document.createElement("div");
    root.append(renderMarkdown(source));
    expect(root.querySelector("script, img, svg, iframe, style, object, embed, form, input")).toBeNull();
    for (const element of root.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        expect(name).not.toMatch(/^on|^style$|^src/);
        expect(value).not.toMatch(/^\s*(javascript|data|vbscript):/i);
      }
    }
  });
});
