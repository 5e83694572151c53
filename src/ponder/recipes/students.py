"""The student of a distillation: the model that learns, and a teacher's words in its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ponder.core.errors import ConfigError, DataError, TokenizerError
from ponder.core.generator import GenerationProgress
from ponder.core.seeds import torch_rng
from ponder.core.types import Completion, Conversation, Message, Prompt, Sampling
from ponder.data.traces import Trace
from ponder.models.adapter_config import AdapterConfig
from ponder.models.presets import PRESETS
from ponder.models.transformer import Transformer
from ponder.recipes.opening import FULL_TRAINING, is_preset, load_with_answer_tags, load_with_thought_form, model_folder
from ponder.text.examples import Example, encode_conversation
from ponder.text.prompt import PLAIN_TEMPLATE, Prompter
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.train.distill import PromptCompletion
from ponder.weights.checkpoint import open_checkpoint
from ponder.weights.opened import LoadedModel

EMPTY_THOUGHT = "\n"  # which templates write out where they leave out a missing one


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """A tokenizer with the chat template that goes with it."""

    tokenizer: Tokenizer
    chat_template: str | None


def open_student(
    name: str, teacher: Vocabulary | None, seed: int, adapter: AdapterConfig = FULL_TRAINING
) -> LoadedModel:
    """The model that learns. One that lacks the tags of a thought gets them.

    A preset begins with random weights, in the vocabulary of a teacher of this machine, or else in that of Ponder's own
    arithmetic. Raises `ConfigError` for an adapter to a preset, or to a model that answers in tags (R1-Zero's form).
    """
    if is_preset(name):
        _require_full(adapter, f"{name} begins with random weights")
        vocabulary = teacher or Vocabulary(tokenizer=Tokenizer.for_arithmetic(), chat_template=PLAIN_TEMPLATE)
        shape = PRESETS[name](vocabulary.tokenizer.vocab_size)
        return LoadedModel(
            Transformer(shape, torch_rng(seed, "weights")), vocabulary.tokenizer, vocabulary.chat_template
        )
    path = model_folder(Path(name))
    with open_checkpoint(path) as opened:
        answers_in_tags = opened.tokenizer is not None and opened.tokenizer.control.answer is not None
    if answers_in_tags:
        _require_full(adapter, f"{name} answers in R1-Zero's tags")
        return load_with_answer_tags(path)
    return load_with_thought_form(path, adapter, torch_rng(seed, "adapter"))


def _require_full(adapter: AdapterConfig, why: str) -> None:
    if adapter.kind != "full":
        raise ConfigError(f"adapter.kind = {adapter.kind!r}, but {why}: all its weights are trained; use 'full'")


def write_out(prompter: Prompter, question: str, thought: str, answer: str) -> PromptCompletion:
    """A question and its worked answer in the form in which a model would have answered, as ids.

    Raises `TokenizerError` for a character that its vocabulary lacks.
    """
    if prompter.template is None:
        tokenizer = prompter.tokenizer
        ids = completion_ids(tokenizer.encode(thought), tokenizer.encode(answer), tokenizer.control)
        return PromptCompletion(prompter.encode(question), tuple(ids))
    messages = (Message("user", question), Message("assistant", answer, thought or EMPTY_THOUGHT))
    encoded = prompter.template.encode(messages, generation=False)
    first = encoded.target.index(True)
    last = len(encoded.target) - encoded.target[::-1].index(True)
    return PromptCompletion(encoded.ids[:first], encoded.ids[first:last])


class TraceExamples:
    """A finite `ExampleSource`: conversations of one question and its worked answer."""

    def __init__(self, conversations: Sequence[Conversation], prompter: Prompter) -> None:
        if not conversations:
            raise DataError("there is no trace to learn from; expected at least one")
        self._conversations, self._prompter = conversations, prompter

    @property
    def size(self) -> int:
        return len(self._conversations)

    def example(self, index: int) -> Example:
        """Example number `index`."""
        conversation = self._conversations[index]
        if self._prompter.template is not None:
            question, reply = conversation.messages
            written_out = replace(reply, reasoning=reply.reasoning or EMPTY_THOUGHT)
            whole = replace(conversation, messages=(question, written_out))
            return encode_conversation(self._prompter.template, whole)
        written = self.prompt_completion(index)
        target = (*(False for _ in written.prompt_ids), *(True for _ in written.ids))
        return Example((*written.prompt_ids, *written.ids), target)

    def prompt_completion(self, index: int) -> PromptCompletion:
        """Example number `index` as a prompt and its completion."""
        question, reply = self._conversations[index].messages
        return write_out(self._prompter, question.content, reply.reasoning or "", reply.content)


class TracesAsCompletions:
    """A `Generator` that has nothing to say but a teacher's answers, in the student's tokens: so whatever judges a
    model's own completions judges a teacher's.

    What cannot be an example stands as an empty completion. `beyond` counts the whole answers that the student's
    vocabulary or context has no place for.
    """

    weight_version = 0

    def __init__(self, traces: Sequence[Trace], prompter: Prompter, positions: int) -> None:
        self._empty = (prompter.tokenizer.control.eos,)
        self._ids: dict[tuple[str, int], tuple[int, ...]] = {}
        self.beyond = 0
        for trace in traces:
            if trace.flaw is None:
                written = _fitting(trace, prompter, positions)
                self.beyond += written is None
                self._ids[trace.key] = self._empty if written is None else written.ids

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        """See `ponder.core.generator.Generator`; the place of a seed is the number of the answer."""
        return [
            [self._completion(prompt, sample, seed) for sample, seed in enumerate(group)]
            for prompt, group in zip(prompts, seeds, strict=True)
        ]

    def _completion(self, prompt: Prompt, sample: int, seed: int) -> Completion:
        ids = self._ids.get((prompt.problem_id, sample), self._empty)
        return Completion(
            prompt_ids=prompt.ids,
            ids=ids,
            logprobs=(0.0,) * len(ids),
            finish_reason="stop",
            weight_version=self.weight_version,
            seed=seed,
        )


def _fitting(trace: Trace, prompter: Prompter, positions: int) -> PromptCompletion | None:
    try:
        written = write_out(prompter, trace.problem.prompt, trace.thought, trace.answer)
    except TokenizerError:
        return None
    return written if len(written.prompt_ids) + len(written.ids) <= positions else None
