"""Continuous batching: steps worked out by hand, refusals, and what is done when things go wrong."""

import subprocess
import sys
from typing import Any

import pytest

from fake_paged_model import END_THINK, THINK, FakePagedModel, alone, request, rows, scheduler, table, thinking
from ponder.core.errors import GenerationError, QueueFullError
from ponder.core.streaming import Request, SamplingOptions, Thinking
from ponder.engine.request import NEXT_STATES, Sample, State
from ponder.engine.scheduler import Scheduler
from ponder.engine.step import Event, StepPlan
from ponder.engine.thinking import Thought


def step(engine: Scheduler, token: int = 9) -> tuple[StepPlan, list[Event]]:
    plan = engine.plan()
    assert plan is not None
    events = engine.commit([token] * len(plan.draws))
    engine.check()
    return plan, events


def drain(engine: Scheduler, model: FakePagedModel) -> dict[str, list[Sample]]:
    """Run until nothing is left; the samples of each request by index."""
    ended: dict[str, list[Sample]] = {}
    while (plan := engine.plan()) is not None:
        for event in engine.commit(model.run(plan)):
            if event.reason is not None:
                ended.setdefault(event.sample.request.id, []).append(event.sample)
        engine.check()
    assert not engine.has_work
    return {name: sorted(samples, key=lambda s: s.index) for name, samples in ended.items()}


def shares(plan: StepPlan) -> dict[str, int]:
    """Rows of each request. To be asked before the step is committed."""
    name_of = {sample.slot: sample.request.id for sample, _ in plan.work}
    names = [name_of[slot] for slot in plan.slots]
    return {name: names.count(name) for name in names}


def step_shares(engine: Scheduler, token: int = 9) -> dict[str, int]:
    plan = engine.plan()
    assert plan is not None
    rows_of = shares(plan)
    engine.commit([token] * len(plan.draws))
    engine.check()
    return rows_of


# steps by hand


def test_a_prompt_then_decodes_row_by_row() -> None:
    engine = scheduler(max_chunk=8)
    engine.add(request("a", [1, 2, 3, 4, 5, 6], 4, seeds=(77,)))
    plan = engine.plan()
    assert plan is not None
    assert rows(plan) == [(0, 1, 0), (0, 2, 1), (0, 3, 2), (0, 4, 3), (0, 5, 4), (0, 6, 5)]
    assert (table(plan, 0, 2), plan.table_width) == ([0, 1], 16)
    assert (plan.decode_rows, plan.chunks, plan.copies) == (0, [(0, 6)], [])
    assert (plan.logit_rows.tolist(), plan.draw_logits.tolist()) == ([5], [0])
    assert (plan.draw_seeds.tolist(), plan.draw_indices.tolist()) == ([77], [0])
    sample = plan.draws[0]
    assert sample.state is State.PREFILLING
    assert engine.commit([7]) == [Event(sample, 7, 0, None)]
    assert sample.state is State.RUNNING
    for token, position in ((7, 6), (8, 7)):
        plan, _ = step(engine, token + 1)
        assert rows(plan) == [(0, token, position)]
        assert (plan.decode_rows, plan.chunks, plan.logit_rows.tolist()) == (1, [], [0])
    plan, events = step(engine, 20)
    assert rows(plan) == [(0, 9, 8)]
    assert table(plan, 0, 3) == [0, 1, 2]  # position 8 begins a page
    assert plan.draw_indices.tolist() == [3]
    assert events == [Event(sample, 20, 0, "length")]
    assert sample.output == [7, 8, 9, 20]
    assert engine.plan() is None
    statistics = engine.statistics()
    assert (statistics.pages_idle, statistics.pages_held, statistics.pages_free) == (2, 0, 14)
    assert statistics.finished == {"stop": 0, "length": 1, "cancelled": 0, "error": 0}


def test_a_long_prompt_stalls_neither_decodes_nor_short_prompts() -> None:
    engine = scheduler()  # 8 rows a step, 4 for one prompt while others want some
    engine.add(request("decode", [1]))
    assert step_shares(engine) == {"decode": 1}
    engine.add(request("long", range(10)))
    engine.add(request("short", range(20, 25)))
    assert step_shares(engine) == {"decode": 1, "long": 4, "short": 3}
    plan = engine.plan()
    assert plan is not None
    assert shares(plan) == {"decode": 1, "long": 5, "short": 2}  # the row that nobody wants goes to the first
    assert [s.request.id for s in plan.draws] == ["decode", "short"]
    engine.commit([9, 9])
    assert step_shares(engine) == {"decode": 1, "long": 1, "short": 1}


def test_long_prompts_of_lower_priority_leave_rows_to_one_of_higher() -> None:
    engine = scheduler(pages=600, context=1000, max_running=4, max_rows=16, max_chunk=8)
    for name in ("a", "b"):
        engine.add(request(name, [ord(name) % 40] * 900, 4))
    assert step_shares(engine) == {"a": 8, "b": 8}
    engine.add(request("urgent", [1, 2, 3], 4, priority=1))
    shares = step_shares(engine)
    assert shares["urgent"] == 3
    assert sum(shares.values()) == 16  # no row is lost
    engine.add(request("patient", [1, 2, 3], 4))  # of no higher priority: in its turn
    assert step_shares(engine) == {"urgent": 1, "a": 8, "b": 7}


def test_a_prompt_alone_gets_every_row() -> None:
    engine = scheduler()
    engine.add(request("a", range(20)))
    assert [step_shares(engine)["a"] for _ in range(4)] == [8, 8, 4, 1]


def test_a_later_prompt_hits_the_earlier_ones_pages() -> None:
    engine = scheduler(max_rows=32, max_chunk=32)
    engine.add(request("first", range(10), 3))
    for _ in range(3):
        step(engine, 40)
    # in the cache: 0..9, 40, 40; the last token was never run
    engine.add(request("next turn", [*range(10), 40, 40, 40, 5, 6], 1))
    plan, events = step(engine)
    assert rows(plan)[0] == (0, 40, 12)  # three pages of four are hits
    assert table(plan, 0, 3) == [0, 1, 2]
    assert events[0].sample.hit_tokens == 12
    engine.add(request("same", range(8), 1))  # both pages are there, but its last token must run for its logits
    plan, events = step(engine)
    assert rows(plan) == [(0, 4, 4), (0, 5, 5), (0, 6, 6), (0, 7, 7)]
    assert events[0].sample.hit_tokens == 4
    engine.add(request("stranger", range(10), 1, account="other"))
    assert step(engine)[1][0].sample.hit_tokens == 0
    statistics = engine.statistics()
    assert (statistics.prompt_tokens, statistics.hit_tokens) == (10 + 15 + 8 + 10, 12 + 4)


def test_the_servers_own_prefix_is_shared_between_accounts() -> None:
    engine = scheduler(max_rows=32, max_chunk=32)
    prompt = [*range(9), 20, 21, 22, 23, 24]
    for account, hits in (("ann", 0), ("bob", 8), ("ann", 12)):  # beyond it, an account finds its own
        engine.add(request(account, prompt, 1, account=account, shared_prefix=9))
        assert step(engine)[1][0].sample.hit_tokens == hits
    engine.add(request("eve", prompt, 1, account="eve"))  # who does not have it from the server
    assert step(engine)[1][0].sample.hit_tokens == 0


def test_samples_of_one_prompt_prefill_it_once_and_copy_its_last_page() -> None:
    engine = scheduler()
    engine.add(request("g", [1, 2, 3, 4, 5, 6], 8, seeds=(5, 6, 7)))
    plan = engine.plan()
    assert plan is not None
    assert len(plan.slots) == 6
    assert (plan.logit_rows.tolist(), plan.draw_logits.tolist()) == ([5], [0, 0, 0])
    assert plan.draw_seeds.tolist() == [5, 6, 7]
    engine.commit([10, 11, 12])
    engine.check()
    plan = engine.plan()
    assert plan is not None
    assert rows(plan) == [(0, 10, 6), (1, 11, 6), (2, 12, 6)]
    assert plan.copies == [(1, 2), (1, 3)]  # the third is the last to hold page 1 and writes it as it is
    assert [table(plan, slot, 2) for slot in range(3)] == [[0, 2], [0, 3], [0, 1]]
    engine.commit([1, 1, 1])
    assert step(engine)[0].copies == []
    assert engine.statistics().copies == 2
    assert engine.statistics().hit_tokens == 12  # two of the three prompts


def test_samples_for_which_there_is_no_slot_follow_later_through_the_prefix_index() -> None:
    engine = scheduler(max_running=2)
    engine.add(request("g", [1, 2, 3, 4, 5, 6], 2, seeds=(0, 1, 2)))
    assert len(step(engine)[0].draws) == 2
    assert [event.reason for event in step(engine)[1]] == ["length", "length"]
    plan, events = step(engine)
    assert rows(plan) == [(0, 5, 4), (0, 6, 5)] or rows(plan) == [(1, 5, 4), (1, 6, 5)]
    assert (events[0].sample.index, events[0].sample.hit_tokens) == (2, 4)


def test_the_latest_of_the_lowest_priority_gives_way_and_comes_back_in_its_turn() -> None:
    """Each needs 5 pages in the end, 15 together, and there are 9: one page less each time that all three grow."""
    engine, model = scheduler(pages=9, page_size=2, context=16, max_running=3), FakePagedModel(9, 2)
    asked = [request("a", [1, 2]), request("b", [3, 4]), request("c", [5, 6], priority=1), request("d", [7, 8])]
    for one in asked:
        engine.add(one)
    seen: list[tuple[dict[str, int], dict[str, int]]] = []  # rows, and pages held after the plan
    outputs: dict[str, list[int]] = {}
    while (plan := engine.plan()) is not None:
        seen.append((shares(plan), {s.request.id: len(s.pages) for s, _ in plan.work}))
        ended = [e.sample for e in engine.commit(model.run(plan)) if e.reason is not None]
        outputs |= {sample.request.id: sample.output for sample in ended}
        engine.check()
    assert seen[0] == ({"c": 2, "a": 2, "b": 2}, {"c": 1, "a": 1, "b": 1})
    assert seen[4] == ({"c": 1, "a": 1, "b": 1}, {"c": 3, "a": 3, "b": 3})
    assert seen[5] == ({"c": 1, "a": 1}, {"c": 4, "a": 4})  # b gave up its three
    assert seen[7] == ({"c": 1}, {"c": 5})  # a was the last by then
    assert seen[8][0] == {"a": 1}  # c is done; a had 8 tokens in 4 pages, all still there, and runs its 9th
    assert list(outputs) == ["c", "a", "b", "d"]
    assert outputs == {one.id: alone(one)[0] for one in asked}
    assert engine.statistics().preemptions == 2
    assert engine.statistics().recomputed_tokens == 6  # b's: c and a took its pages; a found all of its own again


def test_a_higher_priority_takes_a_slot_from_a_lower_one_and_equals_wait_their_turn() -> None:
    engine = scheduler(max_running=2)
    for name in ("r1", "r2", "r3"):
        engine.add(request(name, [1, 2], 4))
    assert step_shares(engine) == {"r1": 2, "r2": 2}
    engine.add(request("chat", [7, 8, 9], 2, priority=1))
    assert step_shares(engine) == {"chat": 3, "r1": 1}
    _, events = step(engine)
    assert [(e.sample.request.id, e.reason) for e in events] == [("chat", "length"), ("r1", None)]
    assert step_shares(engine) == {"r1": 1, "r2": 3}  # r2 is computed again, before r3 begins


def test_nobody_gives_way_where_that_would_not_be_enough() -> None:
    engine = scheduler(pages=8, max_running=3)
    engine.add(request("high", range(12), 16, priority=2))
    step(engine)
    step(engine)
    engine.add(request("low", [1, 2, 3], 4, priority=0))
    step(engine)
    engine.add(request("middle", range(20, 40), 4, priority=1))  # 5 pages; 4 or 5 are left without low's
    step(engine)
    assert engine.statistics().preemptions == 0


# leaving


def test_a_sample_ends_with_its_stop_id_or_a_stop_string_found_above() -> None:
    engine = scheduler()
    engine.add(request("a", [1], 8, stop_ids=frozenset({30}), seeds=(0, 1)))
    step(engine, 5)
    assert [(e.sample.index, e.reason) for e in engine.finish("a", 1)] == [(1, "stop")]
    engine.check()
    plan, events = step(engine, 30)
    assert len(plan.slots) == 1
    assert [(e.token, e.reason) for e in events] == [(30, "stop")]
    assert events[0].sample.output == [5, 30]


@pytest.mark.parametrize("under_way", [False, True])
def test_cancelling_takes_one_step_at_most_and_twice_is_harmless(under_way: bool) -> None:
    engine = scheduler()
    engine.add(request("a", [1, 2, 3], 8))
    engine.add(request("b", [4, 5, 6], 8))
    step(engine)
    plan = engine.plan() if under_way else None
    assert [(e.sample.request.id, e.token, e.reason) for e in engine.cancel("a")] == [("a", None, "cancelled")]
    assert engine.cancel("a") == engine.cancel("never heard of") == []
    if plan is not None:
        assert [e.sample.request.id for e in engine.commit([8, 8])] == ["b"]  # what a drew is dropped
    assert step_shares(engine) == {"b": 1}
    engine.add(request("a", [1], 8))  # the name is free again
    step(engine)
    assert [e.reason for e in engine.close()] == ["cancelled", "cancelled"]
    assert engine.close() == []
    assert engine.plan() is None
    engine.check()
    assert engine.statistics().pages_held == 0
    with pytest.raises(GenerationError, match="after the engine was closed"):
        engine.add(request("c", [1]))


def test_the_siblings_of_a_cancelled_leader_go_on() -> None:
    engine, model = scheduler(), FakePagedModel(16, 4)
    asked = request("g", range(11), 5, seeds=(1, 2, 3))
    engine.add(asked)
    engine.commit(model.run(engine.plan()))  # type: ignore[arg-type]  # 8 of 11 tokens
    assert [e.sample.index for e in engine.cancel("g", 0)] == [0]
    assert [e.sample.index for e in engine.cancel("g", 2)] == [2]
    engine.check()
    assert drain(engine, model)["g"][0].output == alone(asked, 1)[0]
    assert engine.statistics().hit_tokens == 8


def test_logits_that_are_not_finite_end_their_request_alone() -> None:
    engine = scheduler(max_rows=16, max_chunk=16)
    engine.add(request("bad", range(8), 8))
    engine.add(request("good", range(10, 18), 8))
    assert engine.plan() is not None
    events = engine.commit([0, 1], {0: "its logits are not finite"})
    assert [(e.sample.request.id, e.token, e.reason) for e in events] == [("bad", None, "error"), ("good", 1, None)]
    assert events[0].sample.error == "its logits are not finite"
    engine.check()
    engine.add(request("again", range(8), 1))
    assert step(engine)[1][-1].sample.hit_tokens == 0  # nothing that it left in the cache is used
    assert engine.plan() is not None
    with pytest.raises(GenerationError, match=r"faults of draws \[1\] in a step of 1 draws"):
        engine.commit([0], {1: "nan"})
    assert [e.reason for e in engine.fail_step("the model stopped")] == ["error"]
    engine.check()
    assert (engine.has_work, engine.statistics().pages_held) == (False, 0)


def test_a_grammar_that_leads_nowhere_leaves_a_cache_that_is_sound() -> None:
    engine = scheduler(max_rows=16, max_chunk=16)
    engine.add(request("lost", range(8), 8))
    assert engine.plan() is not None
    [event] = engine.commit([0], stuck={0: "its grammar leaves it nothing"})
    assert (event.token, event.reason, event.sample.error) == (None, "error", "its grammar leaves it nothing")
    engine.check()
    engine.add(request("again", range(8), 1))
    assert step(engine)[1][-1].sample.hit_tokens == 4
    engine.add(request("a", [1]))
    assert engine.plan() is not None
    with pytest.raises(GenerationError, match=r"faults of draws \[1\] in a step of 1 draws"):
        engine.commit([0], stuck={1: "stuck"})


def test_what_was_drawn_behind_a_wrong_draft_is_no_fault() -> None:
    class Sevens:
        def propose(self, sample: Sample, most: int) -> list[int]:
            return [7, 7][:most]

    engine = scheduler(Sevens(), max_rows=16, max_chunk=16)
    engine.add(request("a", range(8), 8))
    step(engine)
    plan = engine.plan()
    assert plan is not None
    assert list(plan.draft_places) == [0, 1, 2]
    events = engine.commit([5, 6, 6], {1: "its logits are not finite"}, {2: "its grammar leaves it nothing"})
    assert [(e.token, e.reason) for e in events] == [(5, None)]
    engine.add(request("again", range(8), 1))
    assert [e.sample.hit_tokens for e in step(engine)[1] if e.sample.request.id == "again"] == [4]


def test_new_weights_forget_the_cache_and_compute_again_what_runs() -> None:
    engine, model = scheduler(), FakePagedModel(16, 4)
    engine.add(request("a", range(6), 6))
    old = engine.plan()
    assert old is not None
    with pytest.raises(GenerationError, match="between steps"):
        engine.update_weights(1)
    engine.commit(model.run(old))
    engine.update_weights(1)
    model.version = 1
    plan = engine.plan()
    assert plan is not None
    assert len(plan.slots) == 7
    sample = plan.draws[0]
    engine.commit(model.run(plan))  # which asserts that all it reads is of version 1
    assert (sample.first_version, sample.last_version) == (0, 1)
    engine.add(request("b", range(6), 6))
    ended = drain(engine, model)
    assert (ended["b"][0].first_version, ended["b"][0].last_version, ended["b"][0].hit_tokens) == (1, 1, 4)
    assert ended["b"][0].output == alone(ended["b"][0].request, 0, version=1)[0]


# thoughts


def test_a_budget_closes_the_thought_and_the_answer_follows() -> None:
    engine = scheduler()
    engine.add(request("a", [1, 2], 9, thinking=thinking(budget=2)))
    assert [e.token for e in step(engine, THINK)[1]] == [THINK]
    assert [e.token for e in step(engine, 20)[1]] == [20]
    events = step(engine, 21)[1]
    assert [(e.token, e.forced) for e in events] == [(21, False), (3, True), (END_THINK, True), (4, True)]
    plan, events = step(engine, THINK)
    assert rows(plan) == [(0, 21, 4), (0, 3, 5), (0, END_THINK, 6), (0, 4, 7)]  # one step for all that was forced
    assert (plan.logit_rows.tolist(), plan.draw_indices.tolist()) == ([3], [6])
    for _ in range(2):
        events = step(engine, 22)[1]
    assert events[-1].reason == "length"  # in an answer, the start id opens nothing
    assert events[0].sample.output == [THINK, 20, 21, 3, END_THINK, 4, THINK, 22, 22]
    assert events[0].sample.forced == [3, 4, 5]


def test_a_thought_that_begins_late_leaves_room_for_the_answer() -> None:
    engine = scheduler()
    engine.add(request("a", [1, 2], 12, thinking=thinking(budget=6)))  # 3 ids close a thought
    for token in (30, 31, 32, 33):  # text before it
        step(engine, token)
    tokens = [e.token for token in (THINK, 20, 21, 22) for e in step(engine, token)[1]]
    assert tokens == [THINK, 20, 21, 22, 3, END_THINK, 4]
    events = step(engine, 40)[1]
    assert (events[-1].token, events[-1].reason) == (40, "length")


def test_where_there_is_one_thought_its_start_is_barred_after_it() -> None:
    for once, barred in ((True, 7), (False, None)):
        thought = Thought(Thinking(start_id=7, end_id=8, opened=True, once=once))
        assert thought.barred is None  # inside
        thought.push(8)
        assert thought.barred == barred


def test_a_thought_that_ends_by_itself_is_left_alone() -> None:
    engine = scheduler()
    engine.add(request("a", [1, THINK], 8, thinking=thinking(opened=True, budget=2, min_tokens=1)))
    plan = engine.plan()
    assert plan is not None
    thought = plan.draws[0].thought
    assert thought is not None
    assert thought.bars_end
    engine.commit([5])
    assert not thought.bars_end
    assert [e.forced for token in (END_THINK, 6, 7, 8) for e in step(engine, token)[1]] == [False] * 4
    assert thought.tokens == 1


def test_no_thought_at_all_goes_on_to_the_answer_at_once() -> None:
    engine = scheduler()
    events = engine.add(request("a", [1, THINK], 8, seeds=(1, 2), thinking=thinking(opened=True, budget=0)))
    assert [e.token for e in events] == [3, END_THINK, 4] * 2
    plan, _ = step(engine)
    assert (plan.tokens.tolist(), len(plan.draws)) == ([1, THINK, 3, END_THINK, 4], 2)
    assert plan.draw_indices.tolist() == [3, 3]


@pytest.mark.parametrize("under_way", [False, True])
def test_answer_now_closes_the_thought_before_the_next_token(under_way: bool) -> None:
    engine = scheduler()
    engine.add(request("a", [1, THINK], 12, thinking=thinking(opened=True)))
    step(engine, 5)
    if under_way:
        engine.plan()
        assert engine.answer_now("a") == []
        events = engine.commit([6])
        assert [(e.token, e.forced) for e in events] == [(6, False), (3, True), (END_THINK, True), (4, True)]
    else:
        assert [(e.token, e.forced) for e in engine.answer_now("a")] == [(3, True), (END_THINK, True), (4, True)]
    assert engine.answer_now("a") == engine.answer_now("unknown") == []
    assert len(step(engine)[0].slots) == 4


def test_answer_now_never_goes_beyond_max_tokens() -> None:
    engine = scheduler()
    engine.add(request("a", [THINK], 3, thinking=thinking(opened=True)))
    step(engine)
    events = engine.answer_now("a")
    assert [(e.token, e.reason) for e in events] == [(3, None), (END_THINK, "length")]
    engine.check()
    assert not engine.has_work


# refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_ids": ()}, "is empty"),
        ({"max_tokens": 0}, "max_tokens = 0"),
        ({"prompt_ids": tuple(range(40)), "max_tokens": 25}, r"40 tokens \+ max_tokens 25 exceed the context of 64"),
        ({"prompt_ids": (1,) * 33, "max_tokens": 8}, "need 11 cache pages of 4 positions, and there are 10"),
        ({"prompt_ids": (1, 50)}, "an id outside the vocabulary of 50"),
        ({"prompt_ids": (-1,)}, "an id outside the vocabulary"),
        ({"thinking": Thinking(start_id=50, end_id=1)}, "what marks its thought, holds an id outside the vocabulary"),
        ({"thinking": Thinking(start_id=-1, end_id=1)}, "what marks its thought, holds an id outside the vocabulary"),
        ({"thinking": Thinking(end_id=50)}, "what marks its thought, holds an id outside the vocabulary"),
        ({"seeds": ()}, "asks for 0 samples"),
        ({"seeds": (2**63,)}, "64 bits"),
        ({"stop_strings": ("x",) * 1_000_000}, "1000000 stop strings"),
        ({"stop_strings": ("",)}, "is empty and would stop at once"),
        ({"shared_prefix": 3}, "expected 0 to 2"),
        ({"thinking": Thinking(end_id=1, budget=6)}, "leave nothing of max_tokens = 8"),
        ({"id": "taken"}, "under way already"),
    ],
)
def test_what_can_never_be_served_is_refused_and_changes_nothing(changes: dict[str, Any], message: str) -> None:
    engine = scheduler(pages=10)
    engine.add(request("taken", [1]))
    before = engine.statistics()
    with pytest.raises(GenerationError, match=message):
        engine.add(Request(**{"id": "new", "prompt_ids": (1, 2), "max_tokens": 8, **changes}))
    assert engine.statistics() == before
    engine.check()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"closing_ids": (3, 4)}, "do not hold the end id 49"),
        ({"budget": -1}, "budget of -1 tokens"),
        ({"budget": 3, "min_tokens": 4}, "least length of a thought is 4 tokens, the budget 3"),
    ],
)
def test_thoughts_that_cannot_be_bounded_so_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        thinking(**setting)


def test_a_full_queue_says_try_again() -> None:
    engine = scheduler(max_waiting=3)
    engine.add(request("a", [1], seeds=(1, 2, 3)))
    with pytest.raises(QueueFullError, match="3 samples wait and request 'b' brings 1 more; at most 3"):
        engine.add(request("b", [1]))
    step(engine)
    engine.add(request("b", [1]))


@pytest.mark.parametrize(
    "setting",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": 2.0},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": 1e-40},
        {"presence_penalty": float("inf")},
        {"logprobs": -1},
    ],
)
def test_sampling_options_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(GenerationError, match=next(iter(setting))):
        SamplingOptions(**setting)


def test_a_temperature_that_is_all_but_0_is_0() -> None:
    for told, taken in ((1e-50, 0.0), (1e-40, 0.0), (9e-6, 0.0), (1e-5, 1e-5), (0.3, 0.3)):
        assert SamplingOptions(temperature=told).temperature == taken


def test_steps_out_of_turn_are_refused() -> None:
    engine = scheduler()
    with pytest.raises(GenerationError, match="no step to commit"):
        engine.commit([])
    with pytest.raises(GenerationError, match="no step to give up"):
        engine.fail_step("")
    engine.add(request("a", [1]))
    engine.plan()
    with pytest.raises(GenerationError, match="call commit"):
        engine.plan()
    with pytest.raises(GenerationError, match="2 tokens for a step of 1 draws"):
        engine.commit([1, 2])
    assert len(engine.commit([1])) == 1
    for name in ("pages", "context"):
        with pytest.raises(GenerationError, match=name):
            scheduler(**{name: 0})
    with pytest.raises(GenerationError, match="max_rows = 3 is less than max_running = 4"):
        scheduler(max_rows=3)


def test_a_state_cannot_be_left_for_any_other() -> None:
    sample = Sample(request("a", [1]), 0, 1, [])
    with pytest.raises(GenerationError, match="cannot become preempted"):
        sample.move(State.PREEMPTED)
    sample.move(State.FINISHED)
    for state in State:
        with pytest.raises(GenerationError, match="cannot become"):
            sample.move(state)
    assert set(NEXT_STATES) == set(State)


def test_the_scheduler_imports_no_torch() -> None:
    code = "import sys, ponder.engine.scheduler; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
