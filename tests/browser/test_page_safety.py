"""What must not happen on the page: scripts of others, requests elsewhere, barriers for assistive technology."""

from pathlib import Path
from typing import Any

import pytest
from mock_api import MockApi, answer
from playwright.sync_api import Page, expect
from site_page import MakeSite, Site
from test_page_manage import usage_of_two_days, with_conversations

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"

# Ways to run a script or to load something, in HTML, in Markdown, and in what the page's own renderers read.
ATTACKS = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg onload=window.hacked=1>",
    "<svg><script>window.hacked=1</script></svg>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<object data='javascript:window.hacked=1'></object>",
    "<embed src='javascript:window.hacked=1'>",
    "<details open ontoggle=window.hacked=1>",
    "<style>@import 'http://evil.example/x.css';</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>",
    "<base href=http://evil.example/>",
    "<form action=http://evil.example/><input type=submit></form>",
    "<a href='javascript:window.hacked=1'>x</a>",
    "<math><mtext></p><script>window.hacked=1</script>",
    "<template><script>window.hacked=1</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=window.hacked=1>'>",
    "[x](javascript:window.hacked=1)",
    "[x](JaVaScRiPt:window.hacked=1)",
    "[x](data:text/html;base64,PHNjcmlwdD5wYXJlbnQuaGFja2VkPTE8L3NjcmlwdD4=)",
    "[x](vbscript:window.hacked=1)",
    "[x](\tjavascript:window.hacked=1)",
    '[x](http://a.example/" onmouseover="window.hacked=1)',
    "![x](http://evil.example/pixel.png)",
    "![x](javascript:window.hacked=1)",
    "<javascript:window.hacked=1>",
    "[x]\n\n[x]: javascript:window.hacked=1",
    "$\\href{javascript:window.hacked=1}{x}$",
    "$\\url{javascript:window.hacked=1}$",
    "$\\htmlStyle{position:fixed}{x}$",
    "$\\includegraphics{http://evil.example/x.png}$",
    "$$\\text{<img src=x onerror=window.hacked=1>}$$",
    "$\\def\\x{\\x\\x}\\x$",
    "$\\rule{1000000em}{1000000em}$",
    "$\\fcolorbox{red}{blue}{x} \\pmb{x}$",
    "```html\n<img src=x onerror=window.hacked=1>\n```",
    '```js" onmouseover="window.hacked=1\nx\n```',
    "```\n</code></pre><script>window.hacked=1</script>\n```",
    "| <img src=x onerror=window.hacked=1> |\n|---|\n| <script>window.hacked=1</script> |",
    "\u202e\u0000<scr\u0000ipt>window.hacked=1</script>",
]


def click_all(page: Page) -> None:
    """Whatever could be clicked in the messages, and moved over."""
    for link in page.locator(".message a").all():
        link.dispatch_event("mouseover")
        link.evaluate(
            "link => { link.target = ''; link.addEventListener('click', e => e.preventDefault()); link.click(); }"
        )


def test_no_script_of_a_message_runs_and_nothing_is_loaded(make_site: MakeSite) -> None:
    text = "\n\n".join(ATTACKS)
    site = make_site(MockApi(script=lambda question, thinking: answer(text, text, size=40)))
    page = site.page
    page.add_init_script("window.hacked = 0")
    site.open()
    site.ask(text)
    site.answered()
    page.click(".thought-toggle")
    page.wait_for_function("() => document.querySelectorAll('.katex').length >= 4")
    page.wait_for_timeout(300)
    click_all(page)
    assert page.evaluate("window.hacked") == 0
    shown = page.locator(".message").locator("script, img, iframe, object, embed, style, link, form, base, meta")
    assert shown.count() == 0
    for link in page.locator(".message a").all():
        assert (link.get_attribute("href") or "").startswith(("http:", "https:"))
    expect(page.locator(".user .bubble")).to_contain_text("<script>window.hacked = 1</script>")
    # the title in the sidebar and the search's snippet are texts, too
    page.fill("#search", "hacked")
    expect(page.locator(".entry-snippet")).to_contain_text("hacked")
    assert page.evaluate("window.hacked") == 0


def test_the_policy_stops_what_the_page_would_let_through(make_site: MakeSite) -> None:
    """The second line: script and style that stand in the page all the same do not run."""
    site = make_site(MockApi())
    site.open()
    broken = site.page.evaluate(
        """async () => {
          const broken = [];
          document.addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
          const tries = [
            () => {
              const script = document.createElement("script");
              script.textContent = "window.hacked = 1";
              document.body.append(script);
            },
            () => { document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=window.hacked=1>"); },
            () => { document.createElement("p").setAttribute("style", "color: red"); },
            () => { new Image().src = "http://127.0.0.1:9/x.png"; },
            () => fetch("http://127.0.0.1:9/"),
            () => {
              const frame = document.createElement("iframe");
              frame.src = "http://127.0.0.1:9/";
              document.body.append(frame);
            },
            () => new Promise((done) => setTimeout(() => { try { eval("window.hacked = 1"); } finally { done(); } })),
          ];
          for (const attempt of tries) try { await attempt(); } catch { /* that is the point */ }
          await new Promise((done) => setTimeout(done, 200));
          return [broken, window.hacked];
        }"""
    )
    kinds = {kind.removesuffix("-elem").removesuffix("-attr") for kind in broken[0]}
    assert broken[1] is None
    assert kinds >= {"require-trusted-types-for", "style-src", "img-src", "connect-src", "frame-src"}
    site.complaints.clear()
    site.elsewhere.clear()  # asked for and refused by the browser


def test_the_page_says_what_it_allows(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    for path in ("/", "/c/any", "/settings", "/icon.svg"):
        response = site.page.request.get(site.address + path)
        policy = response.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy.split("; "))
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"


def everything() -> MockApi:
    """A site with something on every page."""
    api = with_conversations("The sky", "Kyoto")
    api.mode = "accounts"
    api.account = {"id": "mei", "name": "mei", "admin": False, "created": 1.7e9}
    api.script = lambda question, thinking: answer(
        "So $x$.\n" if thinking else None,
        "# Two\n\nIt is `2`:\n\n$$x$$\n\n```python\nx = 'a'  # b\n```\n\n| a |\n|---|\n| 1 |\n\n1. one\n",
    )
    api.keys = [{"id": "k", "name": "script", "last4": "9f3a", "created": 1.7e9, "last_used": None}]
    api.usage = usage_of_two_days()
    prices = {"ponder-r1": {"cache_hit": 1_000_000, "cache_miss": 4_000_000, "output": 16_000_000}}
    api.session = {"prices": {"currency": "CNY", "models": prices, "until": 1.8e9}}
    rules = [{"number": 3, "title": "Private data", "description": "Nobody's address.", "action": "retract"}]
    api.policy = {"enabled": True, "title": "", "markdown": "What is **not** said here.", "rules": rules}
    api.appeals = [
        {
            "id": "a",
            "message_id": "m",
            "conversation_id": None,
            "text": "Mine.",
            "created": 1.7e9,
            "state": "open",
            "answer": None,
        }
    ]
    return api


def findings(page: Page) -> list[str]:
    """What axe holds for serious or critical, by rule and place."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['target']} {node.get('failureSummary', '')}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def see_chat(site: Site) -> None:
    site.ask("What is 1 + 1?")
    site.answered()
    site.page.click(".thought-toggle")
    site.page.wait_for_selector(".coloured")


def see_comparison(site: Site) -> None:
    site.page.click(".composer .switch >> nth=1")
    site.ask("What is 1 + 1?")
    site.answered(2)


def see_menu(site: Site) -> None:
    site.page.hover(".entry")
    site.page.click(".entry-menu button")


def see_edit(site: Site) -> None:
    see_chat(site)
    site.page.hover(".user")
    site.page.click(".user .actions .icon-button >> nth=-1")


PLACES = {
    "empty": ("/", None),
    "chat": ("/", see_chat),
    "comparison": ("/", see_comparison),
    "menu": ("/", see_menu),
    "edit": ("/", see_edit),
    "keys": ("/keys", None),
    "usage": ("/usage", None),
    "settings": ("/settings", None),
    "policy": ("/policy", None),
    "missing": ("/c/nothing", None),
}


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not there: ./scripts/page fetches it")
@pytest.mark.parametrize(("dark", "language"), [(False, "en-US"), (True, "zh-CN")])
def test_axe_finds_nothing_serious(make_site: MakeSite, dark: bool, language: str) -> None:
    site = make_site(everything(), dark=dark, language=language)
    found = {}
    for name, (path, see) in PLACES.items():
        site.open(path)
        if see is not None:
            see(site)
        site.page.wait_for_timeout(100)
        found[name] = findings(site.page)
    site.api.account = None
    for path in ("/login", "/register"):
        site.open(path)
        found[path] = findings(site.page)
    assert {name: problems for name, problems in found.items() if problems} == {}
    site.complaints.clear()  # the browser itself notes the 404 of "missing"
