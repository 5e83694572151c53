"""Continuous batching: which rows of which sequences run in the next step.

Every sequence is a list of tokens of which the first `computed` are in the cache. A step brings some of them further:
one token (a decode), a chunk of a prompt, a forced ending, or everything again after a preemption; all are the same
to the scheduler. A sequence whose last token was among the rows draws its next one.

Who comes first: higher priority, then earlier arrival. Each running sequence gets a row in every step; the rest of the
step's rows go to prompts, at most `max_chunk` to one while others want some too. When pages run out, the last in that
order gives its own up and is computed again later: its tokens stay, so nothing is lost or said twice. Imports no torch.

The one notion for prefill and decode is that of vLLM's v1 scheduler; the shape of the loop follows nano-vllm.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from ponder.core.errors import GenerationError, QueueFullError
from ponder.core.streaming import EndReason, Request
from ponder.engine.drafter import Drafter
from ponder.engine.pages import PagePool
from ponder.engine.request import Sample, State
from ponder.engine.scheduler_config import SchedulerConfig, require_servable
from ponder.engine.slots import CacheSlots
from ponder.engine.step import Event, SchedulerStatistics, StepPlan, lay_out

__all__ = ["Scheduler", "SchedulerConfig"]

Reasons = Mapping[int, str]  # by draw, what is wrong with it

_order = attrgetter("order")


class Scheduler:
    """Plans steps and keeps the books. Not thread-safe: one thread calls everything.

    `plan`, run the model, `commit`, and again. Between `plan` and `commit` only `add`, `cancel`, `finish`, `answer_now`
    and `close` may be called. All of these but `plan` return the events they cause.
    """

    def __init__(self, config: SchedulerConfig, drafter: Drafter | None = None) -> None:
        """`drafter` guesses how running samples go on; None: nobody does."""
        self.config, self._drafter = config, drafter
        self.pool = PagePool(config.pages, config.page_size)
        self.weight_version = 0
        self._cache = CacheSlots(self.pool, config.max_running, config.context)
        self._waiting: list[Sample] = []  # sorted by order
        self._running: list[Sample] = []  # sorted by order: the last gives way first
        self._requests: dict[str, dict[int, Sample]] = {}  # samples under way
        self._arrivals = self._live = 0
        self._step: StepPlan | None = None
        self._deferred: list[str] = []  # requests told "answer now" while a step was under way
        self._closed = False
        self._prompt_tokens = self._hit_tokens = self._recomputed_tokens = self._preemptions = self._copies = 0
        self._drafts = self._drafted_tokens = self._accepted_tokens = 0
        self._finished: dict[EndReason, int] = {"stop": 0, "length": 0, "cancelled": 0, "error": 0}

    # requests come and go

    def add(self, request: Request) -> list[Event]:
        """Queue a request. Raises `GenerationError`, and changes nothing, where it can never be served."""
        self._check(request)
        self._arrivals += 1
        followers: list[Sample] = []
        samples = [Sample(request, i, self._arrivals, followers) for i in range(len(request.seeds))]
        leader, followers[:] = samples[0], samples[1:]
        self._requests[request.id] = dict(enumerate(samples))
        self._live += len(samples)
        insort(self._waiting, leader, key=_order)
        return self._force_due(samples)

    def cancel(self, request_id: str, index: int | None = None) -> list[Event]:
        """End a request, or one sample of it, before the next step. Unknown or ended already: nothing happens."""
        return self.finish(request_id, index, reason="cancelled")

    def finish(self, request_id: str, index: int | None = None, *, reason: EndReason = "stop") -> list[Event]:
        """End a request, or one sample of it, for a reason found outside, such as a stop string."""
        samples = self._requests.get(request_id, {})
        chosen = list(samples) if index is None else [index] if index in samples else []
        return [self._end(samples[i], reason) for i in chosen]

    def answer_now(self, request_id: str) -> list[Event]:
        """Close the thought of every sample of a request at once, or as soon as it opens one."""
        if self._step is not None:
            self._deferred.append(request_id)
            return []
        samples = list(self._requests.get(request_id, {}).values())
        for sample in samples:
            if sample.thought is not None:
                sample.thought.answer_now()
        return self._force_due(samples)

    def update_weights(self, version: int) -> None:
        """The model's weights changed: nothing cached is right any more. What runs keeps its tokens and is computed
        again; its `first_version` and `last_version` then differ. Not between `plan` and `commit`.
        """
        self._between_steps("the weights can only change")
        for sample in list(self._running):
            self._preempt(sample)
        self.pool.clear_index()
        self.weight_version = version

    def close(self) -> list[Event]:
        """End everything as cancelled; nothing can be added afterwards. Twice is harmless."""
        self._closed = True
        return [event for request_id in list(self._requests) for event in self.cancel(request_id)]

    def _check(self, request: Request) -> None:
        if self._closed:
            raise GenerationError(f"request {request.id!r} came after the engine was closed; start another engine")
        if request.id in self._requests:
            raise GenerationError(f"a request {request.id!r} is under way already; give each its own id")
        require_servable(request, self.config)
        queued = self._live - len(self._running)
        if queued + len(request.seeds) > self.config.max_waiting:
            raise QueueFullError(
                f"{queued} samples wait and request {request.id!r} brings {len(request.seeds)} more; at most "
                f"{self.config.max_waiting} may wait; try again later"
            )

    # one step

    def plan(self) -> StepPlan | None:
        """The next step, or None where nothing is under way."""
        self._between_steps("a step can only be planned")
        self._make_way()
        decodes: list[Sample] = []
        chunks: list[tuple[Sample, int]] = []
        copies: list[tuple[int, int]] = []
        before = self._preemptions
        spare = self._plan_running(decodes, chunks, copies)
        if self._waiting and spare and self._cache.free_slots and self._preemptions == before:
            spare = self._admit(chunks, spare)
        if spare and chunks:
            self._widen(chunks, spare)
        if not decodes and not chunks:
            return None
        forked = {
            s: self._fork(s, s.computed + n) for s, n in chunks if s.followers and s.computed + n == len(s.tokens)
        }
        rows = len(decodes) + sum(count for _, count in chunks)
        drafts = self._draft(decodes, self.config.max_rows - rows) if self._drafter is not None else {}
        self._step = lay_out(decodes, chunks, forked, copies, self._cache, drafts)
        return self._step

    def _plan_running(
        self, decodes: list[Sample], chunks: list[tuple[Sample, int]], copies: list[tuple[int, int]]
    ) -> int:
        """Give each running sample its rows and the pages for them. Returns the rows that are left."""
        running, cap = self._running, self.config.max_chunk
        spare = self.config.max_rows - len(running)  # one row is set aside for each
        first, wanted = self._rows_of_first()
        i = 0
        while i < len(running):  # which shrinks from its end when pages run out
            sample = running[i]
            left = len(sample.tokens) - sample.computed
            room = spare if sample.order[0] <= first else max(0, spare - wanted)
            count = 1 if left == 1 else min(left, cap, room + 1)
            if sample.computed + count > sample.capacity or sample.shared_tail:
                length = len(running)
                kept = self._make_room(sample, count, copies)
                spare += length - len(running)
                if not kept:
                    break
            if left == 1 and not sample.followers:
                decodes.append(sample)
            else:
                chunks.append((sample, count))
                spare -= count - 1
            i += 1
        return spare

    def _rows_of_first(self) -> tuple[int, int]:
        """The place in order of the first in the queue, and the rows that it may want before those of lower priority
        get theirs. What it does not take goes to them after all (`_widen`).
        """
        if not self._waiting or not self._cache.free_slots:
            return 0, 0
        first = self._waiting[0]
        return first.order[0], min(len(first.tokens), self.config.max_chunk)

    def _make_room(self, sample: Sample, count: int, copies: list[tuple[int, int]]) -> bool:
        """Pages for `count` more tokens, taken from the last in order where need be. False: it was the last itself."""
        if self._cache.must_copy_tail(sample):
            if not self._free_a_page(sample):
                return False
            copies.append(self._cache.copy_tail(sample))
            self._copies += 1
        while sample.capacity < sample.computed + count:
            if not self._free_a_page(sample):
                return False
            self._cache.append_page(sample)
        return True

    def _free_a_page(self, sample: Sample) -> bool:
        while not self.pool.available:
            last = self._running[-1]
            self._preempt(last)
            if last is sample:
                return False
        return True

    def _admit(self, chunks: list[tuple[Sample, int]], spare: int) -> int:
        """Let waiting samples in, in order, while slots, rows and pages last. Returns the rows that are left."""
        owed = sum(self._cache.pages_for(len(s.tokens)) - len(s.pages) for s, _ in chunks)  # to prompts half done
        while self._waiting and self._cache.free_slots and spare:
            sample = self._waiting[0]
            hits = self._cache.lookup(sample)
            need = self._cache.pages_for(len(sample.tokens)) - len(hits)
            if not self._fits(need, hits, owed):
                break
            del self._waiting[0]
            self._enter(sample, hits)
            count = min(len(sample.tokens) - sample.computed, self.config.max_chunk, spare)
            while sample.capacity < sample.computed + count:
                self._cache.append_page(sample)
                need -= 1
            chunks.append((sample, count))
            spare -= count
            owed += need
        return spare

    def _fits(self, need: int, hits: Sequence[int], owed: int) -> bool:
        """Whether a sample that needs so many new pages can come in and everybody running still fill one more: one
        that comes in too early is soon preempted and computed in vain.
        """
        revived = sum(1 for page in hits if not self.pool.references(page))  # idle pages that it takes out of reach
        return self.pool.available >= need + revived + owed + len(self._running)

    def _make_way(self) -> None:
        """Where the first in the queue has a higher priority than the last that runs and does not fit, the latter
        gives way; but only if that is enough.
        """
        if not self._waiting or not self._running or self._waiting[0].order[0] >= self._running[-1].order[0]:
            return
        first = self._waiting[0]
        hits = self._cache.lookup(first)
        need = self._cache.pages_for(len(first.tokens)) - len(hits)
        stay = bisect_left(self._running, (first.order[0] + 1,), key=_order)  # those of no lower priority
        owed = sum(self._cache.pages_for(len(s.tokens)) - len(s.pages) for s in self._running[:stay])
        if self._cache.free_slots and self._fits(need, hits, owed):
            return
        wanted = need + len(hits) + owed + stay - self.pool.available
        given: Counter[int] = Counter()  # by page, how many of those that give way hold it
        for i in range(len(self._running) - 1, stay - 1, -1):
            for page in self._running[i].pages:
                given[page] += 1
                wanted -= given[page] == self.pool.references(page)
            if wanted <= 0:
                for sample in self._running[i:]:
                    self._preempt(sample)
                return

    def _widen(self, chunks: list[tuple[Sample, int]], spare: int) -> None:
        """Rows that nobody else wants go to the prompts that were cut at `max_chunk`, where pages are left."""
        reserve = len(self._running)
        for i, (sample, count) in enumerate(chunks):
            more = min(len(sample.tokens) - sample.computed - count, spare)
            if more:
                pages = self._cache.pages_for(sample.computed + count + more) - len(sample.pages)
                if self.pool.available < pages + reserve:
                    return
                for _ in range(pages):
                    self._cache.append_page(sample)
                chunks[i] = (sample, count + more)
                spare -= more

    def _fork(self, leader: Sample, computed: int) -> list[Sample]:
        """The siblings that go on from the leader's pages; those for which there is no room queue on their own."""
        forked: list[Sample] = []
        for sibling in leader.followers:
            if not self._cache.free_slots or self.pool.available <= len(self._running):
                insort(self._waiting, sibling, key=_order)
                continue
            self._enter_running(sibling, leader.pages, State.RUNNING)
            sibling.computed, sibling.indexed = leader.computed, leader.indexed
            sibling.hit_tokens = sibling.prompt_length
            self._prompt_tokens += sibling.prompt_length
            self._hit_tokens += sibling.prompt_length
            forked.append(sibling)
        leader.followers.clear()
        if forked and computed % self.config.page_size:
            for sample in (leader, *forked):
                sample.shared_tail = True
        return forked

    def _draft(self, decodes: Sequence[Sample], spare: int) -> dict[Sample, Sequence[int]]:
        """Guesses for the rows that are left; where they take pages, only of those that nobody will miss soon."""
        assert self._drafter is not None
        drafts: dict[Sample, Sequence[int]] = {}
        spare = min(spare, self.config.max_draft_rows - len(decodes))
        for i, sample in enumerate(decodes):
            most = min(spare // (len(decodes) - i), sample.end - len(sample.tokens) - 1)
            if most < 1:
                continue
            guess = self._drafter.propose(sample, most)[:most]
            wanted = min(sample.computed + 1 + len(guess) + self.config.lookahead, sample.end)
            while sample.capacity < wanted and self.pool.available > len(self._running):
                self._cache.append_page(sample)
            guess = guess[: sample.capacity - sample.computed - 1]
            if guess:
                drafts[sample] = guess
                spare -= len(guess)
                self._drafts += 1
                self._drafted_tokens += len(guess)
        return drafts

    def commit(self, tokens: Sequence[int], faults: Reasons | None = None, stuck: Reasons | None = None) -> list[Event]:
        """The step was run: `tokens[i]` was drawn for `draws[i]`; what rests on a wrong draft is left out. `faults`
        names draws whose logits are not finite, `stuck` those whose grammar leaves no token, and why: these samples end
        with an error. Of the former no cached page is found by a later prompt; the pages of the latter are sound.
        """
        step = self._step
        if step is None:
            raise GenerationError("there is no step to commit; call plan() first")
        if len(tokens) != len(step.draws):
            raise GenerationError(f"{len(tokens)} tokens for a step of {len(step.draws)} draws; expected one for each")
        faults = faults or {}
        wrong = {**(stuck or {}), **faults}
        if not all(0 <= i < len(tokens) for i in wrong):
            raise GenerationError(f"faults of draws {sorted(wrong)} in a step of {len(tokens)} draws; expected its own")
        self._step = None
        finished, page_size = State.FINISHED, self.config.page_size
        for sample, count in step.work:
            if sample.state is not finished:
                computed = sample.computed = sample.computed + count
                if computed >= (sample.indexed + 1) * page_size:
                    self._cache.index(sample)
        events: list[Event] = []
        suspect: list[int] = []  # pages that are not to be trusted
        right: dict[Sample, int] = {}  # how many drafts of a sample were what it drew
        for i, (sample, token) in enumerate(zip(step.draws, tokens, strict=True)):
            place = step.draft_places[i]
            if sample.state is finished or place != right.get(sample, 0):
                continue  # it rests on a draft that was wrong
            if place:
                sample.computed += 1
                self._accepted_tokens += 1
            if i in wrong:
                sample.error = wrong[i]
                suspect += sample.pages if i in faults else ()
                events.append(self._end(sample, "error"))
                continue
            before = len(sample.tokens)
            events += self._take(sample, token, i)
            drafts = step.drafts.get(sample, ())
            if len(sample.tokens) == before + 1 and place < len(drafts) and drafts[place] == token:
                right[sample] = place + 1
        if suspect:
            self.pool.forget(suspect)
        return events + self._answer_deferred()

    def _take(self, sample: Sample, token: int, draw: int) -> list[Event]:
        """The sample goes on by the token that it drew."""
        if sample.state is State.PREFILLING:
            sample.move(State.RUNNING)
        sample.tokens.append(token)
        if token in sample.request.stop_ids:
            return [self._end(sample, "stop", token, draw)]
        if len(sample.tokens) >= sample.end:
            return [self._end(sample, "length", token, draw)]
        event = Event(sample, token, draw, None)
        if sample.thought is not None and sample.thought.push(token, sample.end - len(sample.tokens)):
            return [event, *self._force_due([sample])]
        return [event]

    def fail_step(self, message: str) -> list[Event]:
        """The step could not be run: everybody that took part ends with an error."""
        if self._step is None:
            raise GenerationError("there is no step to give up; call plan() first")
        step, self._step = self._step, None
        failed = [sample for sample, _ in step.work if sample.state is not State.FINISHED]
        self.pool.forget([page for sample in failed for page in sample.pages])
        for sample in failed:
            sample.error = message
        return [self._end(sample, "error") for sample in failed] + self._answer_deferred()

    def _answer_deferred(self) -> list[Event]:
        deferred, self._deferred = self._deferred, []
        return [event for request_id in deferred for event in self.answer_now(request_id)]

    # a sample's way through

    def _enter(self, sample: Sample, hits: list[int]) -> None:
        """From the queue into the running batch, with the pages found in the cache."""
        self._enter_running(sample, hits, State.PREFILLING)
        sample.computed, sample.indexed = len(hits) * self.config.page_size, len(hits)
        if sample.preemptions:
            self._recomputed_tokens += max(0, sample.lost - sample.computed)
        else:
            sample.hit_tokens = min(sample.computed, sample.prompt_length)
            self._prompt_tokens += sample.prompt_length
            self._hit_tokens += sample.hit_tokens

    def _enter_running(self, sample: Sample, pages: Sequence[int], state: State) -> None:
        sample.move(state)
        self._cache.enter(sample, pages)
        sample.last_version = self.weight_version
        if len(sample.tokens) == sample.prompt_length + len(sample.forced):  # nothing was sampled yet
            sample.first_version = self.weight_version
        insort(self._running, sample, key=_order)

    def _preempt(self, sample: Sample) -> None:
        """Back to the queue, at its old place. Full pages stay in the prefix index until they are evicted."""
        sample.lost = sample.computed
        self._remove(self._running, sample)
        self._cache.leave(sample)
        sample.move(State.PREEMPTED)
        sample.preemptions += 1
        self._preemptions += 1
        insort(self._waiting, sample, key=_order)

    def _end(self, sample: Sample, reason: EndReason, token: int | None = None, draw: int | None = None) -> Event:
        if sample.slot >= 0:
            self._remove(self._running, sample)
            self._cache.leave(sample)
        else:
            self._remove(self._waiting, sample)
        sample.move(State.FINISHED)
        sample.reason = reason
        self._finished[reason] += 1
        self._live -= 1
        samples = self._requests[sample.request.id]
        del samples[sample.index]
        if not samples:
            del self._requests[sample.request.id]
        if sample.followers:
            self._pass_on(sample)
        return Event(sample, token, draw, reason)

    def _pass_on(self, sample: Sample) -> None:
        """A leader that ends before it forked hands its task on; a follower that ends is struck off."""
        if sample in sample.followers:
            sample.followers.remove(sample)
        else:
            insort(self._waiting, sample.followers.pop(0), key=_order)

    def _force_due(self, samples: Iterable[Sample]) -> list[Event]:
        """Close the thoughts that must end, as far as max_tokens goes."""
        events: list[Event] = []
        for sample in samples:
            for token in () if sample.thought is None else sample.thought.due():
                sample.forced.append(len(sample.tokens) - sample.prompt_length)
                sample.tokens.append(token)
                if len(sample.tokens) >= sample.end:
                    events.append(self._end(sample, "length", token))
                    break
                events.append(Event(sample, token, None, None))
        return events

    @staticmethod
    def _remove(samples: list[Sample], sample: Sample) -> None:
        """Take a sample out of a sorted list, if it is in it."""
        i = bisect_left(samples, sample.order, key=_order)
        if i < len(samples) and samples[i] is sample:
            del samples[i]

    def _between_steps(self, what: str) -> None:
        if self._step is not None:
            raise GenerationError(f"{what} between steps: call commit() first")

    # what can be seen from outside

    @property
    def has_work(self) -> bool:
        """Whether anything is waiting or running."""
        return self._live > 0

    @property
    def running(self) -> Sequence[Sample]:
        """The samples that hold a slot, the first to be served first."""
        return self._running

    def statistics(self) -> SchedulerStatistics:
        """Cheap enough for every step."""
        pool = self.pool
        return SchedulerStatistics(
            waiting=self._live - len(self._running),
            running=len(self._running),
            pages_held=pool.held,
            pages_idle=pool.idle,
            pages_free=pool.available - pool.idle,
            prompt_tokens=self._prompt_tokens,
            hit_tokens=self._hit_tokens,
            recomputed_tokens=self._recomputed_tokens,
            evictions=pool.evictions,
            preemptions=self._preemptions,
            copies=self._copies,
            drafts=self._drafts,
            drafted_tokens=self._drafted_tokens,
            accepted_tokens=self._accepted_tokens,
            finished=dict(self._finished),
        )

    def check(self) -> None:
        """Raise `GenerationError` unless slots, tables, lists and pages agree. For tests: O(everything)."""
        self._cache.check(self._running)
        under_way = [sample for samples in self._requests.values() for sample in samples.values()]
        leaders = [sample for sample in (*self._waiting, *self._running) if sample.followers]
        queued = [*self._waiting, *(follower for leader in leaders for follower in leader.followers)]
        problems = {
            "a sample is in no list or in two": sorted(map(id, under_way)) != sorted(map(id, queued + self._running)),
            "the count of samples is off": self._live != len(under_way),
            "a list is not in order": any(
                samples != sorted(samples, key=_order) for samples in (self._waiting, self._running)
            ),
            "a queued sample is in the cache": any(s.pages or s.slot >= 0 or s.computed for s in queued),
        }
        if any(problems.values()):
            raise GenerationError("; ".join(name for name, found in problems.items() if found))
