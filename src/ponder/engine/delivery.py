"""From what a step brought to the streams of those who asked for it.

Nothing here takes a lock: the engine holds its own whenever it calls.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ponder.core.errors import GenerationError
from ponder.core.streaming import EndReason
from ponder.engine.constraint import Constraints
from ponder.engine.request import Sample, State
from ponder.engine.runner import Runner
from ponder.engine.sampler import Drawn
from ponder.engine.scheduler import Scheduler
from ponder.engine.step import Event, StepPlan
from ponder.engine.stop_strings import StopStrings
from ponder.engine.stream import Stream, lost_output
from ponder.engine.text_stream import TextStream
from ponder.engine.track import Track
from ponder.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request under way and how its reader wants it."""

    stream: Stream
    stops: StopStrings | None
    inside_thought: bool  # the prompt has opened one
    text: bool
    routes: bool


class Delivery:
    """Tells every request's stream what happened to it, and forgets those that have ended."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        tokenizer: Tokenizer | None,
        constraints: Constraints | None,
        forget: Callable[[Sequence[Sample]], None],
    ) -> None:
        """`forget` is told the samples that have ended, by whoever else keeps something of each."""
        self._scheduler, self._runner, self._tokenizer = scheduler, runner, tokenizer
        self._constraints, self._forget = constraints, forget
        self._asked: dict[str, Asked] = {}
        self._tracks: dict[Sample, Track] = {}

    def expect(self, asked: Asked) -> None:
        """Tell this reader from now on."""
        self._asked[asked.stream.request.id] = asked

    @property
    def samples(self) -> int:
        """Samples of which something is kept."""
        return len(self._tracks)

    def pages_for_routes(self, plan: StepPlan) -> dict[Sample, list[int]]:
        """The pages of those who may end in this step, which they no longer have when it is told."""
        wanting = {request_id for request_id, asked in self._asked.items() if asked.routes}
        return {s: s.pages for s in plan.draws if s.request.id in wanting} if wanting else {}

    def deliver(
        self,
        events: Sequence[Event],
        drawn: Drawn | None = None,
        pages: Mapping[Sample, list[int]] | None = None,
        error: str = "",
    ) -> None:
        """Tell the streams what happened. Where that fails, the request that it is of ends, and no other."""
        touched: dict[str, Stream] = {}
        for event in events:
            sample = event.sample
            track = self._tracks.get(sample) or self._begin(sample)
            if track is None:
                continue
            if track.quiet and event.reason is None and event.draw is not None and drawn is not None:
                track.logprobs.append(drawn.logprobs[event.draw])
                track.stream.completion_tokens += 1
                continue
            request_id = sample.request.id
            touched[request_id] = track.stream
            try:
                self._tell(track, event, drawn, pages, error or sample.error)
            except Exception as failure:  # noqa: BLE001  # of memory, say
                self.drop(request_id, f"telling what came failed: {type(failure).__name__}: {failure}")
        for request_id, stream in touched.items():
            try:
                stream.wake()
            except Exception as failure:  # noqa: BLE001  # a reader's own code must not end the others' requests
                self.give_up(request_id, f"telling the reader failed: {type(failure).__name__}: {failure}")

    def _tell(
        self,
        track: Track,
        event: Event,
        drawn: Drawn | None,
        pages: Mapping[Sample, list[int]] | None,
        error: str,
    ) -> None:
        request_id = track.sample.request.id
        reason, unread = track.take(event, drawn, error)
        if reason is not None:
            if event.reason is None:
                self._scheduler.finish(request_id, track.sample.index, reason=reason)
            self._end(track, reason, error, pages)
        elif unread:
            self.give_up(request_id, f"{track.stream.max_unread} pieces were left unread; read them, or cancel")

    def drop(self, request_id: str, error: str) -> None:
        """End a request with an error, whatever is left of it and without its tokens."""
        asked = self._asked.pop(request_id, None)
        if asked is None:
            return
        self._scheduler.finish(request_id, reason="error")
        stream = asked.stream
        lost = [sample for sample in self._tracks if sample.request.id == request_id]
        for sample in lost:
            del self._tracks[sample]
        self._forget(lost)
        for index, seed in enumerate(stream.request.seeds):
            if not stream.has_ended(index):
                stream.end(lost_output(index, seed, error, self._scheduler.weight_version))
        if self._constraints is not None:
            self._constraints.dismiss(request_id)
        with suppress(Exception):  # a reader's own code
            stream.wake()

    def _begin(self, sample: Sample) -> Track | None:
        """The first that is heard of a sample; None where its end was told already."""
        asked = self._asked.get(sample.request.id)
        if asked is None or asked.stream.has_ended(sample.index):
            return None
        text = None
        if asked.text and self._tokenizer is not None:
            text = TextStream(
                self._tokenizer,
                asked.stops,
                inside_thought=asked.inside_thought,
                stops_in_thought=sample.request.thinking is None,
            )
        track = self._tracks[sample] = Track(sample, asked.stream, text)
        return track

    def _end(self, track: Track, reason: EndReason, error: str, pages: Mapping[Sample, list[int]] | None) -> None:
        stream = track.stream
        del self._tracks[track.sample]
        self._forget([track.sample])
        held = None if pages is None else pages.get(track.sample)
        stream.end(track.output(reason, error, None if held is None else self._routes(track, held)))
        if stream.ended:
            del self._asked[stream.request.id]
            if self._constraints is not None:
                self._constraints.dismiss(stream.request.id)

    def _routes(self, track: Track, pages: Sequence[int]) -> bytes | None:
        """The experts of all tokens but the last; -1 for those that were never fed."""
        wanted, fed = track.fed
        known = self._runner.routes(pages, fed)
        if known is None:
            return None
        missing = np.full((wanted - fed, *known.shape[1:]), -1, np.int16)
        return np.concatenate([known, missing]).tobytes()

    def give_up(self, request_id: str, error: str) -> None:
        """End a request with an error."""
        self.deliver(self._scheduler.finish(request_id, reason="error"), error=error)

    def drop_all(self, error: str) -> None:
        """End every request with an error."""
        for request_id in list(self._asked):
            self.drop(request_id, error)

    def check(self) -> None:
        """Raise `GenerationError` if anything is kept of a request that has ended. For tests: O(everything)."""
        if any(asked.stream.ended for asked in self._asked.values()):
            raise GenerationError("the engine keeps a request that has ended")
        if any(s.state is State.FINISHED or s.request.id not in self._asked for s in self._tracks):
            raise GenerationError("the engine keeps a sample that has ended")
