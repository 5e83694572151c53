"""How smoothly the page shows a very long thought: long tasks, frames and memory in the Chromium that is installed.

    python benchmarks/serving/page_speed.py [--tokens 50000] [--rate 200] [--speed-up 1]

A scripted server streams a thought of that many tokens (4 characters each: formulas, lists, code, and one paragraph of
a fifth of the whole) at that many tokens a second, then a short answer. The thought is open on the page all the while.
Reported: for each second the longest task of the main thread that the Long Tasks API tells (those over 50 ms), of which
the 95th percentile counts; the gaps between frames; the page's heap by the DevTools protocol; and the private memory of
the process that renders the page. `--speed-up 10` sends the same ten times as fast: harder, and sooner done.

Exits with 1 where a figure is missed: a 95th percentile over 50 ms, or over 300 MB in the renderer.
"""

import argparse
import sys
import time
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "browser"))

from chromium import launch, serving
from mock_api import MockApi, Step
from playwright.sync_api import CDPSession, Page, sync_playwright

PARAGRAPHS = (
    "Okay, let me think this through. Suppose $x_{%d}$ is the root; then $x^2 - 2 = 0$ gives $x = \\sqrt{2}$.\n\n",
    "Wait, that is not right. Let me go back to step %d and check **every** case again, one after the other.\n\n",
    "1. The first case: it holds for %d.\n2. The second: `f(n) = f(n-1) + 1`.\n   - and what follows from it\n\n",
    "```python\ndef step_%d(n: int) -> int:\n    return sum(k * k for k in range(n))\n```\n\n",
    "$$\n\\sum_{k=1}^{%d} k^2 = \\frac{n(n+1)(2n+1)}{6}\n$$\n\n",
)
CHARACTERS_PER_TOKEN = 4
BATCH = 0.04  # seconds between two events, as the server sends them

OBSERVE = """() => {
  window.longTasks = [];
  new PerformanceObserver((list) => { for (const e of list.getEntries()) longTasks.push([e.startTime, e.duration]); })
    .observe({ type: "longtask", buffered: false });
  window.gaps = [];
  let last = performance.now();
  const tick = (now) => { gaps.push(now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""


def long_thought(tokens: int) -> str:
    """Paragraphs of every kind; in the middle one of a fifth of the whole, without any break."""
    length = tokens * CHARACTERS_PER_TOKEN
    parts: list[str] = []
    size = 0
    for number in count():
        if size >= length:
            break
        part = PARAGRAPHS[number % len(PARAGRAPHS)] % number
        if size < length * 0.4 <= size + len(part):
            part = "and so on and so forth " * (length // 5 // 23) + "\n\n"
        parts.append(part)
        size += len(part)
    return "".join(parts)[:length]


def steps(tokens: int, rate: float, speed_up: float) -> list[Step]:
    thought = long_thought(tokens)
    size = round(rate * BATCH) * CHARACTERS_PER_TOKEN
    made: list[Step] = []
    for at in range(0, len(thought), size):
        done = (at + size) // CHARACTERS_PER_TOKEN
        made.append(
            (BATCH / speed_up, "reasoning", {"text": thought[at : at + size], "seconds": done / rate, "tokens": done})
        )
    made.append((0.0, "thought_end", {"seconds": tokens / rate, "tokens": tokens}))
    made.append((0.5, "content", {"text": "The answer is $42$.\n\nIt is done.\n"}))
    return made


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def longest_by_second(tasks: list[tuple[float, float]], seconds: float) -> list[float]:
    """Milliseconds; 0 for a second without a task of over 50 ms."""
    longest = [0.0] * (int(seconds) + 1)
    first = tasks[0][0] if tasks else 0.0
    for start, duration in tasks:
        second = min(int((start - first) / 1000), len(longest) - 1)
        longest[second] = max(longest[second], duration)
    return longest


def metrics(session: CDPSession) -> dict[str, float]:
    return {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}


def renderer_memory(page: Page) -> float:
    """Private memory of the process that renders the page, in MB: of the renderers the largest."""
    browser = page.context.browser
    assert browser is not None
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    sizes = [0.0]
    for process in found:
        if process["type"] == "renderer":
            lines = Path(f"/proc/{process['id']}/smaps_rollup").read_text().splitlines()
            sizes.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000)
    return max(sizes)


def measure(page: Page, seconds: float) -> dict[str, float]:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.evaluate(OBSERVE)
    before = metrics(session)
    page.fill("#composer", "Think for very long.")
    page.keyboard.press("Enter")
    started = time.perf_counter()
    heap = memory = 0.0
    while not page.locator(".cost").count():
        time.sleep(1)
        heap = max(heap, metrics(session)["JSHeapUsedSize"])
        memory = max(memory, renderer_memory(page))
        if time.perf_counter() - started > seconds * 3 + 60:
            raise SystemExit("the answer did not end in three times its time")
    elapsed = time.perf_counter() - started
    after = metrics(session)
    tasks: list[tuple[float, float]] = page.evaluate("longTasks")
    gaps: list[float] = page.evaluate("gaps")
    worst = longest_by_second(tasks, elapsed)
    return {
        "seconds": elapsed,
        "busy share": (after["TaskDuration"] - before["TaskDuration"]) / elapsed,
        "long tasks": len(tasks),
        "longest task, ms": max(worst),
        "p95 by second of the longest task, ms": percentile(worst, 0.95),
        "p95 gap between frames, ms": percentile(gaps, 0.95),
        "p99 gap between frames, ms": percentile(gaps, 0.99),
        "most heap, MB": heap / 1e6,
        "most memory of the renderer, MB": memory,
        "nodes": after["Nodes"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=200.0, help="tokens a second")
    parser.add_argument("--speed-up", type=float, default=1.0, help="send it so many times as fast")
    options = parser.parse_args()
    script = steps(options.tokens, options.rate, options.speed_up)
    api = MockApi(script=lambda question, thinking: script)
    with serving(api.app()) as address, sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_selector(".empty")
        found = measure(page, options.tokens / options.rate / options.speed_up)
        shown = page.evaluate("document.querySelector('.thought-toggle').textContent")
        browser.close()
    for name, value in found.items():
        print(f"{name:40} {value:10.1f}")
    print(f"{'the page says':40} {shown}")
    good = found["p95 by second of the longest task, ms"] <= 50 and found["most memory of the renderer, MB"] < 300
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
