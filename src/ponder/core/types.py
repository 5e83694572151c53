"""The records that pass between the parts. Frozen: a step makes new records, it never edits its input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Split = Literal["train", "held_out"]
Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length"]
Part = Literal["thought", "answer", "outside"]  # of a completion; "outside" is neither


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A function that a model may call."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)  # a JSON schema of its arguments
    strict: bool = False  # the arguments must fit the schema


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A model's wish to call a tool. What it wrote as arguments may be no JSON."""

    id: str
    name: str
    arguments: str  # JSON text


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, in plain text: no part of it ever becomes a control token.

    `reasoning` is the thought before an assistant's `content`; None where there is none or it was not kept.
    """

    role: Role
    content: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()  # an assistant's
    tool_call_id: str | None = None  # in a tool's message: the call that it answers


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A question whose answer can be checked.

    `facts` holds what its checker needs beyond the answer's text (for countdown: numbers and target).
    """

    id: str  # equal ids mean the same problem; the split is a function of it
    prompt: str
    answer: str | None = None  # reference answer; None where a checker decides without one
    facts: Mapping[str, object] = field(default_factory=dict)
    task: str = ""  # the name of the task that it belongs to, where several are worked on together
    place: str = field(default="", compare=False)  # file and line, where it stands in a file of one's own


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A conversation to learn from: what the assistant says in its last turn, or in all of them."""

    id: str  # equal ids mean the same conversation
    messages: tuple[Message, ...]
    task: str = ""  # what it is an example of
    every_turn: bool = False  # all of the assistant's turns are learned, not the last alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A prompt as token ids, with the problem it came from."""

    problem_id: str
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to sample. `temperature=0` is greedy."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0  # only the likeliest tokens that hold this share of the probability; 1: all of them
    min_thought_tokens: int = 0  # the thought may not be closed before it holds this many tokens
    max_thought_tokens: int | None = None  # the thought is closed by force when it holds this many; None: no bound
    closing_ids: tuple[int, ...] = ()  # what closes it by force; () means the id of </think> alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a generator made of a prompt: tokens, never text.

    `logprobs[i]` is the natural logarithm of the probability with which `ids[i]` was sampled, under the
    distribution it was sampled from; at temperature 0, under the model's own at temperature 1. It is 0 for an id that
    closes a thought by force.
    The end-of-sequence id is part of `ids` when `finish_reason` is "stop".
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    weight_version: int  # the version of the weights that made it
    seed: int
    # the experts that each token of prompt and completion but the last went to, (tokens - 1, MoE layers, experts per
    # token) of int16; None where the model has no experts or the generator does not tell
    routes: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a verifier says of one completion.

    `score` None means ungraded (the checker itself failed): such a rollout is left out of its group and
    counted. It never becomes a zero.
    """

    score: float | None  # the reward
    correct: bool | None  # whether the answer is right; None where ungraded
    reason: str
    parts: Mapping[str, float] = field(default_factory=dict)  # named rewards that add up to the score


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """A completion with its text and verdict."""

    problem: Problem
    completion: Completion
    text: str
    verdict: Verdict

    def row(self, stage: str, step: int) -> dict[str, object]:
        """As a line of a run's samples files."""
        return {
            "stage": stage,
            "step": step,
            "problem_id": self.problem.id,
            "prompt": self.problem.prompt,
            "text": self.text,
            "score": self.verdict.score,
            "correct": self.verdict.correct,
            "reason": self.verdict.reason,
            "finish_reason": self.completion.finish_reason,
            "length": len(self.completion.ids),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """All rollouts of one prompt in one step: the unit that an advantage is relative to."""

    problem: Problem
    rollouts: tuple[Rollout, ...]


Grade = Callable[[Problem, Completion], Rollout]  # judges what a model wrote
