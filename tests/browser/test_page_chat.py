"""A conversation on the page: asking, the thought, branches, copies, comparisons."""

import json
import re
import time

import pytest
from mock_api import MockApi, Step, answer
from playwright.sync_api import expect
from site_page import MakeSite

THOUGHT = "Let me see: $1 + 1 = 2$.\n\nWait. Yes.\n"
ANSWER = "It is **2**, as $1 + 1 = 2$.\n\n```python\nprint(1 + 1)\n```\n"


def thinks_or_not(question: str, thinking: bool) -> list[Step]:
    return answer(THOUGHT if thinking else None, ANSWER if thinking else "2")


def test_a_question_is_answered_with_its_thought(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=thinks_or_not))
    page = site.page
    site.open()
    site.ask("What is 1 + 1?")
    site.answered()
    assert page.url.startswith(site.address + "/c/")
    expect(page.locator(".user .bubble")).to_have_text("What is 1 + 1?")
    expect(page.locator(".thought-toggle")).to_have_text("Thought for 28 seconds")
    expect(page.locator(".thought-tokens")).to_have_text("5 tokens")
    expect(page.locator(".assistant strong")).to_have_text("2")
    expect(page.locator(".assistant .katex-html")).to_have_count(1)
    expect(page.locator(".assistant code.coloured .hljs-built_in")).to_have_text("print")
    expect(page.locator(".cost")).to_contain_text(
        "19 tokens. Prompt 130 (64 from the cache), thought 5, answer 14 tokens"
    )
    expect(page.locator(".sidebar .entry.current")).to_contain_text("What is 1 + 1?")
    assert site.api.asked[0] | {"request_id": ""} == {
        "parent_id": None,
        "content": "What is 1 + 1?",
        "model": "ponder-r1",
        "thinking": True,
        "effort": "high",
        "language": "en",
        "request_id": "",
    }
    # the thought is closed when it is over, and opens with all of it
    expect(page.locator(".thought-body")).to_be_hidden()
    page.click(".thought-toggle")
    expect(page.locator(".thought-body")).to_contain_text("Wait. Yes.")


def test_the_thought_is_seen_while_it_is_written(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=lambda question, thinking: answer("Step. " * 400, "Done.", pause=0.02)))
    site.open()
    site.ask("Think.")
    label = site.page.locator(".thought-toggle")
    expect(label).to_have_text(re.compile(r"Thinking… [\d.]+ s · \d+ tokens?"))
    first = label.inner_text()
    expect(site.page.locator(".thought-body")).to_contain_text("Step. Step.")
    expect(label).not_to_have_text(first)
    site.page.click("text=Answer now")
    site.answered()
    expect(site.page.locator(".assistant > .markdown")).to_have_text("Done.")


def test_stop_ends_the_answer_and_keeps_what_there_is(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=lambda question, thinking: answer(None, "word " * 2000, pause=0.02)))
    site.open()
    site.ask("Go on for long.")
    expect(site.page.locator(".assistant")).to_contain_text("word word")
    site.page.keyboard.press("Escape")
    expect(site.page.locator(".ending")).to_have_text("Stopped.")
    expect(site.page.locator(".assistant > .markdown")).to_contain_text("word word")
    expect(site.page.locator("[aria-label='Send']")).to_be_visible()


def test_editing_makes_a_branch_and_both_can_be_seen(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=lambda question, thinking: answer(None, f"Answer to {question}")))
    page = site.page
    site.open()
    site.ask("first")
    site.answered()
    page.hover(".user")
    page.click(".user [aria-label='Edit']")
    expect(page.locator(".edit-form textarea")).to_be_focused()  # its caret is at the end by then
    page.fill(".edit-form textarea", "second")
    page.click("text=Send as a new branch")
    expect(page.locator(".assistant > .markdown")).to_have_text("Answer to second")
    expect(page.locator(".user .versions")).to_have_text("2/2")
    page.click(".user [aria-label='Previous version']")
    expect(page.locator(".assistant > .markdown")).to_have_text("Answer to first")
    expect(page.locator(".user .versions")).to_have_text("1/2")
    # the branch that was chosen is there again after a reload
    page.reload()
    expect(page.locator(".assistant > .markdown")).to_have_text("Answer to first")
    assert [asked["parent_id"] for asked in site.api.asked] == [None, None]


def test_an_edited_question_that_could_not_be_sent_is_still_in_its_form(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    page = site.page
    site.open()
    site.ask("first")
    site.answered()
    page.hover(".user")
    page.click(".user [aria-label='Edit']")
    page.fill(".edit-form textarea", "second")
    site.api.refused_questions = 1
    page.click("text=Send as a new branch")
    expect(page.locator(".toast")).to_contain_text("Too many answers are being written at once.")
    expect(page.locator(".edit-form textarea")).to_have_value("second")
    page.click("text=Send as a new branch")
    expect(page.locator(".user .bubble")).to_have_text("second")
    expect(page.locator(".edit-form")).to_have_count(0)
    assert [asked["content"] for asked in site.api.asked] == ["first", "second"]
    site.complaints.clear()  # the browser itself notes a failed request


def test_esc_in_the_form_ends_editing_and_nothing_else(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=lambda question, thinking: answer(None, "word " * 2000, pause=0.02)))
    page = site.page
    site.open()
    site.ask("Go on for long.")
    expect(page.locator(".assistant")).to_contain_text("word word")
    page.hover(".user")
    page.click(".user [aria-label='Edit']")
    page.fill(".edit-form textarea", "second")
    # a key that an input method takes to give up a word is none of ours
    page.evaluate(
        "document.querySelector('.edit-form textarea').dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'Escape', isComposing: true, bubbles: true, cancelable: true}))"
    )
    expect(page.locator(".edit-form textarea")).to_have_value("second")
    page.focus(".edit-form textarea")
    page.keyboard.press("Escape")
    expect(page.locator(".edit-form")).to_have_count(0)
    assert not any(run.stopped for run in site.api.runs.values())


def test_regenerating_adds_a_version(make_site: MakeSite) -> None:
    texts = iter(["one", "two"])
    site = make_site(MockApi(script=lambda question, thinking: answer(None, next(texts))))
    page = site.page
    site.open()
    site.ask("Say something.")
    site.answered()
    page.click("[aria-label='Regenerate']")
    expect(page.locator(".assistant > .markdown")).to_have_text("two")
    expect(page.locator(".assistant .versions")).to_have_text("2/2")
    assert site.api.asked[1]["content"] is None
    page.click(".assistant [aria-label='Previous version']")
    expect(page.locator(".assistant > .markdown")).to_have_text("one")


def test_copy_takes_the_answer_without_the_thought(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=thinks_or_not))
    site.open()
    site.ask("What is 1 + 1?")
    site.answered()
    site.page.click("[aria-label='Copy the answer']")
    expect(site.page.locator(".toast")).to_contain_text("Copied")
    assert site.page.evaluate("navigator.clipboard.readText()") == ANSWER
    site.page.click(".code-copy")
    expect(site.page.locator(".code-copy")).to_have_text("Copied")
    assert site.page.evaluate("navigator.clipboard.readText()") == "print(1 + 1)\n"


def test_thinking_on_and_off_side_by_side(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=thinks_or_not))
    page = site.page
    site.open()
    page.click("text=Compare")
    site.ask("What is 1 + 1?")
    site.answered(2)
    sides = page.locator(".comparison-side")
    expect(sides).to_have_count(2)
    expect(sides.nth(0)).to_contain_text("With thinking")
    expect(sides.nth(0).locator(".thought-toggle")).to_have_text("Thought for 28 seconds")
    expect(sides.nth(1)).to_contain_text("Without thinking")
    expect(sides.nth(1).locator(".thought")).to_have_count(0)
    assert [asked["thinking"] for asked in site.api.asked] == [True, False]
    boxes = [sides.nth(0).bounding_box(), sides.nth(1).bounding_box()]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    # going on from one of them makes it the branch
    sides.nth(1).locator("text=Go on from this one").click()
    expect(page.locator(".comparison")).to_have_count(0)
    expect(page.locator(".assistant > .markdown")).to_have_text("2")


def test_a_model_without_thought_has_no_switch(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    site.open()
    expect(site.page.locator("text=DeepThink")).to_be_visible()
    site.page.select_option(".model-choice", "small-chat")
    expect(site.page.locator("text=DeepThink")).to_have_count(0)
    site.ask("Hello")
    site.answered()
    assert (site.api.asked[0]["model"], site.api.asked[0]["thinking"]) == ("small-chat", False)


def test_a_broken_connection_goes_on_where_it_was(make_site: MakeSite) -> None:
    api = MockApi(script=lambda question, thinking: answer("thought " * 20, "word " * 40, pause=0.005))
    api.cut_after = [3, 9, 5]
    site = make_site(api)
    site.open()
    site.ask("Write.")
    site.answered()
    assert api.connections == [0, 3, 12, 17]
    expect(site.page.locator(".assistant > .markdown")).to_have_text(("word " * 40).strip())
    site.page.click(".thought-toggle")
    expect(site.page.locator(".thought-body")).to_have_text(("thought " * 20).strip())


def test_a_reload_resumes_the_stream(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=lambda question, thinking: answer(None, "word " * 100, pause=0.03)))
    site.open()
    site.ask("Write.")
    expect(site.page.locator(".assistant")).to_contain_text("word word")
    site.page.reload()
    site.answered()
    expect(site.page.locator(".assistant > .markdown")).to_have_text(("word " * 100).strip())


def test_the_place_in_the_queue_is_told(make_site: MakeSite) -> None:
    steps: list[Step] = [
        (0.0, "queued", {"position": 2}),
        (0.6, "queued", {"position": 0}),
        (0.6, "content", {"text": "Yes."}),
    ]
    site = make_site(MockApi(script=lambda question, thinking: steps))
    site.open()
    site.ask("Hello")
    expect(site.page.locator(".waiting")).to_have_text("In the queue: 2 requests ahead")
    expect(site.page.locator(".waiting")).to_have_text("In the queue: you are next")
    site.answered()


def test_a_withdrawn_message_shows_the_rule_and_takes_an_appeal(make_site: MakeSite) -> None:
    notice = "Withdrawn under rule 3 of this site: private data."
    steps = [*answer("a secret thought", "a secret answer"), (0.3, "retract", {"notice": notice})]
    site = make_site(MockApi(script=lambda question, thinking: steps))
    page = site.page
    site.open()
    site.ask("Hello")
    site.answered()
    expect(page.locator(".retracted")).to_contain_text(notice)
    assert "secret" not in page.inner_text("main")
    expect(page.locator(".retracted a")).to_have_attribute("href", "/policy")
    page.click("text=Appeal")
    page.fill("dialog textarea", "It was my own address.")
    page.click("text=Send the appeal")
    expect(page.locator(".toast")).to_contain_text("Your appeal was sent.")
    assert site.api.appeals[0]["text"] == "It was my own address."
    answered = next(m for c in site.api.conversations.values() for m in c["messages"] if m["role"] == "assistant")
    assert site.api.appeals[0]["message_id"] == answered["id"]
    page.reload()
    expect(page.locator(".retracted")).to_contain_text(notice)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"finish_reason": "length"}, "The answer reached its longest length and was cut off."),
        ({"finish_reason": "error", "error": "the engine has stopped"}, "Something went wrong: the engine has stopped"),
        ({"finish_reason": "interrupted"}, "The server was restarted while this was written."),
        ({"left_out": 2}, "The conversation is longer than the model can read: its 2 oldest turns were left out."),
    ],
)
def test_how_an_answer_ended_is_told(make_site: MakeSite, change: dict[str, object], text: str) -> None:
    steps: list[Step] = [(0.0, "content", {"text": "Half an ans"}), (0.0, "final", change)]
    site = make_site(MockApi(script=lambda question, thinking: steps))
    site.open()
    site.ask("Hello")
    expect(site.page.locator(".ending")).to_have_text(text)


def test_what_could_not_be_sent_is_still_in_the_composer(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    site.open()
    site.api.failures["POST", "/conversations"] = (429, {"code": "too_many_runs", "message": "…"}, {"Retry-After": "7"})
    site.ask("Hello")
    expect(site.page.locator(".toast")).to_contain_text("Too many answers are being written at once.")
    expect(site.page.locator(".toast")).to_contain_text("Try again in 7 seconds.")
    expect(site.page.locator("#composer")).to_have_value("Hello")
    site.complaints.clear()  # the browser itself notes a failed request


def test_a_first_question_that_is_refused_leaves_no_conversation(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    page = site.page
    site.open()
    site.api.refused_questions = 1
    site.ask("Hello")
    expect(page.locator(".toast")).to_contain_text("Too many answers are being written at once.")
    expect(page.locator("#composer")).to_have_value("Hello")
    expect(page.locator(".empty")).to_be_visible()
    page.wait_for_function("() => location.pathname === '/'")
    assert site.api.conversations == {}
    page.keyboard.press("Enter")
    site.answered()
    assert len(site.api.conversations) == 1
    # in a conversation that there is, nothing is lost
    site.api.refused_questions = 1
    site.ask("And now?")
    expect(page.locator("#composer")).to_have_value("And now?")
    assert len(site.api.conversations) == 1
    site.complaints.clear()  # the browser itself notes a failed request


def test_arithmetic_keeps_its_signs(make_site: MakeSite) -> None:
    thought = "9*5=5, 5-9=6,\n  _9_*1=9 **so** $x$"
    site = make_site(MockApi(script=lambda question, thinking: answer(thought, "It is 9*5*1=5, **sure**.", size=3)))
    page = site.page
    site.open()
    site.ask("9*5*1=?")
    site.answered()
    expect(page.locator(".assistant > .markdown")).to_have_text("It is 9*5*1=5, sure.")
    page.click(".thought-toggle")
    expect(page.locator(".thought-body")).to_have_text("9*5=5, 5-9=6, _9_*1=9 **so** $x$")
    assert page.inner_text(".thought-body") == thought


def test_a_model_may_bring_its_own_examples(make_site: MakeSite) -> None:
    api = MockApi()
    models = api.session_body()["models"]
    models[0]["examples"] = ["2+2+8*9=?", "9-4-7-2=?"]
    api.session["models"] = models
    site = make_site(api)
    page = site.page
    site.open()
    expect(page.locator(".examples button")).to_have_text(["2+2+8*9=?", "9-4-7-2=?"])
    page.select_option(".model-choice", "small-chat")
    expect(page.locator(".examples button")).to_have_count(4)
    page.select_option(".model-choice", "ponder-r1")
    page.click("text=9-4-7-2=?")
    expect(page.locator("#composer")).to_have_value("9-4-7-2=?")


def test_enter_sends_and_shift_enter_begins_a_line(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    page = site.page
    site.open()
    page.click("#composer")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    # a key that an input method takes to choose a word is none of ours
    page.evaluate(
        "document.querySelector('#composer').dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))"
    )
    assert page.input_value("#composer") == "one\ntwo"
    page.keyboard.press("Enter")
    site.answered()
    assert site.api.asked[0]["content"] == "one\ntwo"


def test_the_view_follows_the_end_until_the_reader_leaves_it(make_site: MakeSite) -> None:
    text = "\n\n".join(f"Paragraph {number}." for number in range(300))
    site = make_site(MockApi(script=lambda question, thinking: answer(None, text, pause=0.01)))
    page = site.page
    site.open()
    site.ask("Write for long.")
    distance = (
        "() => { const s = document.querySelector('.scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight; }"
    )
    tall = "() => document.querySelector('.scroller')?.scrollHeight > 2500"
    page.wait_for_function(tall)
    assert page.evaluate(distance) < 60
    page.mouse.move(800, 400)
    page.mouse.wheel(0, -900)
    expect(page.locator(".to-end")).to_be_visible()
    top = page.evaluate("document.querySelector('.scroller').scrollTop")
    time.sleep(0.4)
    assert page.evaluate("document.querySelector('.scroller').scrollTop") == pytest.approx(top, abs=2)
    page.click(".to-end")
    expect(page.locator(".to-end")).to_have_count(0)
    time.sleep(0.2)
    assert page.evaluate(distance) < 60


def test_a_screen_reader_hears_turns_and_whole_sentences(make_site: MakeSite) -> None:
    site = make_site(
        MockApi(script=lambda question, thinking: answer("Hm.", "One sentence. And another one.", pause=0.01))
    )
    site.open()
    site.ask("Hello")
    site.answered()
    log = site.page.locator("[role=log]")
    expect(log).to_have_attribute("aria-live", "polite")
    expect(log.locator("p")).to_have_text(
        ["Ponder is thinking.", "Ponder is answering.", "One sentence. And another one.", "The answer is complete."]
    )


def test_a_screen_reader_hears_that_an_answer_was_stopped(make_site: MakeSite) -> None:
    site = make_site(MockApi(script=lambda question, thinking: answer(None, "word " * 2000, pause=0.02)))
    site.open()
    site.ask("Go on for long.")
    expect(site.page.locator(".assistant")).to_contain_text("word word")
    site.page.keyboard.press("Escape")
    expect(site.page.locator("[role=log] p").last).to_have_text("Stopped.")


def test_the_composer_grows_in_a_browser_without_field_sizing(make_site: MakeSite) -> None:
    site = make_site(MockApi())
    page = site.page
    page.add_init_script(
        "const supports = CSS.supports.bind(CSS);"
        "CSS.supports = (...asked) => asked[0] !== 'field-sizing' && supports(...asked)"
    )
    site.open()
    field = page.locator("#composer")
    field.evaluate("field => { field.style.fieldSizing = 'fixed'; }")
    heights = []
    for text in ("one", "1\n2\n3\n4\n5", "one"):
        field.fill(text)
        expect(field).to_have_value(text)
        heights.append(field.evaluate("field => new Promise(done => setTimeout(() => done(field.clientHeight), 50))"))
    one, five, again = heights
    assert five > 4 * (one - 6)  # 6 pixels are above and below the lines
    assert again == one


def test_a_folded_part_of_a_long_answer_is_drawn_again_near_the_view(make_site: MakeSite) -> None:
    text = "\n\n".join(f"Paragraph {number}: $x_{{{number}}}$." for number in range(400))
    site = make_site(MockApi(script=lambda question, thinking: answer(None, text, size=400)))
    page = site.page
    site.open()
    site.ask("Write for long.")
    site.answered()
    expect(page.locator(".assistant")).to_contain_text("Paragraph 399")
    page.wait_for_function("() => document.querySelectorAll('.folded').length > 5")
    assert page.locator(".katex-html").count() < 300
    page.evaluate("document.querySelector('.scroller').scrollTop = 0")
    first = page.locator(".chunk").first
    expect(first).not_to_have_class(re.compile("folded"))
    expect(first.locator(".katex-html")).to_have_count(24)
    # every paragraph is there once, folded or not
    seen = json.dumps(page.evaluate("[...document.querySelectorAll('.chunk')].map(c => c.textContent).join(' ')"))
    assert re.findall(r"Paragraph (\d+):", seen) == [str(number) for number in range(400)]
