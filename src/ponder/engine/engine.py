"""The engine: requests in, streams of tokens out, one batch for everybody.

It puts the scheduler (which rows run), the runner (the model and its cache) and the sampler together. One thread at a
time runs steps: the engine's own after `start`, else whoever reads a stream or calls `step`. Everything else may be
called from any thread at any time, a step being under way or not.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ponder.core.errors import GenerationError, WeightsLostError
from ponder.core.streaming import Request, Speculated
from ponder.engine.constraint import Constraints
from ponder.engine.delivery import Asked, Delivery
from ponder.engine.drafter import DraftRules, NgramDrafter
from ponder.engine.grammar import CompiledGrammar
from ponder.engine.mtp_drafter import LONGEST as MTP_LONGEST
from ponder.engine.mtp_drafter import MtpDrafter
from ponder.engine.mtp_rows import MtpRunner
from ponder.engine.request import Sample, State
from ponder.engine.runner import Runner
from ponder.engine.sampler import Sampler
from ponder.engine.scheduler import Scheduler, SchedulerConfig
from ponder.engine.speculation import SPECULATIONS, Speculation
from ponder.engine.step import SchedulerStatistics, StepPlan
from ponder.engine.stop_strings import StopStrings
from ponder.engine.stream import Stream
from ponder.models.config import ModelConfig
from ponder.text.reasoning import inside_thought
from ponder.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """Sizes of a batch, and whether to guess ahead. None changes a result, but for rounding in PyTorch's bf16."""

    max_running: int = 64  # samples side by side
    max_rows: int = 512  # of one step: more prefill faster, fewer keep the step short for those that decode
    max_chunk: int = 256  # of one step for one prompt, while others want some too
    max_waiting: int = 65536  # samples in the queue; beyond it a request is refused
    max_unread: int = 16384  # pieces of a stream that nobody has read; beyond it the request ends with an error
    context: int | None = None  # most positions of a sample, within those of the cache; None: the model's
    # few samples at a time are faster with "ngram" where texts repeat themselves, or a grammar leaves no choice; with
    # "mtp" for a model that has a multi-token prediction module, at the price of its weights and its cache
    speculation: Speculation = "off"

    def __post_init__(self) -> None:
        if self.speculation not in SPECULATIONS:
            raise GenerationError(f"speculation = {self.speculation!r}; expected one of {', '.join(SPECULATIONS)}")

    def require_fits(self, model: ModelConfig) -> None:
        """Raises `GenerationError` where this model cannot guess as it is asked to."""
        if self.speculation == "mtp" and not model.mtp_depth:
            raise GenerationError(
                "speculation = 'mtp', and this model has no multi-token prediction module (its config says "
                "num_nextn_predict_layers = 0, or nothing of it); choose 'ngram', which needs none, or 'off'"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStatistics:
    """Counts since the start."""

    scheduler: SchedulerStatistics
    steps: int
    failed_steps: int
    prefill_rows: int  # rows of prompts that were computed; hits are not among them
    decode_rows: int  # one for each running sample
    draft_rows: int  # and those for guesses
    drawn_tokens: int
    run_seconds: float  # in the model
    draft_seconds: float  # in its multi-token prediction module
    sample_seconds: float
    step_seconds: float  # whole steps: all of the above, scheduling and delivery

    @property
    def tokens_per_second(self) -> float:
        """Tokens drawn per second of steps, prefill included."""
        return self.drawn_tokens / self.step_seconds if self.step_seconds else 0.0


class Engine:
    """Serves requests from one model. Close it, or use it in a `with` block."""

    def __init__(self, runner: Runner, config: EngineConfig | None = None, tokenizer: Tokenizer | None = None) -> None:
        """Takes the runner over. Without a tokenizer there are tokens and no text, no stop strings, no grammars."""
        self.config = config or EngineConfig()
        positions, cached = runner.config.max_positions, runner.pages * runner.page_size
        self.context = min(self.config.context or positions, positions, cached)
        self.lock = threading.RLock()  # of the scheduler and all streams; never held while the model runs
        self._stepping = threading.RLock()  # held for a whole step; taken before `lock`
        self._work = threading.Condition(self.lock)
        self._runner, self._tokenizer = runner, tokenizer
        self._constraints = None if tokenizer is None else Constraints(tokenizer, runner.config.vocab_size)
        self._sampler = Sampler(runner.sample, self._constraints)
        sizes = SchedulerConfig(
            pages=runner.pages,
            page_size=runner.page_size,
            context=self.context,
            vocab_size=runner.config.vocab_size,
            max_running=self.config.max_running,
            max_rows=max(self.config.max_rows, self.config.max_running),
            max_chunk=self.config.max_chunk,
            max_waiting=self.config.max_waiting,
            lookahead=MTP_LONGEST if self.config.speculation == "mtp" else 0,
        )
        self._drafter = self._open_drafter(sizes)
        self._scheduler = Scheduler(sizes, self._drafter)
        self._delivery = Delivery(self._scheduler, runner, tokenizer, self._constraints, self._forget)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._updates = 0  # of weights, that wait for the step to end or are under way
        self._steps = self._failed_steps = self._drawn_tokens = 0
        self._prefill_rows = self._decode_rows = self._draft_rows = 0
        self._run_seconds = self._draft_seconds = self._sample_seconds = self._step_seconds = 0.0

    def _open_drafter(self, sizes: SchedulerConfig) -> NgramDrafter | MtpDrafter | None:
        rules = DraftRules(lambda s: None if self._constraints is None else self._constraints.of(s))
        if self.config.speculation == "ngram":
            return NgramDrafter(rules)
        if self.config.speculation == "off":
            return None
        self.config.require_fits(self._runner.config)
        if not isinstance(self._runner, MtpRunner):
            raise GenerationError(
                f"speculation = 'mtp', and {type(self._runner).__name__} does not run the model's multi-token "
                "prediction module; open the engine with `open_engine`, or choose 'ngram' or 'off'"
            )
        return MtpDrafter(
            self._runner, self._sampler.guess, rules, max_rows=sizes.max_rows, max_draft_rows=sizes.max_draft_rows
        )

    # requests

    def submit(
        self,
        request: Request,
        *,
        stream: bool = True,
        text: bool = True,
        routes: bool = False,
        notify: Callable[[], None] | None = None,
    ) -> Stream:
        """Queue a request. `stream=False` keeps no pieces: only `Stream.result` tells. `text=False`: tokens are enough.
        `routes`: tell the experts of every token. `notify` is called, by the thread that runs the steps, whenever
        something came: it must be quick. A grammar is compiled here, in the caller's thread, which may take a second;
        its request also ends with the stop ids of the tokenizer.

        Raises `GenerationError`, and changes nothing, for a request that can never be served, and `QueueFullError` for
        one that may be tried again.
        """
        grammar = self._compile_grammar(request)
        if grammar is not None and self._tokenizer is not None:
            request = replace(request, stop_ids=request.stop_ids.union(self._tokenizer.control.stop))
        asked = Asked(
            stream=Stream(self, request, self.config.max_unread if stream else 0, notify),
            stops=StopStrings(request.stop_strings) if request.stop_strings else None,
            inside_thought=self._tokenizer is not None and inside_thought(request.prompt_ids, self._tokenizer.control),
            text=text and self._tokenizer is not None,
            routes=routes and bool(self._runner.config.routed_layers),
        )
        if asked.stops is not None and not asked.text:
            raise GenerationError(
                f"request {request.id!r} has stop strings, and the engine makes no text of its tokens; give the engine "
                "a tokenizer, or use stop ids"
            )
        with self.lock:
            events = self._scheduler.add(request)
            self._delivery.expect(asked)
            if grammar is not None and self._constraints is not None:
                self._constraints.admit(request, grammar)
            self._delivery.deliver(events)
            self._work.notify_all()
        return asked.stream

    def _compile_grammar(self, request: Request) -> CompiledGrammar | None:
        if request.grammar is None:
            return None
        if self._constraints is None:
            raise GenerationError(
                f"request {request.id!r} has a grammar, and the engine makes no text of its tokens; give the engine a "
                "tokenizer, or leave the grammar out"
            )
        return self._constraints.compile(request.grammar)

    def cancel(self, request_id: str, index: int | None = None) -> None:
        """End a request, or one sample of it, before the next step. Unknown or ended already: nothing happens."""
        with self.lock:
            self._delivery.deliver(self._scheduler.cancel(request_id, index))

    def answer_now(self, request_id: str) -> None:
        """Close the thought of every sample of a request and go on to the answer."""
        with self.lock:
            self._delivery.deliver(self._scheduler.answer_now(request_id))

    # steps

    def step(self) -> bool:
        """Run one step. False where nothing is under way.

        If the model fails, everybody who took part ends with an error that says why, and the engine goes on.
        """
        with self._stepping:
            entered = time.perf_counter()
            self._look_ahead()
            with self.lock:
                plan = self._scheduler.plan()
            if plan is None:
                return False
            began = time.perf_counter()
            try:
                logits = self._runner.run(plan)
                ran = time.perf_counter()
                drawn = self._sampler.draw(logits, plan)
                sampled = time.perf_counter()
            except BaseException as error:
                self._fail(plan, error)
                if not isinstance(error, Exception):  # an interrupt is for the caller
                    raise
                return True
            with self.lock:
                pages = self._delivery.pages_for_routes(plan)
                self._delivery.deliver(self._scheduler.commit(drawn.tokens, drawn.faults, drawn.stuck), drawn, pages)
                if self._sampler.remembers:
                    self._forget([s for s in plan.draws if s.state is State.FINISHED])
            self._steps += 1
            self._count(plan)
            self._run_seconds += ran - began
            self._sample_seconds += sampled - ran
            self._step_seconds += time.perf_counter() - entered
            return True

    def _look_ahead(self) -> None:
        """Let the model's own module guess what comes, for the step that is planned next."""
        if not isinstance(self._drafter, MtpDrafter):
            return
        began = time.perf_counter()
        with self.lock:
            self._drafter.observe(self._scheduler.running)
        try:
            self._drafter.predict()
        except BaseException as error:
            reason = f"the model failed in guessing ahead: {type(error).__name__}: {error}"
            with self.lock:
                for request_id in {s.request.id for s in self._scheduler.running}:
                    self._delivery.give_up(request_id, reason)
            if not isinstance(error, Exception):  # an interrupt is for the caller
                raise
        self._draft_seconds += time.perf_counter() - began

    def _count(self, plan: StepPlan) -> None:
        decodes, drafts = plan.decode_rows + len(plan.drafts), sum(map(len, plan.drafts.values()))
        self._decode_rows += decodes
        self._draft_rows += drafts
        self._prefill_rows += len(plan.tokens) - decodes - drafts
        self._drawn_tokens += len(plan.draws) - drafts  # and those after drafts that were right, which are told apart

    def start(self) -> "Engine":
        """Run steps on a thread of the engine's own from now on."""
        with self.lock:
            self._check_open()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="ponder-engine", daemon=True)
                self._thread.start()
        return self

    @property
    def threaded(self) -> bool:
        """Whether the engine runs its steps itself."""
        return self._thread is not None

    @property
    def closed(self) -> bool:
        """Whether it has ended for good, closed or failed: nothing can be submitted any more."""
        return self._closed

    @property
    def busy(self) -> bool:
        """Whether anything is waiting or running."""
        return self._scheduler.has_work

    def update_weights(self, version: int) -> None:
        """Take over the module's weights as they are now, under this version, between two steps: the next one waits for
        it. What runs goes on from the tokens it has; nothing that was cached is used again.

        Where that fails before a weight was written, all is as it was. After that, and where it is interrupted, the
        weights are of no version, and the engine ends: everybody under way gets an error, and the failure is raised.
        """
        with self.lock:
            self._check_open()
            self._updates += 1
        try:
            with self._stepping:
                try:
                    self._runner.refresh()  # without the lock: whoever submits or cancels does not wait for it
                except WeightsLostError as failure:
                    self._break(str(failure))
                    raise
                except (KeyboardInterrupt, SystemExit):  # which may come in the middle of the weights
                    self._break("taking over new weights was interrupted; make the model anew")
                    raise
                with self.lock:
                    if not self._closed:
                        self._scheduler.update_weights(version)
        finally:
            with self.lock:
                self._updates -= 1
                self._work.notify_all()

    @property
    def weight_version(self) -> int:
        """The version of the weights that it samples from now."""
        return self._scheduler.weight_version

    def close(self) -> None:
        """End everything as cancelled, and give back memory and threads. Twice is harmless."""
        with self.lock:
            self._closed = True
            self._delivery.deliver(self._scheduler.close())
            self._work.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._stepping:
            self._runner.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def statistics(self) -> EngineStatistics:
        """Cheap enough for every step."""
        with self.lock:
            scheduler = self._scheduler.statistics()
            return EngineStatistics(
                scheduler=scheduler,
                steps=self._steps,
                failed_steps=self._failed_steps,
                prefill_rows=self._prefill_rows,
                decode_rows=self._decode_rows,
                draft_rows=self._draft_rows,
                drawn_tokens=self._drawn_tokens + scheduler.accepted_tokens,
                run_seconds=self._run_seconds,
                draft_seconds=self._draft_seconds,
                sample_seconds=self._sample_seconds,
                step_seconds=self._step_seconds,
            )

    @property
    def speculated(self) -> Speculated | None:
        """See `StreamingEngine`."""
        if self._drafter is None:
            return None
        with self.lock:
            told = self._scheduler.statistics()
        return Speculated(
            drafter=self.config.speculation,
            drafts=told.drafts,
            draft_tokens=told.drafted_tokens,
            accepted_tokens=told.accepted_tokens,
        )

    def check(self) -> None:
        """Raise `GenerationError` if anything is kept of a request that has ended. For tests: O(everything)."""
        with self.lock:
            self._scheduler.check()
            self._delivery.check()
            if self._sampler.remembers > self._delivery.samples:
                raise GenerationError("the sampler keeps a sample that has ended")
            if self._drafter is not None and self._drafter.remembers > self._delivery.samples:
                raise GenerationError("the drafter keeps a sample that has ended")

    def _serve(self) -> None:
        try:
            while True:
                with self.lock:
                    while not self._closed and (self._updates or not self._scheduler.has_work):
                        self._work.wait()  # new weights go before: a step would follow the other without a gap
                    if self._closed:
                        return
                self.step()
        except BaseException as error:  # noqa: BLE001  # the thread's end: nobody else could tell those who wait
            self._break(f"the engine failed: {type(error).__name__}: {error}")

    def _break(self, reason: str) -> None:
        """End for good, and tell everybody why."""
        with self.lock:
            self._closed = True
            self._delivery.drop_all(reason)
            self._scheduler.close()
            self._work.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise GenerationError("the engine was closed; make another one")

    def _fail(self, plan: StepPlan, error: BaseException) -> None:
        reason = f"the model failed in a step of {len(plan.tokens)} rows: {type(error).__name__}: {error}"
        with self.lock:
            self._failed_steps += 1
            self._delivery.deliver(self._scheduler.fail_step(reason))
            self._forget(plan.draws)

    def _forget(self, samples: Sequence[Sample]) -> None:
        self._sampler.forget(samples)
        if self._drafter is not None:
            self._drafter.forget(samples)
