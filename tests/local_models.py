"""Models of a `LocalBackend` that say what a test tells them to: the real engine, and a runner with a script."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from ponder.core.types import Message
from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.request import Sample
from ponder.serve.local.backend import LocalBackend
from ponder.serve.local.model import LocalModel
from ponder.serve.records import Ask, BackendEvent, Caller, Conversation, Delta, Finish, Usage
from ponder.text.chat_pieces import Piece, PieceEncoder
from ponder.text.chat_template import template_of
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import SpecialTokens, Tokenizer
from scripted_runner import ScriptedRunner

TAGS = ("<think>", "</think>")
DEEPSEEK_MARKS = (
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>",
    "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>",
    "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", "<|EOT|>",
)  # fmt: skip
CHATML_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
HERMES_MARKS = ("<tool_call>", "</tool_call>")
LLAMA_MARKS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
SPECIAL = {
    "deepseek": SpecialTokens(bos=DEEPSEEK_MARKS[0], eos=DEEPSEEK_MARKS[1]),
    "chatml": SpecialTokens(eos="<|im_end|>"),
    "llama": SpecialTokens(bos=LLAMA_MARKS[0], eos="<|eot_id|>"),
}
CALLER = Caller(account="a")


def byte_tokenizer(kind: str, *marks: str) -> Tokenizer:
    """Bytes, one merge, and these control tokens: the smallest vocabulary of a chat model."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = RustTokenizer(models.BPE({token: i for i, token in enumerate([*letters, "th"])}, [("t", "h")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in marks])
    return Tokenizer(backend, SPECIAL[kind])


def prompter_of(family: str) -> Prompter:
    """A family with a small vocabulary of its own."""
    if family == "plain":
        return Prompter(Tokenizer.for_arithmetic())
    if family.startswith("deepseek") or family == "r1-zero":
        tokenizer = byte_tokenizer("deepseek", *DEEPSEEK_MARKS, *TAGS)
    elif family.startswith("llama"):
        tokenizer = byte_tokenizer("llama", *LLAMA_MARKS)
    elif family == "smollm2":  # no tool tokens, no thoughts
        tokenizer = byte_tokenizer("chatml", *CHATML_MARKS)
    else:
        tokenizer = byte_tokenizer("chatml", *CHATML_MARKS, *HERMES_MARKS, *TAGS)
    return Prompter(tokenizer, template_of(tokenizer, family))


def written(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text in which control tokens stand as such."""
    return list(PieceEncoder(tokenizer).encode([Piece(text, own=True)]).ids)


Script = Callable[[Sample], int]


def says(tokenizer: Tokenizer, text: str, *, ends: bool = True) -> Script:
    """Every sample says this, whatever was forced on it before."""
    ids = [*written(tokenizer, text), *([tokenizer.control.eos] if ends else [])]

    def script(sample: Sample) -> int:
        said = len(sample.output) - len(sample.forced)
        return ids[said] if said < len(ids) else (tokenizer.control.eos if ends else ids[-1])

    return script


class Runner(ScriptedRunner):
    """A scripted runner with a context of any size."""

    def __init__(self, script: Script, tokenizer: Tokenizer, context: int) -> None:
        super().__init__(script, vocabulary=tokenizer.vocab_size, pages=context)
        self.config = replace(self.config, max_positions=context)


def local_model(
    family: str | Prompter, text: str | Script, *, context: int = 4096, ends: bool = True, **changes: Any
) -> LocalModel:
    """A started engine behind a script; closing the backend closes it."""
    prompter = prompter_of(family) if isinstance(family, str) else family
    script = says(prompter.tokenizer, text, ends=ends) if isinstance(text, str) else text
    engine = Engine(Runner(script, prompter.tokenizer, context), EngineConfig(), prompter.tokenizer).start()
    return LocalModel(id="m", engine=engine, prompter=prompter, close=engine.close, **changes)


def chat(*messages: Message | str, **changes: Any) -> Conversation:
    turns = tuple(Message("user", m) if isinstance(m, str) else m for m in messages)
    return Conversation(messages=turns, **changes)


_number = iter(range(10**9))


def ask(prompt: Any, **changes: Any) -> Ask:
    return Ask(id=f"ask{next(_number)}", model="m", prompt=prompt, **changes)


def run(model: LocalModel, body: Callable[[LocalBackend], Coroutine[Any, Any, Any]]) -> Any:
    """Run something with a backend of this one model."""

    async def main() -> Any:
        backend = LocalBackend([model])
        try:
            return await body(backend)
        finally:
            await backend.close()

    return asyncio.run(main())


def events_of(model: LocalModel, asked: Ask, caller: Caller = CALLER) -> tuple[list[BackendEvent], Usage]:
    """All that comes of one ask."""

    async def body(backend: LocalBackend) -> tuple[list[BackendEvent], Usage]:
        generation = await backend.start(await backend.prepare(asked, caller))
        events = [event async for event in generation]
        return events, generation.usage

    found: tuple[list[BackendEvent], Usage] = run(model, body)
    return found


def text_of(events: list[BackendEvent], kind: str = "content", index: int = 0) -> str:
    return "".join(e.text for e in events if isinstance(e, Delta) and e.kind == kind and e.index == index)


def finish_of(events: list[BackendEvent], index: int = 0) -> Finish:
    (found,) = [e for e in events if isinstance(e, Finish) and e.index == index]
    return found
