"""Events of a run as a response object, at once or as its stream of events.

Both are made by the same steps, so that they never differ. An item is opened by its first text and closed by the first
text of another.

Source: OpenAI's API reference, "The response object" and "Streaming events".
"""

from collections.abc import Iterator

from ponder.serve.errors import ApiError
from ponder.serve.records import Delta, Event, Finish, Queued, Retract, TokenLogprob, Usage
from ponder.serve.responses.conversation import seal
from ponder.serve.responses.request import ResponsesBody
from ponder.serve.wire.failed_run import raise_if_failed

Json = dict[str, object]
# Reasons for which a response is incomplete, in this API's words; it has none for a response that somebody stopped
INCOMPLETE: dict[str, str | None] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "cancelled": None,
}


class Reply:
    """The response that a run makes."""

    def __init__(self, response_id: str, body: ResponsesBody, created_at: int) -> None:
        self._id, self._settings, self._created_at = response_id, _settings(body), created_at
        self._sealed = "reasoning.encrypted_content" in (body.include or ())
        self._logprobs = body.logprobs is not None
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._finish: Finish | None = None
        self._error: Json | None = None
        self._sequence = 0
        self.completed_at: int | None = None

    def start(self) -> Iterator[Json]:
        """The stream's first events."""
        for name in ("response.created", "response.in_progress"):
            yield self._event(name, response=self.response(None))

    def push(self, event: Event) -> Iterator[Json]:
        """The stream's events for one of the run's. Raises `ApiError` where the run has failed."""
        if isinstance(event, Delta):
            yield from self._add(event)
        elif isinstance(event, Retract):
            yield from self._withdraw(event.notice)
        elif not isinstance(event, Queued):
            self._finish = event
            yield from self._close("incomplete" if event.reason in INCOMPLETE else "completed")
            if event.reason != "cancelled" or event.error:
                raise_if_failed(event)

    def end(self, usage: Usage, completed_at: int) -> Json:
        """The stream's last event."""
        response = self.finished(usage, completed_at)
        return self._event(f"response.{response['status']}", response=response)

    def fail(self, error: ApiError, usage: Usage) -> Iterator[Json]:
        """The stream's last events where the run has failed."""
        yield from self._close("incomplete")
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        self._error = {"code": code, "message": error.message}
        yield self._event("response.failed", response=self.response(usage))

    def finished(self, usage: Usage, completed_at: int) -> Json:
        """The response as a whole, when the run has ended."""
        self.completed_at = completed_at
        return self.response(usage)

    def response(self, usage: Usage | None) -> Json:
        """The response as it stands."""
        reason = self._finish.reason if self._finish is not None else None
        if self._error is not None:
            status = "failed"
        elif reason is None:
            status = "in_progress"
        else:
            status = "incomplete" if reason in INCOMPLETE else "completed"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": self.completed_at if status == "completed" else None,
            "status": status,
            "error": self._error,
            "incomplete_details": {"reason": INCOMPLETE[reason]} if status == "incomplete" and reason else None,
            **self._settings,
            "output": [item.body() for item in self._items if not item.withdrawn] if usage is not None else [],
            "usage": usage_body(usage) if usage is not None else None,
        }

    def _event(self, kind: str, /, **fields: object) -> Json:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

    def _add(self, delta: Delta) -> Iterator[Json]:
        item = self._open
        if item is None or item.kind != delta.kind or item.call != delta.call:
            if not delta.text and delta.kind != "tool_call":
                return
            yield from self._close("completed")
            item = _Item(len(self._items), delta, self._id, sealed=self._sealed, logprobs=self._logprobs)
            yield from self._start(item)
        if not delta.text:
            return
        item.texts.append(delta.text)
        told: Json = {"item_id": item.id, "output_index": item.index, "delta": delta.text}
        if delta.kind == "tool_call":
            yield self._event("response.function_call_arguments.delta", **told)
        elif delta.kind == "reasoning":
            yield self._event("response.reasoning_text.delta", content_index=0, **told)
        else:
            logprobs = [_logprob(token) for token in delta.logprobs]
            item.logprobs.extend(logprobs)
            yield self._event("response.output_text.delta", content_index=0, **told, logprobs=logprobs)

    def _start(self, item: "_Item") -> Iterator[Json]:
        self._open = item
        self._items.append(item)
        yield self._event("response.output_item.added", output_index=item.index, item=item.body(started=False))
        if item.kind != "tool_call":
            yield self._part("response.content_part.added", item)

    def _part(self, name: str, item: "_Item") -> Json:
        return self._event(name, item_id=item.id, output_index=item.index, content_index=0, part=item.part())

    def _close(self, status: str) -> Iterator[Json]:
        item, self._open = self._open, None
        if item is None:
            return
        item.status = status
        where: Json = {"item_id": item.id, "output_index": item.index}
        if item.kind == "tool_call":
            yield self._event("response.function_call_arguments.done", **where, name=item.name, arguments=item.text)
        elif item.refused:
            yield self._event("response.refusal.done", **where, content_index=0, refusal=item.text)
        elif item.kind == "reasoning":
            yield self._event("response.reasoning_text.done", **where, content_index=0, text=item.text)
        else:
            yield self._event(
                "response.output_text.done", **where, content_index=0, text=item.text, logprobs=item.logprobs
            )
        if item.kind != "tool_call":
            yield self._part("response.content_part.done", item)
        yield self._event("response.output_item.done", output_index=item.index, item=item.body())

    def _withdraw(self, notice: str) -> Iterator[Json]:
        """The site takes back what it has shown: a refusal with its notice is all that stays in the response."""
        item, self._open = self._open, None
        for shown in self._items:
            shown.withdrawn = True
        if item is not None:
            item.status = "incomplete"
            yield self._event("response.output_item.done", output_index=item.index, item=item.body(started=False))
        refusal = _Item(len(self._items), Delta(index=0, kind="content", text=notice), self._id, refused=True)
        yield from self._start(refusal)
        refusal.texts.append(notice)
        yield self._event(
            "response.refusal.delta", item_id=refusal.id, output_index=refusal.index, content_index=0, delta=notice
        )
        yield from self._close("completed")


class _Item:
    """An item of the output: a thought, a message, or a call of a function."""

    def __init__(
        self,
        index: int,
        first: Delta,
        response_id: str,
        *,
        sealed: bool = False,
        logprobs: bool = False,
        refused: bool = False,
    ) -> None:
        self.index, self.kind, self.call = index, first.kind, first.call
        prefix = {"reasoning": "rs", "content": "msg", "tool_call": "fc"}[first.kind]
        self.id = f"{prefix}_{response_id.removeprefix('resp_')}_{index}"
        self.call_id, self.name = first.call_id, first.call_name
        self.texts: list[str] = []
        self.logprobs: list[Json] = []
        self.status = "in_progress"
        self.withdrawn = False
        self.refused = refused
        self._sealed, self._tells_logprobs = sealed, logprobs

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def part(self) -> Json:
        """The one part of its content."""
        if self.refused:
            return {"type": "refusal", "refusal": self.text}
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        part: Json = {"type": "output_text", "text": self.text, "annotations": []}
        if self._tells_logprobs:
            part["logprobs"] = list(self.logprobs)
        return part

    def body(self, *, started: bool = True) -> Json:
        """The whole item; not started: without what it holds."""
        content = [self.part()] if started else []
        if self.kind == "reasoning":
            body: Json = {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": self.status}
            if self._sealed:
                body["encrypted_content"] = seal(self.text) if started else None
            return body
        if self.kind == "content":
            return {
                "id": self.id,
                "type": "message",
                "role": "assistant",
                "status": self.status,
                "content": content,
            }
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.text,
        }


def _settings(body: ResponsesBody) -> Json:
    """What a response tells of the request, as it was used."""
    choice = body.tool_choice
    return {
        "model": body.model,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "background": False,
        "store": False,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_logprobs": body.logprobs or 0,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "text": {"format": _format(body)},
        "tool_choice": choice.model_dump() if choice is not None and not isinstance(choice, str) else choice or "auto",
        "tools": [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "strict": tool.strict is not False,
            }
            for tool in body.tools or ()
        ],
        "truncation": "disabled",
        "service_tier": "default",
        "user": body.user,
    }


def _format(body: ResponsesBody) -> Json:
    wanted = body.text.format if body.text else None
    return {"type": "text"} if wanted is None else wanted.model_dump(by_alias=True, exclude_none=True)


def _logprob(token: TokenLogprob) -> Json:
    return {**_token(token), "top_logprobs": [_token(other) for other in token.top]}


def _token(token: TokenLogprob) -> Json:
    return {"token": token.token, "bytes": list(token.bytes), "logprob": token.logprob}


def usage_body(usage: Usage) -> Json:
    """Tokens as this API counts them."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_hit_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
