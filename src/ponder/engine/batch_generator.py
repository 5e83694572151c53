"""The engine as a `Generator`: whole groups of completions for training and evaluation, and one as a stream."""

import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence

from ponder.core.errors import GenerationError, QueueFullError
from ponder.core.generator import GenerationProgress
from ponder.core.streaming import MAX_SAMPLES, Request, SamplingOptions
from ponder.core.types import Completion, Prompt, Sampling
from ponder.engine.batches import bounded_thought
from ponder.engine.engine import Engine
from ponder.engine.stream import Output, Stream
from ponder.text.tokenizer import ControlIds

_numbers = itertools.count()  # several generators may share an engine


class EngineGenerator:
    """Makes completions on an engine, beside whatever else it serves. The samples of a prompt share its prefill."""

    def __init__(self, engine: Engine, control: ControlIds) -> None:
        """Closing the engine is its owner's business."""
        self._engine, self._control = engine, control
        self._version = engine.weight_version

    @property
    def weight_version(self) -> int:
        """See `ponder.core.generator.Generator`."""
        return self._version

    def refresh(self, version: int) -> None:
        """Take over the trainer's weights as they are now, under this version number."""
        self._engine.update_weights(version)
        self._version = version

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        """See `ponder.core.generator.Generator`. Raises `GenerationError` too if a completion failed."""
        parts = [  # a request takes so many samples at most
            (p, tuple(group[first : first + MAX_SAMPLES]))
            for p, group in enumerate(seeds)
            for first in range(0, len(group), MAX_SAMPLES)
        ]
        waiting = deque(self._request(prompts[p], sampling, part) for p, part in parts)
        streams: list[Stream] = []
        told = 0
        try:
            while waiting or not all(stream.ended for stream in streams):
                self._submit(waiting, streams)
                self._advance(streams, full=bool(waiting))
                made = sum(stream.completion_tokens for stream in streams)
                if on_progress is not None and made > told:
                    on_progress(made - told)
                    told = made
            completions: list[list[Completion]] = [[] for _ in prompts]
            for (p, _), stream in zip(parts, streams, strict=True):
                completions[p] += [self._completion(prompts[p], output) for output in stream.result()]
            return completions
        finally:
            for stream in streams:
                stream.cancel()

    def stream(self, prompt: Prompt, sampling: Sampling, seed: int) -> Iterator[int]:
        """The ids of one completion, each as soon as it is sampled. Whoever stops reading ends it."""
        with self._engine.submit(self._request(prompt, sampling, (seed,)), text=False) as stream:
            for piece in stream:
                if piece.token is not None:
                    yield piece.token
                if piece.reason in ("error", "cancelled"):
                    raise self._failure(prompt, piece.reason, piece.error)

    def _submit(self, waiting: deque[Request], streams: list[Stream]) -> None:
        """Queue what the engine takes; the rest comes when there is room."""
        while waiting:
            try:
                streams.append(self._engine.submit(waiting[0], stream=False, text=False, routes=True))
            except QueueFullError:
                if all(stream.ended for stream in streams) and not self._engine.busy:
                    raise  # it is larger than the queue
                return
            waiting.popleft()

    def _advance(self, streams: Sequence[Stream], *, full: bool) -> None:
        """A step, or a while in which the engine's own thread makes some. `full`: there was no room for the rest."""
        if self._engine.threaded:
            unfinished = next((stream for stream in streams if not stream.ended), None)
            if unfinished is not None:
                unfinished.wait(0.05)
            elif full:  # of what others have queued
                time.sleep(0.05)
        else:
            self._engine.step()

    def _request(self, prompt: Prompt, sampling: Sampling, seeds: tuple[int, ...]) -> Request:
        if not prompt.ids:
            raise GenerationError(f"the prompt of problem {prompt.problem_id!r} is empty")
        return Request(
            id=f"generate-{next(_numbers)}",
            prompt_ids=prompt.ids,
            max_tokens=sampling.max_tokens,
            seeds=seeds,
            sampling=SamplingOptions(temperature=sampling.temperature, top_p=sampling.top_p),
            stop_ids=frozenset(self._control.stop),
            thinking=bounded_thought(prompt, sampling, self._control),
        )

    def _completion(self, prompt: Prompt, output: Output) -> Completion:
        if output.reason not in ("stop", "length"):
            raise self._failure(prompt, output.reason, output.error)
        return Completion(
            prompt_ids=prompt.ids,
            ids=output.ids,
            logprobs=tuple(0.0 if logp is None else logp for logp in output.logprobs),  # None: forced
            finish_reason=output.reason,
            weight_version=output.first_version,
            seed=output.seed,
            routes=output.routes,
        )

    def _failure(self, prompt: Prompt, reason: str, error: str) -> GenerationError:
        what = error or "the engine was closed, or the request cancelled"
        return GenerationError(f"a completion of {prompt.problem_id!r} ended with {reason}: {what}")
