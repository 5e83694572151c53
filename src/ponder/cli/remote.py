"""A chat with a server that speaks OpenAI's chat completions: ours, or another's."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Any

import httpx
from rich.console import Console

from ponder.cli.converse import NEW, Shown
from ponder.cli.output import printable
from ponder.core.addresses import api_base
from ponder.core.errors import GenerationError
from ponder.core.event_data import EventData, LineTooLongError

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0  # a server may let a request wait for so long; it sends comments meanwhile
MOST_BYTES = 1 << 20  # of one chunk


@dataclass(frozen=True, kw_only=True)
class RemoteSettings:
    """What is asked of the server with every question. None leaves it to the server."""

    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


class RemotePartner:
    """A server's model, as `converse` knows one. The conversation is kept here: such servers remember nothing."""

    def __init__(
        self,
        url: str,
        console: Console,
        *,
        model: str | None = None,
        key: str | None = None,
        settings: RemoteSettings | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`model` None: the first that the server lists. Raises `ConfigError` for an address that is none, and
        `GenerationError` where the server cannot be reached or refuses.
        """
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx.Client(
            base_url=api_base(url, "--url"), headers=headers, timeout=timeout, transport=transport
        )
        self._url, self._console, self._settings = url, console, settings or RemoteSettings()
        self._conversation: list[dict[str, str]] = []
        self.model = model or self._first_model()

    def introduce(self) -> None:
        self._console.print(f"\n{printable(self.model)} at {printable(self._url)}")
        self._console.print(f"Ctrl-C stops an answer, Ctrl-D leaves, {NEW} begins another conversation.", style="dim")

    def offer(self, turn: int) -> str | None:
        return None

    def forget(self) -> None:
        self._conversation.clear()

    def answer(self, question: str, turn: int) -> None:
        asked = {"role": "user", "content": question}
        shown, began = Shown(self._console), time.monotonic()
        answer, thought_seconds, usage, reason = "", None, None, None
        try:
            for chunk in self._stream([*self._conversation, asked]):
                usage = chunk.get("usage") or usage
                for choice in chunk.get("choices") or ():
                    reason = choice.get("finish_reason") or reason
                    delta = choice.get("delta") or {}
                    if thought := delta.get("reasoning_content") or delta.get("reasoning"):
                        shown.text("thought", thought)
                        thought_seconds = time.monotonic() - began
                    if content := delta.get("content"):
                        if thought_seconds is not None and not answer:
                            shown.thought_end(thought_seconds, None)
                        shown.text("answer", content)
                        answer += content
        except KeyboardInterrupt:
            shown.line("(stopped)", "yellow")
            raise
        shown.line(_ending(reason, answer), "yellow")
        if usage:
            shown.line(_cost(usage), "dim")
        if reason != "content_filter":  # what was shown is void, and the question could have the next ones refused
            self._conversation += [asked, {"role": "assistant", "content": answer}]

    def _stream(self, messages: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body |= {name: value for name, value in asdict(self._settings).items() if value is not None}
        try:
            with self._client.stream("POST", "chat/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise GenerationError(_refusal(response))
                for data in _events(response):
                    text = data.decode("utf-8", "replace").strip()
                    if text == "[DONE]":
                        return
                    yield _chunk(text)
        except httpx.HTTPError as error:
            raise GenerationError(f"{self._url}: {_network(error)}") from None

    def _first_model(self) -> str:
        try:
            response = self._client.get("models")
        except httpx.HTTPError as error:
            raise GenerationError(
                f"cannot reach {self._url}: {_network(error)}; is the server running? Start one: ponder serve"
            ) from None
        if response.status_code != 200:
            raise GenerationError(_refusal(response))
        try:
            return str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            raise GenerationError(
                f"{self._url} does not list its models as OpenAI's API does; name the address of such an API, for "
                "example http://127.0.0.1:8000"
            ) from None


def _events(response: httpx.Response) -> Iterator[bytes]:
    """The data of a stream's events. Only a newline ends a line: U+2028, U+2029 and U+0085 may stand in a text."""
    events = EventData(MOST_BYTES)
    try:
        for piece in response.iter_bytes():
            yield from events.feed(piece)
        yield from events.finish()
    except LineTooLongError:
        raise GenerationError(
            f"the server sent a line without end; expected chunks of at most {MOST_BYTES >> 20} MB"
        ) from None


def _chunk(text: str) -> dict[str, Any]:
    """A chunk whose every field that is read has the form of OpenAI's API, or is null or missing."""
    try:
        chunk = json.loads(text)
        json.dumps(chunk, ensure_ascii=False).encode()  # half a character can be neither shown nor sent again
    except (ValueError, RecursionError):
        chunk = None
    if isinstance(chunk, dict) and (error := chunk.get("error")):
        raise GenerationError(f"the server failed: {printable(_message(error))}")
    if not isinstance(chunk, dict) or not _has_form(chunk):
        raise GenerationError(f"the server sent what is no chunk of an answer: {printable(text[:80])!r}")
    return chunk


def _has_form(chunk: dict[str, Any]) -> bool:
    return (
        _are(list, chunk, "choices")
        and all(map(_is_choice, chunk.get("choices") or ()))
        and _are(dict, chunk, "usage")
        and _is_usage(chunk.get("usage") or {})
    )


def _is_choice(choice: Any) -> bool:
    return (
        _are(str, choice, "finish_reason")
        and _are(dict, choice, "delta")
        and _are(str, choice.get("delta") or {}, "content", "reasoning_content", "reasoning")
    )


def _is_usage(usage: dict[str, Any]) -> bool:
    return (
        _are(int, usage, "prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens")
        and _are(dict, usage, "completion_tokens_details")
        and _are(int, usage.get("completion_tokens_details") or {}, "reasoning_tokens")
    )


def _are(kind: type, fields: object, *names: str) -> bool:
    """Whether these are fields, and those of these names are of a kind, null or missing."""
    return isinstance(fields, dict) and all(isinstance(fields.get(name), (kind, NoneType)) for name in names)


def _refusal(response: httpx.Response) -> str:
    try:
        said = _message(response.json().get("error"))
    except (ValueError, AttributeError):
        said = response.text[:200]
    advice = "; give the key with --key-file" if response.status_code == 401 else ""
    after = response.headers.get("retry-after")
    wait = f" (try again in {printable(after)} s)" if after else ""
    return f"the server answered {response.status_code}: {printable(said)}{advice}{wait}"


def _message(error: object) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _network(error: httpx.HTTPError) -> str:
    return printable(str(error) or type(error).__name__)


def _ending(reason: str | None, answer: str) -> str:
    if reason == "length":
        return "(cut off at the longest answer)"
    if reason == "content_filter":
        return "(withdrawn by a rule of this site)"
    return "" if answer else "(ended without an answer)"


def _cost(usage: dict[str, Any]) -> str:
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    parts = [f"{'?' if tokens_in is None else tokens_in} tokens in", f"{'?' if tokens_out is None else tokens_out} out"]
    if thought:
        parts.append(f"{thought} of them thought")
    if hits := usage.get("prompt_cache_hit_tokens"):
        parts.append(f"{hits} from the cache")
    return ", ".join(parts)
