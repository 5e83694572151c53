"""What a chat completion looks like on the wire: chunk by chunk, or whole.

Chunks are written by hand: a prepared head and tail around the text in quotes. What was streamed of a message that
moderation withdraws is void: its last chunk has the finish reason `content_filter`, and a client drops what it showed.
"""

from dataclasses import dataclass, field

from ponder.serve.errors import ApiError
from ponder.serve.records import Delta, Event, Finish, FinishReason, Retract, TokenLogprob, Usage
from ponder.serve.wire.json_text import quote, quote_or_null
from ponder.serve.wire.logprobs import chat_logprobs
from ponder.serve.wire.usage import usage_json


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyShape:
    """What all chunks of a reply have in common, or the whole of it."""

    id: str
    created: int  # seconds since 1970
    model: str  # the name that the request used
    fingerprint: str
    thinks: bool = False  # whether there is a field for the thought
    logprobs: bool = False
    include_usage: bool = False  # of a stream: in a chunk of its own at the end

    def head(self, kind: str) -> str:
        """The beginning of an object, up to its choices."""
        return (
            f'{{"id":"{self.id}","object":"{kind}","created":{self.created},"model":{quote(self.model)},'
            f'"system_fingerprint":"{self.fingerprint}","choices":['
        )


def wire_reason(reason: FinishReason) -> str:
    """A sample that was cancelled, by `/cancel` or by a server that shuts down, is not complete. The dialect's word for
    an interruption is DeepSeek's.
    """
    return "insufficient_system_resource" if reason == "cancelled" else reason


def failure(finish: Finish) -> ApiError:
    """A sample that ended with an error, as the request's."""
    if finish.reason == "insufficient_system_resource":
        return ApiError(503, finish.error, type="overloaded_error", code="insufficient_system_resource")
    return ApiError(500, finish.error, type="server_error")


def error_chunk(error: ApiError) -> str:
    """The last thing in a stream that failed; the connection is closed after it, without `[DONE]`."""
    return (
        f'data: {{"error":{{"message":{quote(error.message)},"type":"{error.type}",'
        f'"param":{quote_or_null(error.param)},"code":{quote_or_null(error.code)}}}}}\n\n'
    )


class ChatStream:
    """See `ponder.serve.wire.delivery.StreamWriter`."""

    def __init__(self, shape: ReplyShape) -> None:
        self._shape = shape
        self._head = "data: " + shape.head("chat.completion.chunk")
        self._tail = ',"usage":null}\n\n' if shape.include_usage else "}\n\n"
        self._begun: set[int] = set()

    def event(self, event: Event) -> bytes:
        """The chunks of an event."""
        if isinstance(event, Delta):
            text = self._delta(event)
        elif isinstance(event, Finish):
            if event.error:
                raise failure(event)
            text = self._opening(event.index) + self._chunk(event.index, "", wire_reason(event.reason))
        elif isinstance(event, Retract):
            text = self._opening(event.index) + self._chunk(event.index, f'"refusal":{quote(event.notice)}')
        else:
            return b""
        return text.encode(errors="replace")

    def error(self, error: ApiError) -> bytes:
        return error_chunk(error).encode(errors="replace")

    def end(self, usage: Usage) -> bytes:
        if not self._shape.include_usage:
            return b"data: [DONE]\n\n"
        return f'{self._head}],"usage":{usage_json(usage)}}}\n\ndata: [DONE]\n\n'.encode()

    def _delta(self, delta: Delta) -> str:
        opening = "" if delta.index in self._begun else self._opening(delta.index)
        if delta.kind == "tool_call":
            if delta.call_name is not None:
                call = (
                    f'{{"index":{delta.call},"id":{quote(delta.call_id or "")},"type":"function",'
                    f'"function":{{"name":{quote(delta.call_name)},"arguments":{quote(delta.text)}}}}}'
                )
            elif delta.text:
                call = f'{{"index":{delta.call},"function":{{"arguments":{quote(delta.text)}}}}}'
            else:
                return opening
            return opening + self._chunk(delta.index, f'"tool_calls":[{call}]')
        if not delta.text and not delta.logprobs:
            return opening
        reasoning = delta.kind == "reasoning"
        if reasoning:
            body = f'"reasoning_content":{quote(delta.text)},"content":null'
        elif self._shape.thinks:
            body = f'"reasoning_content":null,"content":{quote(delta.text)}'
        else:
            body = f'"content":{quote(delta.text)}'
        logprobs = "null"
        if delta.logprobs and self._shape.logprobs:
            logprobs = chat_logprobs(() if reasoning else delta.logprobs, delta.logprobs if reasoning else ())
        return opening + self._chunk(delta.index, body, logprobs=logprobs)

    def _opening(self, index: int) -> str:
        """The first chunk of a sample says who speaks."""
        if index in self._begun:
            return ""
        self._begun.add(index)
        if self._shape.thinks:
            return self._chunk(index, '"role":"assistant","reasoning_content":"","content":null')
        return self._chunk(index, '"role":"assistant","content":""')

    def _chunk(self, index: int, delta: str, reason: str | None = None, logprobs: str = "null") -> str:
        finish = "null" if reason is None else f'"{reason}"'
        return (
            f'{self._head}{{"index":{index},"delta":{{{delta}}},"logprobs":{logprobs},"finish_reason":{finish}}}]'
            f"{self._tail}"
        )


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Sample:
    """What has come of one sample."""

    reasoning: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    reasoning_logprobs: list[TokenLogprob] = field(default_factory=list)
    content_logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: str = "stop"
    notice: str | None = None  # why it was withdrawn

    def add(self, delta: Delta) -> None:
        if delta.kind == "reasoning":
            self.reasoning.append(delta.text)
            self.reasoning_logprobs += delta.logprobs
        elif delta.kind == "content":
            self.content.append(delta.text)
            self.content_logprobs += delta.logprobs
        else:
            call = self.calls.get(delta.call)
            if call is None:
                call = self.calls[delta.call] = _Call(delta.call_id or "", delta.call_name or "")
            call.arguments.append(delta.text)

    def withdraw(self, notice: str) -> None:
        self.notice = notice
        self.reasoning, self.content, self.calls = [], [], {}
        self.reasoning_logprobs, self.content_logprobs = [], []


class ChatBody:
    """See `ponder.serve.wire.delivery.BodyWriter`."""

    def __init__(self, shape: ReplyShape) -> None:
        self._shape = shape
        self._samples: dict[int, _Sample] = {}

    def add(self, event: Event) -> None:
        """Take an event in. Raises `ApiError` where a sample failed."""
        if isinstance(event, Delta):
            self._sample(event.index).add(event)
        elif isinstance(event, Retract):
            self._sample(event.index).withdraw(event.notice)
        elif isinstance(event, Finish):
            if event.error:
                raise failure(event)
            self._sample(event.index).reason = wire_reason(event.reason)

    def body(self, usage: Usage) -> bytes:
        choices = ",".join(self._choice(index, self._samples[index]) for index in sorted(self._samples))
        head = self._shape.head("chat.completion")
        return f'{head}{choices}],"usage":{usage_json(usage)}}}'.encode(errors="replace")

    def _sample(self, index: int) -> _Sample:
        found = self._samples.get(index)
        if found is None:
            found = self._samples[index] = _Sample()
        return found

    def _choice(self, index: int, sample: _Sample) -> str:
        content = "".join(sample.content)
        nothing_said = not content and (sample.calls or sample.notice is not None)
        fields = ['"role":"assistant"', f'"content":{"null" if nothing_said else quote(content)}']
        if self._shape.thinks:
            thought = "".join(sample.reasoning)
            fields.insert(1, f'"reasoning_content":{quote(thought) if sample.reasoning else "null"}')
        if sample.notice is not None:
            fields.append(f'"refusal":{quote(sample.notice)}')
        if sample.calls:
            calls = (
                f'{{"id":{quote(call.id)},"type":"function",'
                f'"function":{{"name":{quote(call.name)},"arguments":{quote("".join(call.arguments))}}}}}'
                for _, call in sorted(sample.calls.items())
            )
            fields.append(f'"tool_calls":[{",".join(calls)}]')
        logprobs = "null"
        if self._shape.logprobs:
            logprobs = chat_logprobs(sample.content_logprobs, sample.reasoning_logprobs)
        return (
            f'{{"index":{index},"message":{{{",".join(fields)}}},"logprobs":{logprobs},'
            f'"finish_reason":"{sample.reason}"}}'
        )
