"""What a plain completion looks like on the wire: chunk by chunk, or whole. Thought and answer are one text here."""

from dataclasses import dataclass, field

from ponder.serve.errors import ApiError
from ponder.serve.records import Delta, Event, Finish, Retract, Usage
from ponder.serve.wire.chat_reply import ReplyShape, error_chunk, failure, wire_reason
from ponder.serve.wire.json_text import quote
from ponder.serve.wire.logprobs import Placed, completion_logprobs, placed
from ponder.serve.wire.usage import usage_json

_KIND = "text_completion"


class CompletionStream:
    """See `ponder.serve.wire.delivery.StreamWriter`."""

    def __init__(self, shape: ReplyShape) -> None:
        self._shape = shape
        self._head = "data: " + shape.head(_KIND)
        self._tail = ',"usage":null}\n\n' if shape.include_usage else "}\n\n"
        self._lengths: dict[int, int] = {}  # characters of each sample so far

    def event(self, event: Event) -> bytes:
        """The chunk of an event."""
        if isinstance(event, Delta):
            if event.kind == "tool_call" or not (event.text or event.logprobs):
                return b""
            start = self._lengths.get(event.index, 0)
            self._lengths[event.index] = start + len(event.text)
            logprobs = "null"
            if event.logprobs and self._shape.logprobs:
                logprobs = completion_logprobs(placed(event, start))
            return self._chunk(event.index, event.text, logprobs, "null")
        if isinstance(event, Finish):
            if event.error:
                raise failure(event)
            return self._chunk(event.index, "", "null", f'"{wire_reason(event.reason)}"')
        return b""

    def error(self, error: ApiError) -> bytes:
        return error_chunk(error).encode(errors="replace")

    def end(self, usage: Usage) -> bytes:
        if not self._shape.include_usage:
            return b"data: [DONE]\n\n"
        return f'{self._head}],"usage":{usage_json(usage)}}}\n\ndata: [DONE]\n\n'.encode()

    def _chunk(self, index: int, text: str, logprobs: str, reason: str) -> bytes:
        return (
            f'{self._head}{{"index":{index},"text":{quote(text)},"logprobs":{logprobs},"finish_reason":{reason}}}]'
            f"{self._tail}"
        ).encode(errors="replace")


@dataclass(slots=True)
class _Sample:
    text: list[str] = field(default_factory=list)
    length: int = 0  # characters
    logprobs: list[Placed] = field(default_factory=list)
    reason: str = "stop"


class CompletionBody:
    """See `ponder.serve.wire.delivery.BodyWriter`."""

    def __init__(self, shape: ReplyShape) -> None:
        self._shape = shape
        self._samples: dict[int, _Sample] = {}

    def add(self, event: Event) -> None:
        """Take an event in. Raises `ApiError` where a sample failed."""
        if not isinstance(event, Delta | Finish | Retract):
            return
        sample = self._samples.setdefault(event.index, _Sample())
        if isinstance(event, Delta):
            if event.kind == "tool_call":
                return
            sample.logprobs += placed(event, sample.length)
            sample.text.append(event.text)
            sample.length += len(event.text)
        elif isinstance(event, Retract):
            sample.text, sample.logprobs, sample.length = [], [], 0
        else:
            if event.error:
                raise failure(event)
            sample.reason = wire_reason(event.reason)

    def body(self, usage: Usage) -> bytes:
        choices = ",".join(self._choice(index, self._samples[index]) for index in sorted(self._samples))
        return f'{self._shape.head(_KIND)}{choices}],"usage":{usage_json(usage)}}}'.encode(errors="replace")

    def _choice(self, index: int, sample: _Sample) -> str:
        logprobs = completion_logprobs(sample.logprobs) if self._shape.logprobs else "null"
        text = quote("".join(sample.text))
        return f'{{"index":{index},"text":{text},"logprobs":{logprobs},"finish_reason":"{sample.reason}"}}'
