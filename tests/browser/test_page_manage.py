"""The sidebar, the accounts and the other pages."""

from typing import Any

import pytest
from mock_api import MockApi, answer
from playwright.sync_api import expect
from site_page import MakeSite, Site

NOTICE = {
    "en": "Registration may be busy, please wait and try again. Registered users can log in normally.",
    "zh": "注册可能繁忙，请稍等重试。已注册用户可以正常登录",
}


def with_conversations(*titles: str) -> MockApi:
    api = MockApi()
    for age, title in enumerate(titles):
        conversation = api.conversation(title, age=age * 100_000)
        question = api.message(conversation, None, "user", f"About {title}")
        api.message(
            conversation, question["id"], "assistant", f"Text on {title}", finish_reason="stop", model="ponder-r1"
        )
    return api


def titles(site: Site) -> list[str]:
    return site.page.locator(".entry-title").all_inner_texts()


def test_search_finds_by_title_and_text_and_shows_where(make_site: MakeSite) -> None:
    site = make_site(with_conversations("The sky", "Kyoto", "罗密欧"))
    site.open()
    assert titles(site) == ["The sky", "Kyoto", "罗密欧"]
    for _ in range(50):  # the first page of a cold browser may be drawn before it listens to keys
        site.page.keyboard.press("Control+k")
        if site.page.locator("#search:focus").count():
            break
        site.page.wait_for_timeout(100)
    site.page.keyboard.type("kyo")
    expect(site.page.locator(".entry-title")).to_have_text(["Kyoto"])
    expect(site.page.locator(".entry-snippet")).to_have_text("Text on Kyoto")
    site.page.fill("#search", "nowhere")
    expect(site.page.locator(".sidebar-empty")).to_have_text("Nothing found for “nowhere”.")


def test_a_conversation_is_renamed_exported_and_deleted(make_site: MakeSite) -> None:
    site = make_site(with_conversations("The sky", "Kyoto"))
    page = site.page
    site.open()
    page.hover(".entry:has-text('Kyoto')")
    page.click("[aria-label='Actions for “Kyoto”']")
    expect(page.locator("[role=menuitem]").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".rename")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("Osaka")
    page.keyboard.press("Enter")
    expect(page.locator(".entry-title")).to_have_text(["The sky", "Osaka"])
    assert [c["title"] for c in site.api.conversations.values()] == ["The sky", "Osaka"]
    page.click("text=Osaka")
    expect(page.locator(".assistant > .markdown")).to_have_text("Text on Kyoto")
    for item, name in (("Export as Markdown", "chat.md"), ("Export as JSON", "chat.json")):
        page.click("[aria-label='Actions for “Osaka”']")
        with page.expect_download() as download:
            page.click(f"text={item}")
        assert download.value.suggested_filename == name
    page.click("[aria-label='Actions for “Osaka”']")
    page.click("[role=menuitem]:has-text('Delete')")
    expect(page.locator("dialog")).to_contain_text("“Osaka” and all its messages will be gone for good.")
    page.click("dialog >> text=Delete >> nth=-1")
    expect(page.locator(".entry-title")).to_have_text(["The sky"])
    expect(page.locator(".empty")).to_be_visible()


def test_a_conversation_that_is_gone_says_so(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    site.open("/c/nothing")
    expect(site.page.locator("h1")).to_have_text("Nothing is here")
    site.complaints.clear()  # the browser itself notes the 404


def test_no_question_is_sent_until_the_conversation_is_there(make_site: MakeSite) -> None:
    site = make_site(with_conversations("The sky", "Kyoto"))
    page = site.page
    site.open()
    site.api.loading.clear()
    page.click("text=Kyoto")
    expect(page.locator(".muted")).to_have_text("Loading…")
    site.ask("And Nara?")
    expect(page.locator("[aria-label='Send']")).to_be_disabled()
    expect(page.locator("#composer")).to_have_value("And Nara?")
    # one that comes late is not shown in the place of another
    page.click("text=The sky")
    site.api.loading.set()
    expect(page.locator(".assistant > .markdown")).to_have_text("Text on The sky")
    page.focus("#composer")
    page.keyboard.press("Enter")
    site.answered()
    sky, kyoto = site.api.conversations.values()
    assert [message["content"] for message in sky["messages"]][2] == "And Nara?"
    assert len(kyoto["messages"]) == 2


def test_a_conversation_that_could_not_be_loaded_can_be_tried_again(make_site: MakeSite) -> None:
    api = with_conversations("Kyoto")
    site = make_site(api)
    page = site.page
    site.open()
    (kyoto,) = api.conversations
    api.failures["GET", f"/conversations/{kyoto}"] = (500, {"code": "", "message": "The disk is on fire."}, {})
    page.click("text=Kyoto")
    expect(page.locator("main .problem")).to_contain_text("The disk is on fire.")
    site.ask("And Nara?")
    expect(page.locator("[aria-label='Send']")).to_be_disabled()
    assert api.asked == []
    page.click("text=Try again")
    expect(page.locator(".assistant > .markdown")).to_have_text("Text on Kyoto")
    expect(page.locator(".problem")).to_have_count(0)
    page.click("[aria-label='Send']")
    site.answered()
    assert list(api.conversations) == [kyoto]
    site.complaints.clear()  # the browser itself notes the 500


def test_esc_in_the_sidebar_leaves_the_answer_alone(make_site: MakeSite) -> None:
    api = with_conversations("The sky")
    api.script = lambda question, thinking: answer(None, "word " * 2000, pause=0.02)
    site = make_site(api)
    page = site.page
    site.open()
    site.ask("Go on for long.")
    expect(page.locator(".assistant")).to_contain_text("word word")
    page.hover(".entry:has-text('The sky')")
    page.click("[aria-label='Actions for “The sky”']")
    page.click("[role=menuitem]:has-text('Rename')")
    page.fill(".rename", "Another")
    page.keyboard.press("Escape")
    expect(page.locator(".rename")).to_have_count(0)
    expect(page.locator(".entry-title").last).to_have_text("The sky")
    page.keyboard.press("Control+k")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("kyoto")
    page.keyboard.press("Escape")
    expect(page.locator("#search")).to_have_value("")
    (run,) = api.runs.values()
    page.wait_for_timeout(200)
    assert not run.stopped
    # with nothing left to give up, it stops the answer
    page.keyboard.press("Escape")
    expect(page.locator(".ending")).to_have_text("Stopped.")


def test_sign_up_log_out_and_log_in(make_site: MakeSite) -> None:
    site = make_site(MockApi(mode="accounts"))
    page = site.page
    site.open()
    expect(page.locator("h1")).to_have_text("Welcome back")
    page.click("text=Sign up")
    page.fill("[autocomplete=username]", "mei")
    page.fill("[autocomplete=new-password]", "four random words here")
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_be_visible()
    expect(page.locator(".sidebar-account")).to_contain_text("mei")
    page.click("[aria-label='Log out']")
    expect(page.locator("h1")).to_have_text("Welcome back")
    page.fill("[autocomplete=username]", "mei")
    page.fill("[autocomplete=current-password]", "wrong")
    page.keyboard.press("Enter")
    expect(page.locator("[role=alert]")).to_have_text("The name or the password is wrong.")
    page.fill("[autocomplete=current-password]", "four random words here")
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_be_visible()
    site.complaints.clear()  # the browser itself notes the 401


def account(name: str) -> dict[str, Any]:
    return {"id": name, "name": name, "admin": False, "created": 1.7e9}


def log_in(site: Site, name: str) -> None:
    expect(site.page.locator("h1")).to_have_text("Welcome back")
    site.page.fill("[autocomplete=username]", name)
    site.page.fill("[autocomplete=current-password]", "four random words here")
    site.page.keyboard.press("Enter")
    expect(site.page.locator(".sidebar-account")).to_contain_text(name)


def test_the_next_account_finds_nothing_of_the_one_before(make_site: MakeSite) -> None:
    api = MockApi(mode="accounts")
    api.passwords = dict.fromkeys(("mei", "kai"), "four random words here")
    api.account = account("mei")
    site = make_site(api)
    page = site.page
    site.open()
    page.click("[aria-label='Compare']")
    page.fill("#search", "my illness")
    page.fill("#composer", "I have")
    page.click("[aria-label='Log out']")
    log_in(site, "kai")
    expect(page.locator("#composer")).to_have_value("")
    expect(page.locator("#search")).to_have_value("")
    expect(page.locator("[aria-label='Compare']")).to_have_attribute("aria-pressed", "false")
    # a session that ended by itself goes on for who logs in again, and for nobody else
    for name, left in (("kai", "My question"), ("mei", "")):
        api.account = None
        site.ask("My question")
        log_in(site, name)
        expect(page.locator("#composer")).to_have_value(left)
    site.complaints.clear()  # the browser itself notes the 401


def test_a_new_password_is_as_long_as_the_server_wants_it(make_site: MakeSite) -> None:
    site = make_site(MockApi(mode="accounts"))
    page = site.page
    site.open("/register")
    expect(page.locator("form")).to_contain_text("At least 12 characters.")
    page.fill("[autocomplete=username]", "mei")
    page.fill("[autocomplete=new-password]", "eleven long")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.querySelector('[autocomplete=new-password]').validity.tooShort")
    assert site.api.passwords == {}
    page.fill("[autocomplete=new-password]", "twelve chars")
    page.keyboard.press("Enter")
    expect(page.locator(".sidebar-account")).to_contain_text("mei")


def test_an_invitation_is_asked_for_where_one_is_needed(make_site: MakeSite) -> None:
    api = MockApi(mode="accounts")
    api.session = {"registration": "invite"}
    site = make_site(api)
    page = site.page
    site.open("/register")
    api.failures["POST", "/register"] = (403, {"code": "invalid_invite", "message": "…", "param": "invite"}, {})
    page.fill("[autocomplete=username]", "mei")
    page.fill("[autocomplete=new-password]", "four random words here")
    page.fill("[name=invite]", "code-1")
    page.keyboard.press("Enter")
    expect(page.locator("[role=alert]")).to_have_text("This invitation is not valid, or has been used up.")
    page.fill("[name=invite]", " code-2 ")
    with page.expect_request("**/register") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data_json["invite"] == "code-2"
    expect(page.locator(".sidebar-account")).to_contain_text("mei")
    site.complaints.clear()  # the browser itself notes the 403


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_registration_brake_is_told_in_its_own_words(make_site: MakeSite, language: str) -> None:
    api = MockApi(mode="accounts")
    api.session = {
        "registration": "braked",
        "notices": [{"id": "registration_brake", "level": "warning", "text": NOTICE}],
    }
    site = make_site(api, language={"en": "en-US", "zh": "zh-CN"}[language])
    site.open("/register")
    expect(site.page.locator(".notice")).to_have_text(NOTICE[language])
    api.failures["POST", "/register"] = (429, {"code": "registration_busy", "message": "…"}, {})
    site.page.fill("[autocomplete=username]", "mei")
    site.page.fill("[autocomplete=new-password]", "four random words here")
    site.page.keyboard.press("Enter")
    expect(site.page.locator("[role=alert]")).to_have_text(NOTICE[language])
    site.complaints.clear()  # the browser itself notes the 429


def test_a_key_is_shown_once_and_revoked(make_site: MakeSite) -> None:
    api = MockApi(mode="accounts")
    api.account = {"id": "mei", "name": "mei", "admin": False, "created": 1.7e9}
    site = make_site(api)
    page = site.page
    site.open("/keys")
    expect(page.locator("text=No keys yet.")).to_be_visible()
    page.fill("main input", "my script")
    page.click("text=Create a key")
    secret = "sk-0123456789abcdef0123456789ab9f3a"
    expect(page.locator("dialog code")).to_have_text(secret)
    page.click("dialog button:has-text('Copy')")
    expect(page.locator("dialog button:has-text('Copied')")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    page.click("dialog >> text=Close")
    assert secret not in page.content()
    expect(page.locator("tbody tr")).to_contain_text("my script…9f3a")
    page.click("tbody >> text=Revoke")
    page.click("dialog .danger")
    expect(page.locator("text=No keys yet.")).to_be_visible()


def test_usage_shows_days_sums_and_the_balance(make_site: MakeSite) -> None:
    api = MockApi(mode="accounts")
    api.account = {"id": "mei", "name": "mei", "admin": False, "created": 1.7e9}
    api.usage = usage_of_two_days()
    site = make_site(api)
    site.open("/usage")
    expect(site.page.locator(".figures dd")).to_have_text(["¥110.00", "¥10.00", "¥100.00"])
    total = site.page.locator("tfoot tr > *")
    expect(total).to_have_text(["Total", "", "7", "3,000", "1,024", "9,000", "6,500", "¥0.0196"])
    assert site.page.locator(".bars rect").count() == 2


def usage_of_two_days() -> dict[str, Any]:
    numbers = {"requests": 3, "prompt_tokens": 1000, "cache_hit_tokens": 512, "completion_tokens": 3000}
    first = {"date": "2025-01-27", "model": "ponder-r1", **numbers, "reasoning_tokens": 2500, "micro_units": 6_600}
    numbers = {"requests": 4, "prompt_tokens": 2000, "cache_hit_tokens": 512, "completion_tokens": 6000}
    second = {"date": "2025-01-28", "model": "ponder-r1", **numbers, "reasoning_tokens": 4000, "micro_units": 13_000}
    balance = {"granted": 10_000_000, "topped_up": 100_000_000, "total": 110_000_000}
    return {"days": [first, second], "currency": "CNY", "balance": balance}


def test_language_and_theme_are_chosen_and_kept(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    page = site.page
    site.open("/settings")
    page.select_option(".setting:nth-of-type(1) select", "zh")
    expect(page.locator("h1")).to_have_text("设置")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.select_option(".setting:nth-of-type(2) select", "dark")
    page.reload()
    expect(page.locator("h1")).to_have_text("设置")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 28)"


def test_the_sidebar_is_a_drawer_on_a_phone(make_site: MakeSite) -> None:
    site = make_site(with_conversations("The sky"), phone=True)
    page = site.page
    site.open()
    expect(page.locator(".sidebar")).not_to_be_visible()
    page.click("[aria-label='Open the sidebar']")
    expect(page.locator(".sidebar")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".sidebar")).not_to_be_visible()
    page.click("[aria-label='Open the sidebar']")
    page.click("text=The sky")
    expect(page.locator(".assistant > .markdown")).to_have_text("Text on The sky")
    expect(page.locator(".sidebar")).not_to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".sidebar")).not_to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_shortcuts_and_the_order_of_the_focus(make_site: MakeSite) -> None:
    site = make_site(with_conversations("The sky"))
    page = site.page
    site.open()
    expect(page.locator("#composer")).to_be_focused()
    pressed = page.locator(".switch").first
    expect(pressed).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Control+Shift+E")
    expect(pressed).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Control+Shift+S")
    expect(page.locator(".sidebar")).not_to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.locator("#search")).to_be_focused()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    expect(page.locator("#composer")).to_be_focused()
    page.reload()
    page.wait_for_selector(".empty")
    page.focus(".skip")
    names = []
    for _ in range(6):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText")
        )
    assert names[:4] == ["Ponder", "Close the sidebar", "New chat", "Search conversations"]
    assert names[4:] == ["The sky", "Actions for “The sky”"]


def test_the_session_that_has_ended_leads_to_the_login(make_site: MakeSite) -> None:
    api = MockApi(mode="accounts")
    api.account = {"id": "mei", "name": "mei", "admin": False, "created": 1.7e9}
    site = make_site(api)
    site.open()
    api.account = None
    site.ask("Hello")
    expect(site.page.locator("h1")).to_have_text("Welcome back")
    site.complaints.clear()  # the browser itself notes the 401


def test_a_void_token_is_fetched_again(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    site.open()
    site.api.failures["POST", "/conversations"] = (403, {"code": "csrf", "message": "…"}, {})
    site.ask("Hello")
    site.answered()
    site.complaints.clear()  # the browser itself notes the 403
