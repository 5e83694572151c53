"""The conversation formats of the model families, as data, and the one template that follows them.

In formats whose roles are plain text (DeepSeek LLM and V2, Coder, R1-Zero) nothing can keep a user's text from
looking like another turn; ids of control tokens are out of its reach in all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ponder.core.errors import DataError
from ponder.core.types import Message
from ponder.text.chat_pieces import EncodedChat, Piece, PieceEncoder
from ponder.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ThoughtFormat:
    """How a thought stands before an answer. Thoughts of turns before the last user message are dropped."""

    open: str = "<think>\n"
    close: str = "\n</think>\n\n"
    answer: tuple[str, str] = ("", "")  # around an answer that follows a thought
    opened: bool = False  # by the prompt; else the assistant opens it
    always: bool = False  # the last turn has one even if it is empty

    @property
    def skipped(self) -> str:
        """The empty thought by which a prompt asks for an answer at once."""
        return self.open + self.close


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """A family's conversation. `{bos}` and `{eos}` stand for the vocabulary's own, `{added_bos}` for its bos if a text
    begins with one.

    A reply is `prompt` (asks for it), then what the assistant writes: `lead`, a thought, its content, `end`;
    then `after`.
    """

    name: str
    begin: str = ""
    turns: Mapping[str, tuple[str, str]]  # what stands around the content of a system and of a user message
    prompt: str
    lead: str = ""
    end: str
    after: str = ""
    preamble: str = ""  # begins the first system message, which is there even if nobody wrote one
    default_system: str = ""  # where the first message is no system message
    gathers_system: bool = False  # system messages stand together at the beginning, blank lines between them
    trims: bool = False  # contents lose the white space around them
    thought: ThoughtFormat | None = None


DEEPSEEK = ChatFormat(  # V2.5, V3
    name="deepseek-v3",
    begin="{bos}",
    turns={"system": ("", ""), "user": ("<｜User｜>", "")},
    prompt="<｜Assistant｜>",
    end="{eos}",
    gathers_system=True,
)
DEEPSEEK_R1 = replace(DEEPSEEK, name="deepseek-r1", thought=ThoughtFormat(opened=True))  # and the R1-Distill models
DEEPSEEK_LLM = ChatFormat(  # LLM chat, V2 chat
    name="deepseek-llm",
    begin="{bos}",
    turns={"system": ("", "\n\n"), "user": ("User: ", "\n\n")},
    prompt="Assistant:",
    lead=" ",
    end="{eos}",
)
DEEPSEEK_CODER = ChatFormat(
    name="deepseek-coder",
    begin="{bos}",
    turns={"system": ("", ""), "user": ("### Instruction:\n", "\n")},
    prompt="### Response:\n",
    end="\n<|EOT|>",
    after="\n",
    default_system=(
        "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek Company, and "
        "you only answer questions related to computer science. For politically sensitive questions, security and "
        "privacy issues, and other non-computer science questions, you will refuse to answer\n"
    ),
)
CHATML = ChatFormat(
    name="chatml",
    turns={"system": ("<|im_start|>system\n", "<|im_end|>\n"), "user": ("<|im_start|>user\n", "<|im_end|>\n")},
    prompt="<|im_start|>assistant\n",
    end="<|im_end|>",
    after="\n",
)
QWEN2 = replace(
    CHATML, name="qwen2.5", default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
)
QWEN3 = replace(CHATML, name="qwen3", thought=ThoughtFormat(always=True))
SMOLLM2 = replace(
    CHATML,
    name="smollm2",
    default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
)
LLAMA3 = ChatFormat(
    name="llama-3",
    begin="{bos}",
    turns={
        "system": ("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        "user": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
    },
    prompt="<|start_header_id|>assistant<|end_header_id|>\n\n",
    end="<|eot_id|>",
    trims=True,
)
LLAMA31 = replace(
    LLAMA3, name="llama-3.1", preamble="Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)
# For base models, R1 section 2.2.3 (Table 1): its one turn, and our continuation of it for more. Tags that the
# vocabulary has as control tokens stand in the instruction as such: they are what the model is to write.
R1_ZERO = ChatFormat(
    name="r1-zero",
    begin=(
        "{added_bos}"
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
        "assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
        "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
        "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    ),
    turns={"system": ("", " "), "user": ("User: ", ". ")},
    prompt="Assistant:",
    lead=" ",
    end="{eos}",
    thought=ThoughtFormat(open="<think>", close="</think>", answer=("<answer>", "</answer>")),
)
# in the order in which a published template is compared with them
FORMATS = (
    DEEPSEEK_R1, DEEPSEEK, DEEPSEEK_LLM, DEEPSEEK_CODER, SMOLLM2, QWEN2, QWEN3, CHATML, LLAMA3, LLAMA31, R1_ZERO
)  # fmt: skip


class FormatTemplate:
    """A `ChatTemplate` that follows a `ChatFormat`."""

    def __init__(self, tokenizer: Tokenizer, chat_format: ChatFormat) -> None:
        """A vocabulary without `<think>` cannot mark thoughts: then there are none."""
        self.name, self._format = chat_format.name, chat_format
        special = tokenizer.special
        named = {"{bos}": special.bos, "{added_bos}": special.bos if special.add_bos else None, "{eos}": special.eos}
        self._begin, self._end = chat_format.begin, chat_format.end
        for name, token in named.items():
            self._begin = self._begin.replace(name, token or "")
            self._end = self._end.replace(name, token or "")
        self.thought = chat_format.thought if tokenizer.control.think is not None else None
        self._encoder = PieceEncoder(tokenizer)

    def encode(
        self, messages: Sequence[Message], *, generation: bool = True, thinking: bool | None = None
    ) -> EncodedChat:
        """See `ponder.text.chat_template.ChatTemplate`."""
        return self._encoder.encode(self.pieces(messages, generation=generation, thinking=thinking))

    def pieces(self, messages: Sequence[Message], *, generation: bool, thinking: bool | None) -> list[Piece]:
        """The conversation in the template's words and people's. Raises `DataError` for a role that it has no place
        for, and for the thought of a last turn where it has no place for thoughts.
        """
        if not messages:
            raise DataError("the conversation is empty; expected at least one message")
        shape = self._format
        pieces = [Piece(self._begin, own=True)]
        if messages[0].role != "system" and (shape.preamble or shape.default_system):
            before, after = shape.turns["system"]
            pieces.append(Piece(f"{before}{shape.preamble}{shape.default_system}{after}", own=True))
        if shape.gathers_system:
            system = [m for m in messages if m.role == "system"]
            messages = [m for m in messages if m.role != "system"]
            for i, message in enumerate(system):
                pieces += [Piece("\n\n" if i else "", own=True), Piece(message.content)]
        last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=len(messages) - 1)
        for i, message in enumerate(messages):
            if message.role == "assistant":
                pieces += self._reply(message, current=i > last_user, last=i == len(messages) - 1)
            else:
                pieces += self._turn(message, first=i == 0)
        if generation:
            pieces.append(Piece(shape.prompt + self._prompted_thought(thinking), own=True))
        return pieces

    def _turn(self, message: Message, *, first: bool) -> list[Piece]:
        if message.role not in self._format.turns:
            known = ", ".join((*self._format.turns, "assistant"))
            raise DataError(
                f"the {self.name} chat template has no place for a message of role {message.role!r}; expected {known}"
            )
        before, after = self._format.turns[message.role]
        if first and message.role == "system":
            before += self._format.preamble
        return [Piece(before, own=True), Piece(self._content(message)), Piece(after, own=True)]

    def _reply(self, message: Message, *, current: bool, last: bool) -> list[Piece]:
        shape, thought = self._format, self.thought
        if message.reasoning and current and thought is None:
            raise DataError(
                f"the last turn has a thought, and the {self.name} chat template with this vocabulary has no place for "
                "one; leave it out, or add <think> and </think> to the vocabulary"
            )
        pieces = [Piece(shape.prompt, own=True)]
        content = self._content(message)
        if thought is not None and current and (message.reasoning or (thought.always and last)):
            pieces += [
                Piece(thought.open, own=True, target=not thought.opened),
                Piece((message.reasoning or "").strip("\n"), target=True),
                Piece(thought.close + thought.answer[0], own=True, target=True),
                Piece(content.lstrip("\n"), target=True),
                Piece(thought.answer[1], own=True, target=True),
            ]
        else:
            pieces += [Piece(shape.lead, own=True, target=True), Piece(content, target=True)]
        return [*pieces, Piece(self._end, own=True, target=True), Piece(shape.after, own=True)]

    def _prompted_thought(self, thinking: bool | None) -> str:
        if self.thought is None:
            return ""
        if thinking is False:
            return self.thought.skipped
        return self.thought.open if self.thought.opened else ""

    def _content(self, message: Message) -> str:
        return message.content.strip() if self._format.trims else message.content
