"""The parameters that chats and plain completions have in common."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field, Tag

from ponder.core.streaming import SamplingOptions
from ponder.serve.errors import ApiError
from ponder.serve.records import ModelInfo
from ponder.serve.wire.fields import Fields
from ponder.serve.wire.variants import by_type

MAX_STOPS = 16
_LEAST_TOP_P = 1e-6  # OpenAI's range begins at 0, which means: the likeliest token only

StopString = Annotated[str, Field(min_length=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class StreamOptions(Fields):
    include_usage: bool | None = None


class SamplingFields(Fields):
    """What says how tokens are drawn, and when to stop."""

    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None  # thought and answer together
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None  # vLLM's, as the next two; -1 and 0 keep all
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    priority: Annotated[int, Field(ge=0, le=1000)] | None = None  # vLLM's: the higher, the later it is served
    logit_bias: dict[str, float] | None = None
    stop: (
        Annotated[
            Annotated[StopString, Tag("<text>")]
            | Annotated[list[StopString], Field(max_length=MAX_STOPS), Tag("<list>")],
            by_type("expected a string or a list of strings"),
        ]
        | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def stops(self) -> tuple[str, ...]:
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


def sampling_options(
    fields: SamplingFields, model: ModelInfo, *, logprobs: int | None, without_effect: frozenset[str] = frozenset()
) -> SamplingOptions | None:
    """The model's own settings with the request's over them; None where the request has none.

    `without_effect`: parameters that are accepted and left alone.
    """
    if fields.logit_bias:
        raise ApiError(422, "logit_bias: not supported here; leave it out", param="logit_bias", code="unsupported")
    given: dict[str, float | int | None] = {}
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p"):
        value = getattr(fields, name)
        if value is not None and name not in without_effect:
            given[name] = value
    if fields.repetition_penalty is not None:
        given["repetition_penalty"] = fields.repetition_penalty
    if "top_p" in given:
        given["top_p"] = max(fields.top_p or 0.0, _LEAST_TOP_P)
    if "top_k" in given:
        given["top_k"] = max(fields.top_k or 0, 0)
    if logprobs is not None:
        given["logprobs"] = logprobs
    return replace(model.sampling, **given) if given else None  # type: ignore[arg-type]
