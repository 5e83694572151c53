"""A teacher behind any OpenAI-compatible address: vLLM, SGLang, llama.cpp, DeepSeek, OpenRouter, or another Ponder.

Its thought is read from `reasoning_content` or `reasoning`, from the content's parts, or from `<think>` tags in the
content. Its address comes from the operator alone: redirects are not followed, and neither proxies nor passwords are
taken from the environment. The key is sent to that address, and appears in no message and no file.
"""

import email.utils
import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx

from ponder.core.addresses import api_base
from ponder.core.errors import ConfigError, GenerationError
from ponder.core.files import explain_read_errors
from ponder.core.seeds import derive_seed, python_rng
from ponder.core.types import Sampling
from ponder.data.traces import Trace, flaw_of, split_thought
from ponder.recipes.endpoint_config import EndpointConfig
from ponder.recipes.teachers import Keep, Wanted

MOST_BYTES = 32 << 20  # of one answer
LONGEST_WAIT = 300.0  # seconds, that a server may ask for before a request is tried again
LAST_ANSWERS = 20.0  # seconds, that answers under way are waited for when the teacher has failed
REFUSALS = 8  # requests refused one after the other, before any answer: then it is the settings, not the problems
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}  # statuses that pass by themselves
REFUSED = {400, 413, 422}  # statuses that speak of one request


class Answer(NamedTuple):
    """What a server's message says."""

    thought: str
    content: str
    truncated: bool


class _PassingError(Exception):
    """Something that may be better next time."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after  # seconds that the server asks for


class _RefusedError(Exception):
    """The server refuses this request, whatever the next one."""


@dataclass
class _Exchange:
    """What the threads that ask share."""

    jobs: "queue.SimpleQueue[Wanted]" = field(default_factory=queue.SimpleQueue)
    outcomes: "queue.SimpleQueue[Trace | BaseException]" = field(default_factory=queue.SimpleQueue)
    stop: threading.Event = field(default_factory=threading.Event)


class Endpoint:
    """A `Teacher` behind an address. Close it at the end."""

    def __init__(
        self,
        config: EndpointConfig,
        sampling: Sampling,
        seed: int,
        *,
        thought_wanted: bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Raises `ConfigError` for an address or a key that is none, `GenerationError` where the model's name has to
        be asked for and cannot be.
        """
        self._config, self._sampling, self._seed, self._thought_wanted = config, sampling, seed, thought_wanted
        self._base = api_base(config.url, "the teacher's address")
        headers = {"accept-encoding": "identity"}  # a small answer cannot unpack to a large one
        self._key = read_key(Path(config.key_file)) if config.key_file else None
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._client = httpx.Client(
            base_url=self._base,
            headers=headers,
            timeout=httpx.Timeout(config.timeout_seconds, connect=min(10.0, config.timeout_seconds)),
            limits=httpx.Limits(max_connections=config.concurrency),
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )
        try:
            self._model = config.model or self._first_model()
        except BaseException:
            self._client.close()
            raise

    @property
    def name(self) -> str:
        return f"{self._model} at {self._base}"

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ask(self, wanted: Sequence[Wanted], keep: Keep) -> None:
        """See `Teacher.ask`. So many requests run at once as `concurrency` says; each is tried again with growing
        pauses where what went wrong may pass.
        """
        shared = _Exchange()
        for job in wanted:
            shared.jobs.put(job)
        # daemons: a process that is stopped does not wait for answers under way
        threads = [
            threading.Thread(target=self._work, args=(shared,), name=f"teacher-{i}", daemon=True)
            for i in range(min(self._config.concurrency, len(wanted)))
        ]
        for thread in threads:
            thread.start()
        try:
            self._receive(shared, len(wanted), keep)
        except BaseException as error:
            shared.stop.set()
            if isinstance(error, GenerationError):  # what is under way may come after all; Ctrl-C does not wait for it
                deadline = time.monotonic() + LAST_ANSWERS
                for thread in threads:
                    thread.join(max(0.0, deadline - time.monotonic()))
            while not shared.outcomes.empty():
                outcome = shared.outcomes.get()
                if isinstance(outcome, Trace):
                    keep(outcome)
            raise

    def _receive(self, shared: _Exchange, count: int, keep: Keep) -> None:
        answered = False
        refusals = 0
        for _ in range(count):
            outcome = shared.outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            keep(outcome)
            if outcome.flaw != "refused":
                answered = True
            elif not answered:
                refusals += 1
                if refusals >= REFUSALS:
                    raise GenerationError(
                        f"{self.name} refused all of the first {refusals} requests; the last time it said: "
                        f"{outcome.note}. Change its settings (endpoint.…), or ask another teacher"
                    )

    def _work(self, shared: _Exchange) -> None:
        while not shared.stop.is_set():
            try:
                wanted = shared.jobs.get_nowait()
            except queue.Empty:
                return
            try:
                shared.outcomes.put(self._ask_one(wanted, shared.stop))
            except BaseException as error:  # noqa: BLE001  # told in the caller's thread
                shared.outcomes.put(error)
                return

    def _ask_one(self, wanted: Wanted, stop: threading.Event) -> Trace:
        config = self._config
        body = self._body(wanted)
        for attempt in range(1, config.attempts + 1):
            try:
                reply = self._post(body)
                return self._trace(wanted, reply)
            except _RefusedError as error:
                return self._refusal(wanted, str(error))
            except _PassingError as error:
                if attempt == config.attempts or stop.is_set():
                    times = "once" if attempt == 1 else f"{attempt} times"
                    raise GenerationError(
                        f"{self.name} failed {times} on problem {wanted.problem.id!r}: {error}. What it had answered "
                        "is kept; go on with --resume when it is well again"
                    ) from None
                stop.wait(self._pause(wanted, attempt, error.after))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause(self, wanted: Wanted, attempt: int, after: float | None) -> float:
        """Seconds until the next attempt: doubled each time, with some chance so that requests spread."""
        rng = python_rng(self._seed, "pause", wanted.problem.id, wanted.sample, attempt)
        pause = min(60.0, self._config.pause_seconds * 2 ** (attempt - 1)) * rng.uniform(0.5, 1.0)
        return pause if after is None else max(pause, after)

    def _body(self, wanted: Wanted) -> dict[str, Any]:
        config, sampling = self._config, self._sampling
        question = wanted.problem.prompt + (f"\n\n{config.instruction}" if config.instruction else "")
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": question}],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            config.limit_name: sampling.max_tokens,
            "stream": False,
        }
        if config.seeded:
            body["seed"] = derive_seed(self._seed, "teacher", wanted.problem.id, wanted.sample) % 2**31
        return body | dict(config.extra)

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The server's reply as JSON."""
        try:
            with self._client.stream("POST", "chat/completions", json=dict(body)) as response:
                text = _read(response, time.monotonic() + self._config.timeout_seconds)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _PassingError(self._hidden(str(error) or type(error).__name__)) from None
        if response.status_code == 200:
            return self._json(response, text)
        said = f"it answered {response.status_code}: {self._hidden(_error_of(text))}"
        if response.status_code in PASSING:
            raise _PassingError(said, _retry_after(response))
        if response.status_code in REFUSED:
            raise _RefusedError(said)
        raise GenerationError(f"{self.name}: {said}{_advice(response)}")

    def _json(self, response: httpx.Response, text: bytes) -> dict[str, Any]:
        kind = response.headers.get("content-type", "nothing").partition(";")[0].strip()
        if "json" not in kind:
            raise _PassingError(f"it answered with {kind}, which begins {text[:60]!r}; expected application/json")
        try:
            reply = json.loads(text)
        except (ValueError, RecursionError):
            raise _PassingError(f"it answered with what is no JSON: {text[:60]!r}") from None
        if not isinstance(reply, dict) or not isinstance(reply.get("choices"), list) or not reply["choices"]:
            raise _PassingError(f"its answer holds no choices: {self._hidden(_error_of(text))}")
        return reply

    def _trace(self, wanted: Wanted, reply: Mapping[str, Any]) -> Trace:
        try:
            answer = answer_of(reply["choices"][0])
        except (KeyError, TypeError, AttributeError) as error:
            raise _PassingError(f"its answer has another form than OpenAI's API ({error})") from None
        if reply["choices"][0].get("finish_reason") == "content_filter":
            return self._refusal(wanted, "its filter withheld the answer")
        usage = reply.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
        return Trace(
            problem=wanted.problem,
            sample=wanted.sample,
            thought=answer.thought,
            answer=answer.content,
            flaw=flaw_of(
                answer.thought, answer.content, truncated=answer.truncated, thought_wanted=self._thought_wanted
            ),
            tokens=tokens if isinstance(tokens, int) else None,
        )

    def _refusal(self, wanted: Wanted, note: str) -> Trace:
        return Trace(
            problem=wanted.problem, sample=wanted.sample, thought="", answer="", flaw="refused", tokens=None, note=note
        )

    def _first_model(self) -> str:
        try:
            response = self._client.get("models", timeout=30.0)
        except httpx.TransportError as error:
            raise GenerationError(
                f"cannot reach {self._base}: {self._hidden(str(error) or type(error).__name__)}; check the address, or "
                "whether the server runs"
            ) from None
        if response.status_code != 200:
            said = self._hidden(_error_of(response.content))
            raise GenerationError(
                f"{self._base} does not list its models (it answered {response.status_code}: {said})"
                f"{_advice(response) or '; name one: --endpoint.model=NAME'}"
            )
        try:
            return str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            raise GenerationError(
                f"{self._base} does not list its models as OpenAI's API does; name one with --endpoint.model=NAME, or "
                "give the address of such an API"
            ) from None

    def _hidden(self, text: str) -> str:
        """A server's words without the key, should it repeat it."""
        return text.replace(self._key, "…") if self._key else text


def read_key(path: Path) -> str:
    """The key that is alone in a file. Raises `ConfigError` where there is none."""
    with explain_read_errors(path):
        key = path.read_bytes().decode("utf-8-sig", "replace").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{path} holds no API key; expected one line with the key and nothing else")
    return key


def answer_of(choice: Mapping[str, Any]) -> Answer:
    """Thought and answer of one choice of a reply, wherever the server puts the thought."""
    message = choice["message"]
    parts = message.get("content")
    thought = "".join(_texts(message.get("reasoning_content") or message.get("reasoning")))
    if isinstance(parts, list):
        thinking = [part for part in parts if part.get("type") in ("thinking", "reasoning")]
        thought += "".join(text for part in thinking for text in _texts(part.get(part["type"]) or part.get("text")))
        parts = [part for part in parts if part not in thinking]
    content = "".join(_texts(parts))
    truncated = choice.get("finish_reason") == "length"
    if not thought.strip():
        thought, content, ended = split_thought(content)
        truncated = truncated or not ended
    return Answer(thought.strip(), content.strip(), truncated)


def _texts(value: Any) -> list[str]:
    """The texts of a field: a text, a list of parts with texts, or nothing."""
    if value is None:
        return []
    if isinstance(value, list):
        return [text for part in value for text in _texts(part.get("text") if isinstance(part, Mapping) else part)]
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text is expected")
    return [value]


def _read(response: httpx.Response, deadline: float) -> bytes:
    data = bytearray()
    for piece in response.iter_bytes():
        data += piece
        if len(data) > MOST_BYTES:
            raise _PassingError(f"its answer is longer than {MOST_BYTES >> 20} MB")
        if time.monotonic() > deadline:
            raise _PassingError("its answer takes longer than endpoint.timeout_seconds")
    return bytes(data)


def _error_of(text: bytes) -> str:
    """What a server says of an error, in a line."""
    said: object = text.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        said = found.get("error", found)
        said = said.get("message", said) if isinstance(said, Mapping) else said
    except (ValueError, AttributeError, RecursionError):
        pass
    return " ".join(str(said).split())[:200] or "nothing"


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait for, in either of HTTP's two forms, at most `LONGEST_WAIT`."""
    said = response.headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None


def _advice(response: httpx.Response) -> str:
    status = response.status_code
    if status in (401, 403):
        return "; give a key that it knows with --key-file FILE"
    if status == 404:
        return "; check the address (it should end in /v1) and --endpoint.model"
    if 300 <= status < 400:
        return "; it wants to lead elsewhere, which is not followed: give the address itself"
    return ""
