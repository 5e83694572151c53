"""What the tests of the page share: the browser, a server, and a page that must not complain."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, launch, serving
from mock_api import MockApi
from playwright.sync_api import Browser, ConsoleMessage, Request, sync_playwright
from real_api import RealApi
from site_page import MakeSite, Site

from ponder.serve.page import BUILT

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = None
    if CHROMIUM is None:
        missing = "no Chromium is installed"
    elif not (BUILT / "index.html").is_file():
        missing = "the page was not built: ./scripts/page"
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.browser)
        if missing is not None:
            item.add_marker(pytest.mark.skip(reason=missing))


# Playwright keeps an event loop running in this thread: other modules' tests, which start loops of their own, must not
# find it.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def make_site(browser: Browser) -> Iterator[MakeSite]:
    """Starts a server and opens a page on it. The page must not complain, nor ask anything of another server."""
    closing: list[Callable[[], Any]] = []
    sites: list[Site] = []

    def make(api: MockApi | RealApi, *, language: str = "en-US", dark: bool = False, phone: bool = False) -> Site:
        server = serving(api.app())
        address = server.__enter__().replace("127.0.0.1", api.host)
        width, height = (390, 844) if phone else (1440, 900)
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale=language,
            has_touch=phone,
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(10_000)
        site = Site(api, address, context.new_page())

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                site.complaints.append(message.text)

        def asked(request: Request) -> None:
            if not request.url.startswith((address, "data:", "blob:")):
                site.elsewhere.append(request.url)

        site.page.on("console", heard)
        site.page.on("pageerror", lambda error: site.complaints.append(str(error)))
        site.page.on("request", asked)
        closing.extend([context.close, lambda: server.__exit__(None, None, None)])
        sites.append(site)
        return site

    yield make
    for close in closing:
        close()
    for site in sites:
        assert site.complaints == []
        assert site.elsewhere == []
