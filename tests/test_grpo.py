"""GRPO on hand-made rollouts: what is learned from, what is counted, what is refused."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from ponder.algo.logprobs import token_logprobs
from ponder.algo.native.library import library
from ponder.core.errors import NonFiniteLossError, TrainingError
from ponder.core.generator import GenerationProgress
from ponder.core.types import Completion, FinishReason, Problem, Prompt, Rollout, Sampling, Verdict
from ponder.core.workers import ComputeConfig, Workers
from ponder.models.transformer import Transformer
from ponder.text.prompt import Prompter
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.train.grpo import Grpo, GrpoConfig
from ponder.train.optimizer import OptimizerConfig
from tiny_recipe import MODEL

needs_kernels = pytest.mark.skipif(library() is None, reason="no compiled kernels, or no AVX-512 with bf16 here")
TOKENIZER = Tokenizer.for_arithmetic()
CONFIG = GrpoConfig(
    steps=20,
    prompts_per_step=2,
    group_size=4,
    max_tokens=12,
    updates_per_step=1,
    warmup_steps=1,
    optimizer=OptimizerConfig(learning_rate=1e-3),
)
LEAVE_OUT = replace(CONFIG, truncated="leave_out")


class Scripted:
    """A generator that answers every prompt with the digits 0, 1, 2, … in turn."""

    def __init__(self, stale_by: int = 0, finish_reason: FinishReason = "stop") -> None:
        self.weight_version, self.calls, self._stale_by, self._finish = 0, 0, stale_by, finish_reason

    def refresh(self, version: int) -> None:
        self.weight_version = version

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        self.calls += 1
        made = []
        for prompt, group in zip(prompts, seeds, strict=True):
            answers = [completion_ids([], TOKENIZER.encode(str(i)), TOKENIZER.control) for i in range(len(group))]
            made.append(
                [
                    Completion(
                        prompt_ids=prompt.ids,
                        ids=tuple(ids),
                        logprobs=(-1.0,) * len(ids),
                        finish_reason=self._finish if i == 0 else "stop",
                        weight_version=self.weight_version - self._stale_by,
                        seed=seed,
                    )
                    for i, (ids, seed) in enumerate(zip(answers, group, strict=True))
                ]
            )
        return made


def grade(problem: Problem, completion: Completion) -> Rollout:
    """Right where the answer is the problem's; ungraded where it is '3' and the problem asks for that."""
    text = TOKENIZER.decode(completion.ids)
    answer = text.split("<answer>")[1][0]
    if problem.facts.get("crashes_on") == answer:
        verdict = Verdict(score=None, correct=None, reason="checker failed")
    else:
        right = answer == problem.answer
        verdict = Verdict(score=float(right), correct=right, reason="", parts={"accuracy": float(right)})
    return Rollout(problem=problem, completion=completion, text=text, verdict=verdict)


def stage(workers: Workers, problem: Problem, generator: Scripted | None = None, config: GrpoConfig = CONFIG) -> Grpo:
    model = Transformer(MODEL, torch.Generator().manual_seed(4))
    return Grpo(
        model, Prompter(TOKENIZER), generator or Scripted(), config, lambda step, i: problem, grade, workers, seed=0
    )


def answer_logp(model: Transformer, answer: str) -> float:
    ids = [*TOKENIZER.encode("2=?"), TOKENIZER.control.think, TOKENIZER.control.end_think, TOKENIZER.control.answer]
    with torch.no_grad():
        logits = model.head(model(torch.tensor([ids])))[0, -1]
    return float(logits.log_softmax(-1)[TOKENIZER.encode(answer)[0]])


@pytest.fixture
def workers() -> Workers:
    return Workers(ComputeConfig(workers=2))


def test_a_rewarded_answer_becomes_more_likely_and_the_others_less(workers: Workers) -> None:
    grpo = stage(workers, Problem(id="2", prompt="2=?", answer="2"))
    before = {a: answer_logp(grpo.model, a) for a in "0123"}
    for step in range(10):
        metrics = grpo.step(step).metrics
    after = {a: answer_logp(grpo.model, a) for a in "0123"}
    assert after["2"] > before["2"] + 0.5
    assert all(after[a] < after["2"] for a in "013")
    assert metrics["reward/mean"] == 0.25
    assert metrics["groups/no_spread_share"] == 0.0


@pytest.mark.parametrize(("name", "keeps_base"), [("zero", True), ("final-rl", False)])
def test_a_loss_that_is_not_finite_takes_no_step(workers: Workers, name: str, keeps_base: bool) -> None:
    model = Transformer(MODEL, torch.Generator().manual_seed(4))
    with torch.no_grad():
        model.norm.weight[0] = math.nan
    problem = Problem(id="2", prompt="2=?", answer="2")
    grpo = Grpo(
        model, Prompter(TOKENIZER), Scripted(), CONFIG, lambda step, i: problem, grade, workers, seed=0, name=name
    )
    message = rf"{name}: step 0 has loss nan.*a lower optimizer\.learning_rate of this stage"
    with pytest.raises(NonFiniteLossError, match=message) as caught:
        grpo.step(0)
    assert ("--start_from" in str(caught.value)) == keeps_base


def test_groups_without_spread_change_nothing_and_are_counted(workers: Workers) -> None:
    grpo = stage(workers, Problem(id="9", prompt="9=?", answer="9"))
    before = [p.clone() for p in grpo.model.parameters()]
    metrics = grpo.step(0).metrics
    assert metrics["groups/no_spread_share"] == 1.0
    assert all(torch.equal(a, b) for a, b in zip(before, grpo.model.parameters(), strict=True))


def test_groups_without_spread_are_drawn_anew_where_the_recipe_says_so(workers: Workers) -> None:
    generator = Scripted()
    grpo = stage(workers, Problem(id="9", prompt="9=?", answer="9"), generator, replace(CONFIG, resample_rounds=3))
    metrics = grpo.step(0).metrics
    assert generator.calls == 4
    assert metrics["groups/resampled"] == 6.0  # two groups in each of the three extra rounds


def test_an_ungraded_rollout_is_left_out_and_counted(workers: Workers) -> None:
    grpo = stage(workers, Problem(id="2", prompt="2=?", answer="2", facts={"crashes_on": "3"}))
    metrics = grpo.step(0).metrics
    assert metrics["rollout/ungraded_share"] == 0.25
    assert metrics["reward/mean"] == pytest.approx(1 / 3)


def test_a_stage_whose_checker_fails_says_so_with_the_first_reason(workers: Workers) -> None:
    problem = Problem(id="2", prompt="2=?", answer="2", facts={"crashes_on": "3"})
    grpo = stage(workers, problem)
    assert grpo.remark == ""
    grpo.step(0)
    said = "25.0 % of 8 completions could not be graded, and nothing was learned from them; the first one's reason: "
    assert grpo.remark == f"{said}checker failed."
    resumed = stage(workers, problem)
    resumed.load_state(grpo.state())
    resumed.step(1)
    assert resumed.remark == f"{said.replace('of 8', 'of 16')}checker failed."
    left_out = stage(workers, replace(problem, facts={}), Scripted(finish_reason="length"), LEAVE_OUT)
    left_out.step(0)
    assert left_out.remark == ""  # these were never to be judged


@pytest.mark.parametrize(("truncated", "ungraded", "reward"), [("judge", 0.0, 0.25), ("leave_out", 0.25, 1 / 3)])
def test_a_completion_that_was_cut_off_is_counted_and_judged_or_left_out(
    workers: Workers, truncated: str, ungraded: float, reward: float
) -> None:
    """The first of four is cut off. Left out, the mean is over the other three, one of which is right."""
    problem = Problem(id="2", prompt="2=?", answer="2")
    config = replace(CONFIG, truncated=truncated)
    metrics = stage(workers, problem, Scripted(finish_reason="length"), config).step(0).metrics
    assert metrics["rollout/truncated_share"] == 0.25
    assert metrics["rollout/ungraded_share"] == ungraded
    assert metrics["reward/mean"] == pytest.approx(reward)


def test_completions_of_other_weights_are_refused(workers: Workers) -> None:
    grpo = stage(workers, Problem(id="2", prompt="2=?", answer="2"), Scripted(stale_by=1))
    with pytest.raises(TrainingError, match="version -1, expected version 0; refresh the generator"):
        grpo.step(0)


def test_the_kl_term_pulls_towards_the_reference(workers: Workers) -> None:
    free = stage(workers, Problem(id="2", prompt="2=?", answer="2"))
    held = stage(workers, Problem(id="2", prompt="2=?", answer="2"), config=replace(CONFIG, kl_weight=5.0))
    for step in range(10):
        free.step(step)
        metrics = held.step(step).metrics
    assert answer_logp(held.model, "2") < answer_logp(free.model, "2")
    assert metrics["policy/kl_reference"] > 0.0


def test_the_reference_is_replaced_when_due(workers: Workers) -> None:
    config = replace(CONFIG, kl_weight=0.1, reference_every=2)
    grpo = stage(workers, Problem(id="2", prompt="2=?", answer="2"), config=config)
    kl = [grpo.step(step).metrics["policy/kl_reference"] for step in range(5)]
    assert kl[0] == pytest.approx(0.0, abs=1e-7)
    assert kl[1] > 1e-6
    assert kl[2] == pytest.approx(0.0, abs=1e-7)  # replaced before this step
    assert kl[3] > 1e-6


def test_the_stage_ends_early_at_its_accuracy(workers: Workers) -> None:
    config = replace(CONFIG, stop_accuracy=0.25)
    grpo = stage(workers, Problem(id="2", prompt="2=?", answer="2"), config=config)
    assert [grpo.step(step).done for step in range(5)] == [False, False, False, True, True]


def test_micro_batches_and_their_order_do_not_change_the_update(workers: Workers) -> None:
    problem = Problem(id="2", prompt="2=?", answer="2")
    whole = stage(workers, problem)
    cut = stage(workers, problem, config=replace(CONFIG, micro_batch_tokens=16))
    whole.step(0)
    cut.step(0)
    for a, b in zip(whole.model.parameters(), cut.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-5)  # Adam's first step divides rounding by itself where gradients vanish


@needs_kernels
@pytest.mark.parametrize("updates", [1, 2])
def test_a_prompt_that_is_run_once_for_its_group_changes_nothing(
    updates: int, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completions of unlike lengths behind the prompts that they share, against padded rows of each alone."""
    problems = [Problem(id=prompt, prompt=prompt, answer="2") for prompt in ("2=?", "1+1=?", "5+5+2=?")]
    config = replace(CONFIG, prompts_per_step=3, group_size=12, updates_per_step=updates, kl_weight=0.1)
    found: list[tuple[Mapping[str, float], list[torch.Tensor]]] = []
    for shared in (True, False):
        if not shared:
            monkeypatch.setattr(Transformer, "has_kernel", False)
        model = Transformer(MODEL, torch.Generator().manual_seed(4))
        grpo = Grpo(model, Prompter(TOKENIZER), Scripted(), config, lambda step, i: problems[i], grade, workers, seed=0)
        metrics = grpo.step(0).metrics
        found.append((metrics, [p.grad.clone() for p in grpo.model.parameters() if p.grad is not None]))
    (ours, got), (theirs, expected) = found
    for name in ("policy/entropy", "policy/kl_sampler", "policy/clipped_share", "engine/logprob_mismatch"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-5)
    assert ours["optimizer/gradient_norm"] == pytest.approx(theirs["optimizer/gradient_norm"], rel=1e-4)
    for mine, wanted in zip(got, expected, strict=True):
        assert torch.allclose(mine, wanted, atol=2e-6)


class Honest(Scripted):
    """Scripted answers with the logprobs that a model really gives them, plus a constant."""

    def __init__(self, model: Transformer, off_by: float = 0.0) -> None:
        super().__init__()
        self._model, self._off_by = model, off_by

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        return [[self._scored(c) for c in group] for group in super().generate(prompts, sampling, seeds)]

    def _scored(self, completion: Completion) -> Completion:
        ids = torch.tensor([[*completion.prompt_ids, *completion.ids]])
        with torch.no_grad():
            logp = token_logprobs(self._model.head(self._model(ids)), ids)[0, len(completion.prompt_ids) :]
        return replace(completion, logprobs=tuple((logp + self._off_by).tolist()))


@pytest.mark.parametrize("updates", [1, 2])
def test_the_correction_of_inexact_rollouts(workers: Workers, updates: int) -> None:
    """It is nothing where the engine is exact; where the engine says p too large by e^0.25, every token weighs
    e^-0.25, and where it says p too small by e, every token weighs the cap.
    """

    def gradient_and_metrics(off_by: float, **settings: object) -> tuple[torch.Tensor, Mapping[str, float]]:
        config = replace(CONFIG, updates_per_step=updates, **settings)  # type: ignore[arg-type]
        grpo = stage(workers, Problem(id="2", prompt="2=?", answer="2"), Scripted(), config)
        grpo._generator = Honest(grpo.model, off_by)
        before = grpo.model.head.weight.detach().clone()
        metrics = grpo.step(0).metrics
        return grpo.model.head.weight.detach() - before, metrics

    exact, _ = gradient_and_metrics(0.0)
    same, metrics = gradient_and_metrics(0.0, rollout_weights="bf16")
    torch.testing.assert_close(same, exact, atol=1e-6, rtol=1e-4)
    assert metrics["policy/importance_capped_share"] == 0.0
    assert abs(metrics["engine/kl"]) < 1e-6
    _, larger = gradient_and_metrics(0.25, rollout_weights="bf16")
    assert larger["engine/kl"] == pytest.approx(0.25, abs=1e-5)
    assert larger["engine/logprob_mismatch"] == pytest.approx(0.25, abs=1e-5)
    assert larger["policy/kl_sampler"] == pytest.approx(metrics["policy/kl_sampler"], abs=1e-3)  # the trainer's own
    close = 1e-4 if updates == 1 else 0.05  # with two, the mean: the second one's weights depend on the first
    assert larger["optimizer/gradient_norm"] == pytest.approx(
        math.exp(-0.25) * metrics["optimizer/gradient_norm"], rel=close
    )
    _, smaller = gradient_and_metrics(-1.0, rollout_weights="bf16", importance_cap=1.5)
    assert smaller["policy/importance_capped_share"] == 1.0
    assert smaller["optimizer/gradient_norm"] == pytest.approx(1.5 * metrics["optimizer/gradient_norm"], rel=close)
