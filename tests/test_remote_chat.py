"""`ponder chat --url`: what is asked of a server, and what is shown of its answers."""

import io
import json
from collections.abc import Callable

import httpx
import pytest
from rich.console import Console

from ponder.cli.remote import MOST_BYTES, RemotePartner, RemoteSettings
from ponder.core.errors import GenerationError

MODELS = {"object": "list", "data": [{"id": "smol", "object": "model"}, {"id": "other", "object": "model"}]}


def chunk(delta: dict[str, str | None], reason: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None})


def sse(*datas: str) -> bytes:
    return b": keep-alive\n\n" + b"".join(f"data: {data}\n\n".encode() for data in datas)


STREAM = sse(
    chunk({"role": "assistant", "content": "", "reasoning_content": None}),
    chunk({"reasoning_content": "3+4=7", "content": None}),
    chunk({"content": "It is ", "reasoning_content": None}),
    chunk({"content": "7."}, "stop"),
    json.dumps(
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 70,
                "completion_tokens": 9,
                "prompt_cache_hit_tokens": 64,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
        }
    ),
    "[DONE]",
)


STRANGE: list[object] = [
    [],
    {"choices": 1},
    {"choices": {"0": {}}},
    {"choices": [None]},
    {"choices": [{"delta": "x"}]},
    {"choices": [{"delta": {"content": 5}}]},
    {"choices": [{"delta": {"content": ["x"]}}]},
    {"choices": [{"delta": {"reasoning_content": {"text": "x"}}}]},
    {"choices": [{"delta": {"reasoning": 1}}]},
    {"choices": [{"delta": {}, "finish_reason": ["stop"]}]},
    {"choices": [{"delta": {"content": "\ud83d"}}]},
    {"choices": [], "usage": [1]},
    {"choices": [], "usage": {"prompt_tokens": "\x1b[2J"}},
    {"choices": [], "usage": {"prompt_cache_hit_tokens": [1]}},
    {"choices": [], "usage": {"completion_tokens_details": [1]}},
    {"choices": [], "usage": {"completion_tokens_details": {"reasoning_tokens": {}}}},
]


class Server:
    """Answers from a list and remembers what it was asked."""

    def __init__(self, *answers: bytes | tuple[int, object]) -> None:
        self.answers, self.asked, self.headers = list(answers), list[dict[str, object]](), list[httpx.Headers]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.headers.append(request.headers)
        if request.url.path.endswith("/models"):
            return httpx.Response(200, json=MODELS)
        self.asked.append(json.loads(request.content))
        answer = self.answers.pop(0)
        if isinstance(answer, bytes):
            return httpx.Response(200, content=answer, headers={"content-type": "text/event-stream"})
        return httpx.Response(answer[0], json=answer[1], headers={"retry-after": "3"})


def talk(
    handler: Callable[[httpx.Request], httpx.Response], model: str | None = None, settings: RemoteSettings | None = None
) -> tuple[RemotePartner, Callable[[], str]]:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    partner = RemotePartner(
        "http://127.0.0.1:1",
        console,
        model=model,
        key="sk-secret",
        settings=settings,
        transport=httpx.MockTransport(handler),
    )

    def shown() -> str:
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    return partner, shown


def test_the_thought_the_answer_and_what_they_took() -> None:
    server = Server(STREAM)
    partner, shown = talk(server)
    partner.answer("3+4=?", 1)
    text = shown()
    assert text.startswith("3+4=7\nthought for 0.")
    assert text.endswith("s\nIt is 7.\n70 tokens in, 9 out, 5 of them thought, 64 from the cache\n")
    assert server.asked == [
        {
            "model": "smol",
            "messages": [{"role": "user", "content": "3+4=?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert server.headers[-1]["authorization"] == "Bearer sk-secret"


def test_the_conversation_goes_on_without_its_thoughts_until_it_is_forgotten() -> None:
    server = Server(STREAM, STREAM, STREAM)
    partner, _ = talk(server, "other", RemoteSettings(temperature=0.5, max_tokens=10, seed=3))
    partner.answer("a", 1)
    partner.answer("b", 2)
    partner.forget()
    partner.answer("c", 3)
    assert server.asked[1]["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "It is 7."},
        {"role": "user", "content": "b"},
    ]
    assert server.asked[2]["messages"] == [{"role": "user", "content": "c"}]
    assert {k: server.asked[0][k] for k in ("model", "temperature", "max_tokens", "seed")} == {
        "model": "other",
        "temperature": 0.5,
        "max_tokens": 10,
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((503, {"error": {"message": "too many"}}), "the server answered 503: too many (try again in 3 s)"),
        ((401, {"error": {"message": "no key"}}), "no key; give the key with --key-file"),
        ((500, ["strange"]), "the server answered 500"),
        (sse(json.dumps({"error": {"message": "engine\x1b[2J failed"}})), "the server failed: engine\\x1b[2J failed"),
        (sse("{oops"), "what is no chunk of an answer: '{oops'"),
        (b"data: " + b"x" * (MOST_BYTES + 1), "a line without end"),
        *((sse(json.dumps(strange)), "what is no chunk of an answer") for strange in STRANGE),
        (sse("[" * 100_000), "what is no chunk of an answer"),
    ],
)
def test_a_failed_question_says_why_and_is_not_remembered(answer: bytes | tuple[int, object], message: str) -> None:
    server = Server(answer, STREAM)
    partner, _ = talk(server)
    with pytest.raises(GenerationError) as caught:
        partner.answer("lost", 1)
    assert message in str(caught.value)
    partner.answer("kept", 2)
    assert server.asked[1]["messages"] == [{"role": "user", "content": "kept"}]


@pytest.mark.parametrize(
    ("reason", "said"), [("length", "(cut off at the longest answer)"), ("content_filter", "(withdrawn by a rule")]
)
def test_why_an_answer_ended_is_told(reason: str, said: str) -> None:
    partner, shown = talk(Server(sse(chunk({"content": "x"}, reason), "[DONE]")))
    partner.answer("q", 1)
    assert said in shown()


def test_a_withdrawn_answer_and_its_question_are_not_sent_again() -> None:
    withdrawn = sse(
        chunk({"content": "how it is "}), chunk({"refusal": "Rule 3"}), chunk({}, "content_filter"), "[DONE]"
    )
    server = Server(STREAM, withdrawn, STREAM)
    partner, _ = talk(server)
    for turn, question in enumerate(("first", "void", "last"), 1):
        partner.answer(question, turn)
    assert server.asked[2]["messages"] == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "It is 7."},
        {"role": "user", "content": "last"},
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_a_newline_ends_a_line_of_a_stream(end: str) -> None:
    said = "a\u2028b\u2029c\u0085d"
    stream = f": there{end}{end}data: {json.dumps({'choices': [{'delta': {'content': said}}]}, ensure_ascii=False)}"
    whole, without_end = f"{stream}{end}{end}data: [DONE]{end}{end}", stream
    server = Server(whole.encode(), without_end.encode(), STREAM)
    partner, _ = talk(server)
    for turn in (1, 2, 3):
        partner.answer("q", turn)
    messages = server.asked[2]["messages"]
    assert isinstance(messages, list)
    assert [message["content"] for message in messages] == ["q", said, "q", said, "q"]


def test_what_a_server_leaves_out_is_not_missed() -> None:
    empty = {"choices": None, "usage": {"prompt_tokens": None, "completion_tokens_details": None}}
    partner, shown = talk(Server(sse(json.dumps(empty), json.dumps({"choices": [{"delta": None}]}), "{}")))
    partner.answer("q", 1)
    assert shown() == "(ended without an answer)\n? tokens in, ? out\n"


def test_a_server_that_is_not_there() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(GenerationError, match=r"cannot reach http://127\.0\.0\.1:1: refused; is the server running\?"):
        talk(refuse)


def test_a_server_of_another_kind() -> None:
    with pytest.raises(GenerationError, match="does not list its models"):
        talk(lambda request: httpx.Response(200, json={"hello": 1}))
