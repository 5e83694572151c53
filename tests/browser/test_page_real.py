"""The page on the real interface, from sign-up to export: what the mock of the other tests could get wrong."""

from pathlib import Path

from playwright.sync_api import expect
from real_api import RealApi
from site_page import MakeSite

from ponder.serve.records import Ask
from ponder.serve.scripted import Script, ScriptedBackend


def at_length(ask: Ask) -> Script:
    return Script(thought="Let me see. " * 400, answer="It is **42**. " * 400)


def test_a_conversation_in_open_mode(make_site: MakeSite) -> None:
    site = make_site(RealApi())
    page = site.page
    site.open()
    site.ask("What is it?")
    site.answered()
    expect(page.locator(".thought-toggle")).to_contain_text("Thought for")
    answer = page.locator(".assistant > .markdown").inner_text()
    assert answer
    # another answer, a branch, and all of it after a reload
    page.click("[aria-label='Regenerate']")
    expect(page.locator(".assistant .versions")).to_have_text("2/2")
    page.click("[aria-label='Compare with an answer without thinking']")
    expect(page.locator(".comparison-side .cost")).to_have_count(2)
    page.reload()
    expect(page.locator(".assistant .versions")).to_have_text("3/3")
    page.fill("#search", "what is")
    expect(page.locator(".entry-title")).to_have_text(["What is it?"])
    page.click(".entry .icon-button")
    with page.expect_download() as download:
        page.click("text=Export as Markdown")
    assert "What is it?" in Path(download.value.path()).read_text(encoding="utf-8")
    page.click(".entry .icon-button")
    page.click("[role=menuitem]:has-text('Delete')")
    page.click("dialog .danger")
    expect(page.locator(".empty")).to_be_visible()


def test_a_stream_is_stopped_and_resumed_after_a_reload(make_site: MakeSite) -> None:
    site = make_site(RealApi(backend=ScriptedBackend(at_length, tokens_per_second=200)))
    page = site.page
    site.open()
    site.ask("Think.")
    expect(page.locator(".thought.thinking")).to_be_visible()
    page.reload()
    expect(page.locator(".thought.thinking")).to_contain_text("Let me see.")
    page.click("text=Answer now")
    expect(page.locator(".assistant > .markdown")).to_contain_text("It is 42.")
    page.click("[aria-label='Stop generating']")
    expect(page.locator(".ending")).to_have_text("Stopped.")


def test_an_account_from_sign_up_to_its_keys(make_site: MakeSite) -> None:
    site = make_site(RealApi(accounts=True))
    page = site.page
    site.open("/register")
    page.fill("[autocomplete=username]", "mei")
    page.fill("[autocomplete=new-password]", "four random words here")
    page.keyboard.press("Enter")
    expect(page.locator(".sidebar-account")).to_contain_text("mei")
    site.ask("Hello")
    site.answered()
    page.click("text=API keys")
    page.fill("main input", "my script")
    page.click("text=Create a key")
    expect(page.locator("dialog code")).to_contain_text("sk-")
    page.click("dialog >> text=Close")
    expect(page.locator("tbody tr")).to_contain_text("my script")
    page.click("[aria-label='Log out']")
    expect(page.locator("h1")).to_have_text("Welcome back")
    page.fill("[autocomplete=username]", "mei")
    page.fill("[autocomplete=current-password]", "four random words here")
    page.keyboard.press("Enter")
    expect(page.locator(".entry-title")).to_have_text(["Hello"])
