"""A small random model that thinks, in our engine, behind HTTP: what every client sees of its thoughts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest
from starlette.applications import Starlette

from live_server import live_server
from local_models import prompter_of
from ponder.engine.engine import EngineConfig
from ponder.engine.opening import open_engine
from ponder.serve.anthropic.routes import routes as anthropic_routes
from ponder.serve.local.backend import LocalBackend
from ponder.serve.local.model import LocalModel
from ponder.serve.open_mode import OpenAuthenticator
from ponder.serve.responses.routes import routes as responses_routes
from ponder.serve.service import Service
from ponder.serve.wire.errors import EXCEPTION_HANDLERS, ErrorBoundary
from ponder.serve.wire.routes import wire_routes
from ponder.serve.wire.settings import WireSettings
from small_models import random_model, small_dense

QUESTION: Any = [{"role": "user", "content": "What is 2 + 2?"}]
NUMBER = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 0, "maximum": 99}, "sure": {"type": "boolean"}},
    "required": ["number", "sure"],
    "additionalProperties": False,
}
ADD: Any = {"type": "function", "function": {"name": "add", "parameters": NUMBER}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    prompter = prompter_of("deepseek-r1")
    shape = replace(small_dense(), vocab_size=prompter.tokenizer.vocab_size, max_positions=2048)
    engine = open_engine(random_model(shape), prompter.tokenizer, EngineConfig(max_running=8)).engine.start()
    service = Service([LocalBackend([LocalModel(id="m", engine=engine, prompter=prompter)])])
    parts = (service, OpenAuthenticator(), WireSettings())
    routes = [*wire_routes(*parts), *responses_routes(*parts), *anthropic_routes(*parts)]
    try:
        with live_server(ErrorBoundary(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS))) as found:
            yield found
    finally:
        engine.close()


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60) as found:
        yield found


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    extra = {name: fields.pop(name) for name in ("thinking", "thinking_budget") if name in fields}
    return client.chat.completions.create(model="m", messages=QUESTION, seed=5, extra_body=extra, **fields)


def test_a_budget_bounds_the_thought_and_an_answer_follows(client: openai.OpenAI) -> None:
    for budget in (1, 7, 30):
        reply = ask(client, max_tokens=60, thinking_budget=budget)
        usage, message = reply.usage, reply.choices[0].message
        assert 1 <= usage.completion_tokens_details.reasoning_tokens <= budget + 1  # with the line break before the tag
        assert usage.completion_tokens <= 60
        assert message.reasoning_content
        assert message.content


def test_the_thought_never_takes_all_tokens(client: openai.OpenAI) -> None:
    for length in (2, 3, 5, 8, 20):
        reply = ask(client, max_tokens=length)
        assert reply.usage.completion_tokens <= length
        assert reply.usage.completion_tokens_details.reasoning_tokens < length


def test_without_thinking_there_is_no_thought(client: openai.OpenAI) -> None:
    reply = ask(client, max_tokens=20, thinking={"type": "disabled"})
    assert reply.usage.completion_tokens_details.reasoning_tokens == 0
    assert getattr(reply.choices[0].message, "reasoning_content", None) is None


@pytest.mark.parametrize("samples", [1, 3])
def test_a_stream_says_what_the_whole_reply_says(client: openai.OpenAI, samples: int) -> None:
    fields: Any = {"max_tokens": 40, "thinking_budget": 12, "n": samples}
    whole = ask(client, **fields)
    told: list[tuple[str, str]] = [("", "")] * samples
    usage = None
    for chunk in ask(client, stream=True, stream_options={"include_usage": True}, **fields):
        usage = chunk.usage
        for choice in chunk.choices:
            thought, answer = told[choice.index]
            more = getattr(choice.delta, "reasoning_content", None) or ""
            assert not (more and answer)
            told[choice.index] = (thought + more, answer + (choice.delta.content or ""))
    assert told == [(c.message.reasoning_content, c.message.content) for c in whole.choices]
    assert usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert len(set(told)) == samples


def test_a_schema_binds_the_answer_and_not_the_thought(client: openai.OpenAI) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "number", "schema": NUMBER, "strict": True}}
    for seed in range(3):
        reply = ask(client, max_tokens=200, thinking_budget=10, response_format=wanted, temperature=1.0 + seed / 10)
        message = reply.choices[0].message
        assert message.reasoning_content
        assert reply.choices[0].finish_reason == "stop"
        found = json.loads(message.content)
        assert set(found) == {"number", "sure"}
        assert 0 <= found["number"] <= 99


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_tool_that_must_be_called_is_called_after_the_thought(client: openai.OpenAI, choice: Any) -> None:
    reply = ask(
        client, max_tokens=300, thinking_budget=10, tools=[ADD], tool_choice=choice, parallel_tool_calls=False
    ).choices[0]
    assert reply.message.reasoning_content
    assert reply.finish_reason == "tool_calls"
    (call,) = reply.message.tool_calls
    assert call.function.name == "add"
    assert set(json.loads(call.function.arguments)) == {"number", "sure"}


@pytest.mark.parametrize("parallel", [True, False])
def test_a_call_that_is_cut_off_is_not_said_to_be_whole(client: openai.OpenAI, parallel: bool) -> None:
    reply = ask(
        client, max_tokens=40, thinking_budget=3, tools=[ADD], tool_choice="required", parallel_tool_calls=parallel
    ).choices[0]
    (call,) = reply.message.tool_calls
    assert '{"number": '.startswith(call.function.arguments[:11])
    assert not call.function.arguments.endswith("}")
    assert reply.finish_reason == "length"


def test_a_thought_that_was_begun_goes_on(url: str) -> None:
    begun: Any = [*QUESTION, {"role": "assistant", "content": "", "reasoning_content": "Two and", "prefix": True}]
    with openai.OpenAI(base_url=f"{url}/beta", api_key="any", max_retries=0) as beta:
        reply: Any = beta.chat.completions.create(
            model="m",
            messages=begun,
            max_tokens=30,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "boolean"}}},
            extra_body={"thinking_budget": 8},
        )
    assert 1 <= reply.usage.completion_tokens_details.reasoning_tokens <= 9
    assert reply.choices[0].message.content in ("true", "false")


def test_log_probabilities_of_thought_and_answer(client: openai.OpenAI) -> None:
    reply = ask(client, max_tokens=40, thinking_budget=10, logprobs=True, top_logprobs=2)
    told = reply.choices[0].logprobs
    for tokens, text in (
        (told.reasoning_content, reply.choices[0].message.reasoning_content),
        ([token.model_dump() for token in told.content], reply.choices[0].message.content),
    ):
        joined = b"".join(bytes(token["bytes"]) for token in tokens).decode(errors="replace")
        assert joined == text
        assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)


def test_the_other_dialects(url: str, client: openai.OpenAI) -> None:
    # the grammar's answer cannot be empty, so that both parts are there whatever the random model says
    shape: Any = {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "boolean"}}}
    response = client.responses.create(
        model="m", input="What is 2 + 2?", max_output_tokens=60, text=shape, extra_body={"thinking_budget": 12}
    )
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens >= 1
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as other:
        message = other.messages.create(  # greedy: a random model that draws may end either part where it begins
            model="m",
            max_tokens=200,
            messages=QUESTION,
            extra_body={"temperature": 0.0},
            thinking={"type": "enabled", "budget_tokens": 12},
        )
    assert [block.type for block in message.content] == ["thinking", "text"]
