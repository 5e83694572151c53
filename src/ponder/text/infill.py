"""Completion of what stands between two texts, by the control tokens that a vocabulary has for it."""

from dataclasses import dataclass

from ponder.text.chat_pieces import EncodedChat, Piece, PieceEncoder
from ponder.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class InfillFormat:
    """Three markers: before the prefix, before the suffix, and where the middle is asked for."""

    prefix: str
    suffix: str
    middle: str


FORMATS = (
    InfillFormat("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek Coder, V2 and later
    InfillFormat("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5 and later
    InfillFormat("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder and its kin
)
ENDS = ("<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<file_sep>", "<repo_name>")  # where another file would begin


def infill_format(tokenizer: Tokenizer) -> InfillFormat | None:
    """The form that the vocabulary has, None if it has none."""
    known = tokenizer.control_tokens
    return next((f for f in FORMATS if {f.prefix, f.suffix, f.middle} <= known.keys()), None)


def encode_infill(tokenizer: Tokenizer, chosen: InfillFormat, before: str, after: str) -> EncodedChat:
    """The prompt that asks for the text between two others. Neither of them gives a control id."""
    pieces = (
        Piece(chosen.prefix, own=True),
        Piece(before),
        Piece(chosen.suffix, own=True),
        Piece(after),
        Piece(chosen.middle, own=True),
    )
    encoded = PieceEncoder(tokenizer).encode(pieces)
    return EncodedChat((*tokenizer.prefix, *encoded.ids), (*([False] * len(tokenizer.prefix)), *encoded.target), False)


def infill_stop_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids by which a model says that the middle is done."""
    known = tokenizer.control_tokens
    return frozenset((*tokenizer.control.stop, *(known[name] for name in ENDS if name in known)))
