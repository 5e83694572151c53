"""Plain completions, the list of models, tokens, balances, and control of a request under way."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ponder.core.streaming import SamplingOptions
from ponder.serve.errors import ApiError
from ponder.serve.limits.gate import FairGate
from ponder.serve.limits.settings import AccountLimits, GateSettings
from ponder.serve.records import Ask, Balance, Caller, Delta, Finish, PlainText, TokenLogprob, Usage
from ponder.serve.scripted import Script, ScriptedBackend, scripted_model
from ponder.serve.service import Service
from ponder.serve.wire.balance import two_decimals
from ponder.serve.wire.chat_reply import ReplyShape
from ponder.serve.wire.completion_reply import CompletionBody, CompletionStream
from ponder.serve.wire.reply_records import BalanceList, Completion, Control, ModelList, Text, Tokens
from ponder.serve.wire.settings import WireSettings
from wire_server import MODEL, Recorder, ask, chat, exchange, wire_app

HELLO = Script(answer=" there, friend.")


def complete(path: str = "/v1/completions", **fields: Any) -> tuple[Any, list[Ask]]:
    body = {"model": MODEL, "prompt": "Hello", **fields}
    return ask(body, lambda asked: HELLO, path=path)


def test_a_text_is_gone_on_with() -> None:
    answer, asks = complete(stop="\n", seed=1, temperature=0)
    found = answer.json
    Completion.model_validate(found)
    assert found["choices"] == [{"index": 0, "text": " there, friend.", "logprobs": None, "finish_reason": "stop"}]
    assert found["usage"]["completion_tokens"] == 2
    assert asks[0].prompt == PlainText(text="Hello")
    assert (asks[0].id, asks[0].max_tokens, asks[0].stop) == (found["id"], 16, ("\n",))
    assert asks[0].sampling == SamplingOptions(temperature=0.0)


def test_a_stream_of_text_byte_for_byte() -> None:
    shape = ReplyShape(id="cmpl-1", created=7, model="m", fingerprint="fp", include_usage=True)
    writer = CompletionStream(shape)
    head = (
        'data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp","choices":['
    )
    assert writer.event(Delta(index=1, kind="content", text="é\n")).decode() == (
        head + '{"index":1,"text":"é\\n","logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    )
    assert writer.event(Finish(index=1, reason="length")).decode() == (
        head + '{"index":1,"text":"","logprobs":null,"finish_reason":"length"}],"usage":null}\n\n'
    )
    assert writer.end(Usage(prompt_tokens=1)).decode().startswith(head + '],"usage":{"prompt_tokens":1,')


def test_a_gap_is_filled() -> None:
    answer, asks = complete("/beta/completions", suffix="!", max_tokens=None)
    assert answer.status == 200
    assert (asks[0].prompt, asks[0].max_tokens) == (PlainText(text="Hello", suffix="!"), 4096)
    body = {"model": MODEL, "prompt": "Hello", "suffix": "!"}
    refused, _ = ask(body, path="/completions", model=replace(scripted_model(), infill=False))
    assert (refused.status, refused.error["param"]) == (400, "suffix")


@pytest.mark.parametrize("infill", [True, False])
def test_an_empty_suffix_is_none(infill: bool) -> None:
    body = {"model": MODEL, "prompt": "Hello", "suffix": ""}
    answer, asks = ask(body, lambda asked: HELLO, path="/completions", model=replace(scripted_model(), infill=infill))
    assert (answer.status, asks[0].prompt) == (200, PlainText(text="Hello", suffix=None))


def test_prompts_may_be_ids_or_several() -> None:
    for prompt, texts in (
        ([5, 6], [(5, 6)]),
        (["a", "b"], ["a", "b"]),
        ([[5, 6], [7]], [(5, 6), (7,)]),
        ([""], [""]),
    ):
        answer, asks = complete(prompt=prompt, n=2, echo=True)
        assert [asked.prompt for asked in asks] == [PlainText(text=text, echo=True) for text in texts]
        assert [choice["index"] for choice in answer.json["choices"]] == list(range(2 * len(texts)))
        assert answer.json["usage"]["completion_tokens"] == 4 * len(texts)
        assert len({asked.id for asked in asks}) == len(texts)
        streamed, _ = complete(prompt=prompt, n=2, echo=True, stream=True)
        for index, choice in enumerate(answer.json["choices"]):
            own = [c["choices"][0] for c in streamed.chunks if c["choices"][0]["index"] == index]
            assert "".join(c["text"] for c in own) == choice["text"]


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"prompt": None}, "prompt", "expected a text, a list of token ids, or a list of one of these, got null"),
        ({"prompt": []}, "prompt", "got a list"),
        ({"prompt": [[]]}, "prompt.0", "at least 1 item"),
        ({"prompt": [1, "a"]}, "prompt.1", "expected a valid integer, got a string"),
        ({"prompt": ["a", 1]}, "prompt.1", "expected a valid string, got 1"),
        ({"prompt": [-1]}, "prompt.0", "greater than or equal to 0, got -1"),
        ({"prompt": ["a"] * 65}, "prompt", "at most 64 items"),
        ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
        ({"best_of": 2}, "best_of", "differs from n"),
        ({"echo": True, "logprobs": 0}, "logprobs", "the tokens of a prompt have no log-probabilities here"),
        ({"max_tokens": 0}, "max_tokens", "got 0"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], param: str, told: str) -> None:
    answer, asks = complete(**fields)
    assert (answer.status, answer.error["param"], asks) == (422, param, [])
    assert told in answer.error["message"]


def test_of_several_prompts_a_long_one_is_refused_before_any_is_generated() -> None:
    backend = Recorder(HELLO, models=[scripted_model(context=20)])
    app = wire_app(Service([backend]))
    body = json.dumps({"model": MODEL, "prompt": ["a", "b " * 30]}).encode()
    answer = asyncio.run(exchange(app, "/v1/completions", body))
    assert (answer.status, answer.error["code"], backend.started) == (400, "context_length_exceeded", 0)


def test_several_prompts_are_one_request_to_the_limits() -> None:
    limits = AccountLimits(requests=1, requests_per_minute=1)
    backend = Recorder(HELLO)
    app = wire_app(Service([backend], gate=FairGate(GateSettings(account=limits))))
    body = json.dumps({"model": MODEL, "prompt": ["a", "b", "c"]}).encode()
    answers = [asyncio.run(exchange(app, "/v1/completions", body)) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert len(answers[0].json["choices"]) == backend.started == 3


@pytest.mark.parametrize("stream", [True, False])
def test_several_prompts_are_stopped_by_the_id_that_is_shown(*, stream: bool) -> None:
    async def scenario() -> tuple[Any, Recorder]:
        backend = Recorder(Script(answer="on and on " * 5), tokens_per_second=200)
        app = wire_app(Service([backend]))
        body = json.dumps({"model": MODEL, "prompt": ["a", "b", "c"], "stream": stream}).encode()
        running = asyncio.create_task(exchange(app, "/v1/completions", body))
        while backend.drawn_tokens < 17:  # the second is under way
            await asyncio.sleep(0.001)
        stopped = await exchange(app, f"/v1/chat/completions/{backend.asks[0].id}/cancel", b"")
        assert stopped.status == 200
        return await asyncio.wait_for(running, 2), backend

    answer, backend = asyncio.run(scenario())
    choices = [c["choices"][0] for c in answer.chunks if c["choices"]] if stream else answer.json["choices"]
    ends = {choice["index"]: choice["finish_reason"] for choice in choices if choice["finish_reason"]}
    assert ends == {0: "stop", 1: "insufficient_system_resource", 2: "insufficient_system_resource"}
    assert (backend.started, backend.drawn_tokens < 30) == (2, True)


def test_logprobs_in_columns() -> None:
    other = TokenLogprob(token="x", bytes=(120,), logprob=-2.0)
    tokens = [TokenLogprob(token=t, bytes=tuple(t.encode()), logprob=-0.25, top=(other,)) for t in ("ab", "c")]
    shape = ReplyShape(id="cmpl-1", created=7, model="m", fingerprint="fp", logprobs=True)
    writer = CompletionBody(shape)
    stream = CompletionStream(shape)
    events = [
        Delta(index=0, kind="content", text="echo"),
        Delta(index=0, kind="content", text="ab", logprobs=(tokens[0],)),
        Delta(index=0, kind="content", text="c", logprobs=(tokens[1],)),
    ]
    for event in events:
        writer.add(event)
    found = json.loads(writer.body(Usage()))
    Completion.model_validate(found)
    assert found["choices"][0]["logprobs"] == {
        "tokens": ["ab", "c"],
        "token_logprobs": [-0.25, -0.25],
        "top_logprobs": [{"x": -2.0, "ab": -0.25}, {"x": -2.0, "c": -0.25}],
        "text_offset": [4, 6],
    }
    streamed = [json.loads(stream.event(event).removeprefix(b"data: "))["choices"][0]["logprobs"] for event in events]
    assert [found and found["text_offset"] for found in streamed] == [None, [4], [6]]
    pieces = [TokenLogprob(token="bytes:\\xf0", bytes=(240,), logprob=-1.0)] * 3  # as some servers name them
    delta = Delta(index=0, kind="content", text="😀", logprobs=tuple(pieces))
    writer.add(delta)
    choice = json.loads(writer.body(Usage()))["choices"][0]
    assert (choice["text"], choice["logprobs"]["text_offset"]) == ("echoabc😀", [4, 6, 7, 7, 7])
    assert json.loads(stream.event(delta).removeprefix(b"data: "))["choices"][0]["logprobs"]["text_offset"] == [7] * 3


def get(path: str, body: Any = None, settings: WireSettings | None = None, **options: Any) -> Any:
    app = wire_app(Service([ScriptedBackend()]), settings, **options)
    return asyncio.run(exchange(app, path, None if body is None else json.dumps(body).encode()))


def test_models_are_listed() -> None:
    entry = {
        "id": "scripted",
        "object": "model",
        "created": 1_737_331_200,
        "owned_by": "ponder",
        "max_model_len": 65536,
    }
    for path in ("/models", "/v1/models"):
        found = get(path).json
        ModelList.model_validate(found)
        assert found == {"object": "list", "data": [entry]}
        assert get(f"{path}/scripted").json == entry
        missing = get(f"{path}/org/other")
        assert (missing.status, missing.error["code"]) == (404, "model_not_found")
    names = [m["id"] for m in get("/v1/models", settings=WireSettings(dialect="r1")).json["data"]]
    assert names == ["scripted", "deepseek-chat", "deepseek-reasoner"]


def test_texts_and_ids() -> None:
    for body in ({"model": MODEL, "prompt": "hé"}, {"content": "hé"}):
        found = get("/tokenize", body).json
        Tokens.model_validate(found)
        assert found == {"count": 3, "max_model_len": 65536, "tokens": [104, 195, 169]}
    found = get("/v1/detokenize", {"model": MODEL, "tokens": [104, 195, 169]}).json
    Text.model_validate(found)
    assert found == {"prompt": "hé", "content": "hé"}
    assert get("/tokenize", {"model": MODEL}).error["param"] == "prompt"
    assert get("/detokenize", {"tokens": [-1]}).error["param"] == "tokens.0"
    assert get("/tokenize", {"model": "other", "prompt": ""}).status == 404


class Purse:
    def __init__(self, balance: Balance) -> None:
        self._balance = balance

    async def balance(self, account_id: str) -> Balance:
        return self._balance


def test_balances_are_texts_with_two_decimals() -> None:
    assert get("/user/balance").json == {"is_available": True, "balance_infos": []}
    purse = Purse(Balance(currency="CNY", granted=10_000_000, topped_up=100_009_999))
    found = get("/user/balance", balances=purse).json
    BalanceList.model_validate(found)
    assert found == {
        "is_available": True,
        "balance_infos": [
            {"currency": "CNY", "total_balance": "110.00", "granted_balance": "10.00", "topped_up_balance": "100.00"}
        ],
    }
    empty = Purse(Balance(currency="USD", granted=0, topped_up=0))
    assert get("/user/balance", balances=empty).json["is_available"] is False


@pytest.mark.parametrize(
    ("micro_units", "text"),
    [
        (0, "0.00"),
        (9_999, "0.00"),
        (10_000, "0.01"),
        (1_234_567_890, "1234.56"),
        (-9_999, "0.00"),
        (-1_230_000, "-1.23"),
    ],
)
def test_amounts_are_cut_not_rounded(micro_units: int, text: str) -> None:
    assert two_decimals(micro_units) == text


class ByName:
    """Everybody is who the header says."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Caller:
        key = headers.get("authorization", "")
        if not key.startswith("Bearer "):
            raise ApiError(401, "no key", type="authentication_error", code="invalid_api_key")
        return Caller(account=key.removeprefix("Bearer "), address=address)


def test_who_has_no_key_is_told_before_the_body_is_read() -> None:
    app = wire_app(Service([ScriptedBackend()]), authenticator=ByName())
    for path, body in (("/v1/chat/completions", b"not json"), ("/v1/models", None), ("/user/balance", None)):
        answer = asyncio.run(exchange(app, path, body))
        assert (answer.status, answer.error["type"]) == (401, "authentication_error")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_answer_can_be_had_now_by_its_owner_only() -> None:
    async def scenario(action: str) -> tuple[Any, list[int]]:
        script = Script(thought="on and on " * 1000, answer="4")
        backend = Recorder(script, tokens_per_second=200)
        app = wire_app(Service([backend]), authenticator=ByName())
        mine = (("content-type", "application/json"), ("authorization", "Bearer me"))
        other = (("authorization", "Bearer you"),)
        body = json.dumps(chat(stream=True)).encode()
        running = asyncio.create_task(exchange(app, "/v1/chat/completions", body, headers=mine))
        while not backend.running:
            await asyncio.sleep(0)
        path = f"/v1/chat/completions/{backend.asks[0].id}/{action}"
        statuses = []
        for headers in (other, mine[1:]):
            answer = await exchange(app, path, b"", headers=headers)
            statuses.append(answer.status)
        Control.model_validate(answer.json)
        finished = await asyncio.wait_for(running, 2)
        statuses.append((await exchange(app, path, b"", headers=mine[1:])).status)
        return finished, statuses

    for action, text, reason in (("answer_now", "4", "stop"), ("cancel", "", "insufficient_system_resource")):
        finished, statuses = asyncio.run(scenario(action))
        assert statuses == [404, 200, 404]
        assert "".join(c["choices"][0]["delta"].get("content") or "" for c in finished.chunks) == text
        assert finished.chunks[-1]["choices"][0]["finish_reason"] == reason
        assert finished.body.endswith(b"data: [DONE]\n\n")
