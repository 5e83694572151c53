"""A page that a test has opened, and the server behind it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page


@dataclass
class Site:
    """A page on a server of its own."""

    api: Any  # a MockApi, or the real one
    address: str
    page: Page
    complaints: list[str] = field(default_factory=list)  # what the console says: errors and broken policies
    elsewhere: list[str] = field(default_factory=list)  # requests to any other server

    def open(self, path: str = "/") -> None:
        self.page.goto(self.address + path)
        self.page.wait_for_selector("main h1, main .message, main .empty")

    def ask(self, text: str) -> None:
        self.page.fill("#composer", text)
        self.page.keyboard.press("Enter")

    def answered(self, count: int = 1) -> None:
        """Until so many answers have ended."""
        self.page.wait_for_function("count => document.querySelectorAll('.cost').length >= count", arg=count)


MakeSite = Callable[..., Site]
