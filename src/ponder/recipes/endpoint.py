"""A teacher behind any OpenAI-compatible address: vLLM, SGLang, llama.cpp, DeepSeek, OpenRouter, or another Ponder.

Its thought is read from `reasoning_content` or `reasoning`, from the content's parts, or from `<think>` tags in the
content. Its address comes from the operator alone: redirects are not followed, and neither proxies nor passwords are
taken from the environment. The key is sent to that address, and appears in no message and no file.
"""

import email.utils
import json
import math
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx

from ponder.core.addresses import api_base
from ponder.core.errors import GenerationError
from ponder.core.keys import read_key
from ponder.core.seeds import derive_seed, python_rng
from ponder.core.types import Sampling
from ponder.data.traces import Flaw, Trace, flaw_of, split_thought
from ponder.recipes.endpoint_config import EndpointConfig
from ponder.recipes.teachers import Keep, UndecidedError, UselessError, Wanted

MOST_BYTES = 32 << 20  # of one answer
LONGEST_WAIT = 300.0  # seconds, that a server may ask for before a request is tried again
LONGEST_PAUSE = 60.0  # seconds before a request is tried again, where the server asks for none
LIMITED = 8  # times as long are the pauses after a 429: its window is often a minute
LAST_ANSWERS = 20.0  # seconds, that answers under way are waited for when the teacher has failed
ROOM_CHECK = 0.1  # seconds between two looks at whether the asking has ended
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

    def __init__(self, reason: str, after: float | None = None, *, limited: bool = False) -> None:
        super().__init__(reason)
        self.after = after  # seconds that the server asks for
        self.limited = limited  # too many requests: nothing is wrong with this one


class _RefusedError(Exception):
    """The server refuses this request, whatever the next one."""


class _Doubtful(NamedTuple):
    """A request that failed for good, maybe because the teacher is down."""

    trace: Trace  # what is kept of it if it is not
    told: str


@dataclass
class _Exchange:
    """What the threads that ask share."""

    room: threading.Semaphore  # for requests whose answers are not kept yet: what they tell may end the asking
    jobs: "queue.SimpleQueue[Wanted]" = field(default_factory=queue.SimpleQueue)
    outcomes: "queue.SimpleQueue[Trace | _Doubtful | BaseException]" = field(default_factory=queue.SimpleQueue)
    stop: threading.Event = field(default_factory=threading.Event)
    answered_at: float = -math.inf  # when the last answer came


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
        self._answered = False  # ever
        self._in_a_row = 0  # requests that failed since the last answer
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
        pauses where what went wrong may pass. Raises `UndecidedError` where nothing has ever been answered, and too few
        failed to say that the teacher is down.
        """
        shared = _Exchange(threading.Semaphore(2 * self._config.concurrency))
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
                well = isinstance(error, UselessError)
                deadline = time.monotonic() + (self._config.timeout_seconds if well else LAST_ANSWERS)
                for thread in threads:
                    thread.join(max(0.0, deadline - time.monotonic()))
            while not shared.outcomes.empty():
                outcome = shared.outcomes.get()
                if isinstance(outcome, Trace):
                    keep(outcome)
            raise

    def _receive(self, shared: _Exchange, count: int, keep: Keep) -> None:
        refusals = 0
        doubtful: list[_Doubtful] = []
        for _ in range(count):
            outcome = shared.outcomes.get()
            shared.room.release()
            if isinstance(outcome, BaseException):
                raise outcome
            if isinstance(outcome, _Doubtful):
                doubtful.append(outcome)
                self._in_a_row += 1
                if self._in_a_row >= self._config.failures:
                    raise GenerationError(self._explained(doubtful[0]))
                continue
            keep(outcome)
            if outcome.flaw not in ("refused", "failed"):
                self._answered, self._in_a_row = True, 0
                while doubtful:  # the teacher is well: it was the problems
                    keep(doubtful.pop(0).trace)
            elif outcome.flaw == "refused" and not self._answered:
                refusals += 1
                if refusals >= REFUSALS:
                    raise GenerationError(
                        f"{self.name} refused all of the first {refusals} requests; the last time it said: "
                        f"{outcome.note}. Change its settings (endpoint.…), or ask another teacher"
                    )
        if doubtful and not self._answered:
            raise UndecidedError(self._explained(doubtful[0]), [each.trace for each in doubtful])
        for each in doubtful:
            keep(each.trace)

    def _explained(self, first: _Doubtful) -> str:
        """Why nothing more is asked for, and what to do."""
        others = self._in_a_row - 1
        told = f"{self.name} {first.told}" + (f", and so {others} more on end" if others else "")
        advice = "What it had answered is kept; go on with --resume when it is well again"
        if others:
            advice += (
                f". If it is, and cannot answer these problems, --resume --endpoint.failures={8 * (others + 1)} lets "
                "more of them fail on end, which are counted"
            )
        return f"{told}. {advice}"

    def _work(self, shared: _Exchange) -> None:
        while not shared.stop.is_set():
            if not shared.room.acquire(timeout=ROOM_CHECK):
                continue
            try:
                wanted = shared.jobs.get_nowait()
            except queue.Empty:
                return
            try:
                outcome = self._ask_one(wanted, shared)
            except BaseException as error:  # noqa: BLE001  # told in the caller's thread
                shared.outcomes.put(error)
                return
            if outcome is not None:
                shared.outcomes.put(outcome)

    def _ask_one(self, wanted: Wanted, shared: _Exchange) -> Trace | _Doubtful | None:
        """What comes of a request; None where the asking ends while it waits to be tried again.

        One that fails while others are answered fails for its problem's sake, unless there are too many requests: then
        it waits its turn, and no attempt is counted.
        """
        body = self._body(wanted)
        tried, times, attempts = math.inf, 0, 0
        while True:
            try:
                trace = self._trace(wanted, self._post(body))
                shared.answered_at = time.monotonic()
                return trace
            except _RefusedError as error:
                return self._unanswered(wanted, "refused", str(error))
            except _PassingError as error:
                others_answered = shared.answered_at > tried
                tried = time.monotonic()
                times += 1
                attempts += not (error.limited and others_answered)
                if attempts >= self._config.attempts:
                    failed = self._unanswered(wanted, "failed", str(error))
                    often = "once" if times == 1 else f"{times} times"
                    told = f"failed {often} on problem {wanted.problem.id!r}: {error}"
                    return failed if others_answered else _Doubtful(failed, told)
                pause = self._pause(wanted, times, error)
            shared.stop.wait(pause)
            if shared.stop.is_set():
                return None

    def _pause(self, wanted: Wanted, times: int, error: _PassingError) -> float:
        """Seconds until the next attempt: doubled each time, with some chance so that requests spread."""
        rng = python_rng(self._seed, "pause", wanted.problem.id, wanted.sample, times)
        first = self._config.pause_seconds * (LIMITED if error.limited and error.after is None else 1)
        pause = min(LONGEST_PAUSE, first * 2 ** min(times - 1, 10)) * rng.uniform(0.75, 1.0)
        return pause if error.after is None else max(pause, error.after)

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
            raise _PassingError(said, _retry_after(response), limited=response.status_code == 429)
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
            return self._unanswered(wanted, "refused", "its filter withheld the answer")
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

    def _unanswered(self, wanted: Wanted, flaw: Flaw, note: str) -> Trace:
        return Trace(
            problem=wanted.problem, sample=wanted.sample, thought="", answer="", flaw=flaw, tokens=None, note=note
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
