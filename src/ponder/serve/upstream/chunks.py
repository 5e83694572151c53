"""What an OpenAI-compatible server streams, as events. Servers differ and err: every field is looked at before it is
used, and what makes no sense raises `GarbageError`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic_core import from_json

from ponder.serve.records import Ask, BackendEvent, Delta, Finish, FinishReason, TokenLogprob, Usage
from ponder.serve.upstream.settings import UpstreamSettings
from ponder.serve.upstream.think_tags import ThinkTags

_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_MAX_COUNT = 1 << 40  # tokens: no server means more
_MAX_CALLS = 256  # of one sample


class GarbageError(ValueError):
    """What came is not of the form. The message does not quote it."""


@dataclass(slots=True)
class _Sample:
    tags: ThinkTags | None
    calls: dict[int, int] = field(default_factory=dict)  # the server's number of a call to ours
    finish: Finish | None = None


class ChunkReader:
    """Reads the chunks of one request, and counts."""

    def __init__(self, ask: Ask, prompt_tokens: int, settings: UpstreamSettings) -> None:
        opened = settings.reasoning == "opened" and ask.thinking is not False
        tagged = settings.reasoning != "field"
        self._samples = [_Sample(ThinkTags(opened=opened) if tagged else None) for _ in range(ask.n)]
        self._ask, self._prompt_tokens = ask, prompt_tokens
        self._counted = {"reasoning": 0.0, "content": 0.0, "tool_call": 0.0}  # tokens, by our own estimate
        self._told: Mapping[str, object] | None = None
        self.text_bytes = 0  # of all samples

    @property
    def all_finished(self) -> bool:
        return all(sample.finish is not None for sample in self._samples)

    def open_samples(self) -> Iterator[int]:
        """Those that no chunk has ended."""
        return (index for index, sample in enumerate(self._samples) if sample.finish is None)

    def finishes(self) -> list[Finish]:
        """How the samples ended that did."""
        return [sample.finish for sample in self._samples if sample.finish is not None]

    def read(self, data: bytes) -> Iterator[BackendEvent]:
        """The deltas of one event's data. How samples end is told by `finishes`. Raises `GarbageError`."""
        try:
            chunk = from_json(data)
        except ValueError:
            raise GarbageError("what is no JSON") from None
        if not isinstance(chunk, dict):
            raise GarbageError("JSON that is no chunk")
        if chunk.get("error") is not None:
            raise GarbageError("an error in the midst of the answer")
        if isinstance(usage := chunk.get("usage"), dict):
            self._told = usage
        choices = chunk.get("choices") or ()
        if not isinstance(choices, list | tuple):
            raise GarbageError("choices that are no list")
        for choice in choices:
            yield from self._choice(choice)

    def usage(self) -> Usage:
        """The server's own counts; without them, one token for each piece of text or four bytes, and `estimated`."""
        told = self._told or {}
        reasoning, content, calls = (math.ceil(count) for count in self._counted.values())
        prompt, completion = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
        if prompt is None or completion is None:
            return Usage(
                prompt_tokens=self._prompt_tokens,
                completion_tokens=reasoning + content + calls,
                reasoning_tokens=reasoning,
                estimated=True,
            )
        hits = _count(told.get("prompt_cache_hit_tokens"))
        if hits is None:
            hits = _count(_part(told, "prompt_tokens_details", "cached_tokens")) or 0
        thought = _count(_part(told, "completion_tokens_details", "reasoning_tokens"))
        return Usage(
            prompt_tokens=prompt,
            cache_hit_tokens=min(hits, prompt),
            completion_tokens=completion,
            reasoning_tokens=min(reasoning if thought is None else thought, completion),
        )

    def _choice(self, choice: object) -> Iterator[Delta]:
        if not isinstance(choice, dict):
            raise GarbageError("a choice that is no object")
        index = choice.get("index", 0)
        if not isinstance(index, int) or not 0 <= index < len(self._samples):
            raise GarbageError("a choice that was not asked for")
        sample = self._samples[index]
        if sample.finish is not None:
            return  # whatever comes after the end
        delta = choice.get("delta")
        if isinstance(delta, dict):
            yield from self._delta(index, sample, delta, _logprobs(choice.get("logprobs")))
        elif text := _text(choice.get("text")):
            yield self._made(Delta(index=index, kind="content", text=text, logprobs=_plain(choice.get("logprobs"))))
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            if sample.tags is not None:
                for kind, text in sample.tags.finish():
                    yield self._made(Delta(index=index, kind=kind, text=text))
            sample.finish = self._finish(index, sample, reason, choice)

    def _delta(
        self, index: int, sample: _Sample, delta: Mapping[str, object], logprobs: tuple[TokenLogprob, ...]
    ) -> Iterator[Delta]:
        thought = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        if thought:
            yield self._made(Delta(index=index, kind="reasoning", text=thought))
        if content := _text(delta.get("content")):
            if sample.tags is None:
                yield self._made(Delta(index=index, kind="content", text=content, logprobs=logprobs))
            else:
                for kind, text in sample.tags.push(content):
                    yield self._made(Delta(index=index, kind=kind, text=text))
        calls = delta.get("tool_calls") or ()
        if not isinstance(calls, list | tuple):
            raise GarbageError("tool calls that are no list")
        for place, call in enumerate(calls):
            yield from self._call(index, sample, call, place)

    def _call(self, index: int, sample: _Sample, call: object, place: int) -> Iterator[Delta]:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict):
            raise GarbageError("a tool call without a function")
        theirs = call.get("index", place)
        if not isinstance(theirs, int):
            raise GarbageError("a tool call whose number is none")
        ours = sample.calls.get(theirs)
        if ours is None:
            name = _text(function.get("name"))
            if not name or len(sample.calls) >= _MAX_CALLS:
                raise GarbageError("a tool call without a name")
            ours = sample.calls[theirs] = len(sample.calls)
            call_id = _text(call.get("id")) or f"call_{self._ask.id[-12:]}_{index}_{ours}"
            yield Delta(index=index, kind="tool_call", text="", call=ours, call_id=call_id, call_name=name)
        if arguments := _text(function.get("arguments")):
            yield self._made(Delta(index=index, kind="tool_call", text=arguments, call=ours))

    def _finish(self, index: int, sample: _Sample, reason: str, choice: Mapping[str, object]) -> Finish:
        known = _REASONS.get(reason)
        if known is None:  # "abort", "error", "insufficient_system_resource" and the like
            return Finish(
                index=index,
                reason="insufficient_system_resource",
                error="the server behind this model broke off; try again",
            )
        if known == "stop" and sample.calls:
            known = "tool_calls"
        stops = [choice.get("stop_reason"), choice.get("matched_stop")]  # vLLM's and SGLang's names for it
        matched = next((stop for stop in stops if isinstance(stop, str) and stop in self._ask.stop), None)
        return Finish(index=index, reason=known, matched_stop=matched if known == "stop" else None)

    def _made(self, delta: Delta) -> Delta:
        size = len(delta.text.encode())
        self.text_bytes += size
        self._counted[delta.kind] += max(1.0, size / 4)
        return delta


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise GarbageError("something else where a text belongs")
    return value


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT else None


def _part(told: Mapping[str, object], name: str, part: str) -> object:
    details = told.get(name)
    return details.get(part) if isinstance(details, dict) else None


def _logprobs(told: object) -> tuple[TokenLogprob, ...]:
    """A chat chunk's; those that make no sense are left out."""
    content = told.get("content") if isinstance(told, dict) else None
    if not isinstance(content, list):
        return ()
    return tuple(found for entry in content if (found := _logprob(entry, top=True)) is not None)


def _logprob(entry: object, *, top: bool = False) -> TokenLogprob | None:
    if not isinstance(entry, dict):
        return None
    token, logprob, raw = entry.get("token"), entry.get("logprob"), entry.get("bytes")
    if not isinstance(token, str) or not isinstance(logprob, int | float) or not math.isfinite(logprob):
        return None
    told = isinstance(raw, list) and all(isinstance(b, int) and 0 <= b < 256 for b in raw)
    others = entry.get("top_logprobs") if top else None
    return TokenLogprob(
        token=token,
        bytes=tuple(raw) if told and raw is not None else tuple(token.encode()),
        logprob=float(logprob),
        top=tuple(o for e in others if (o := _logprob(e)) is not None) if isinstance(others, list) else (),
    )


def _plain(told: object) -> tuple[TokenLogprob, ...]:
    """A plain completion's: lists side by side."""
    if not isinstance(told, dict):
        return ()
    tokens, values, tops = told.get("tokens"), told.get("token_logprobs"), told.get("top_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list):
        return ()
    found = []
    for place, (token, value) in enumerate(zip(tokens, values, strict=False)):
        top = tops[place] if isinstance(tops, list) and place < len(tops) else None
        others = [{"token": t, "logprob": v} for t, v in top.items()] if isinstance(top, dict) else []
        entry = _logprob({"token": token, "logprob": value, "top_logprobs": others}, top=True)
        if entry is not None:
            found.append(entry)
    return tuple(found)
