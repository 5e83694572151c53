"""The vocabulary of a GGUF file ↔ `text.Tokenizer`.

Three of llama.cpp's kinds: `gpt2` is byte-level BPE (Llama 3, Qwen, DeepSeek, SmolLM2), `llama` is SentencePiece with
byte fallback (Llama 2), and `rwkv`, the longest token that matches, is what Ponder's own arithmetic vocabulary does.
The last is written with its tokenizer.json, which the format has a key for, and read from that.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gguf import TokenType
from tokenizers import AddedToken, decoders, models, normalizers
from tokenizers import Tokenizer as RustTokenizer

from ponder.core.errors import CheckpointError
from ponder.text.tokenizer import ARITHMETIC_PATTERN, SpecialTokens, Tokenizer
from ponder.weights.gguf.pretokenizers import find_pre_tokenization, name_of_pre_tokenizer

PREFIX = "tokenizer.ggml."
CHAT_TEMPLATE = "tokenizer.chat_template"
WHOLE_JSON = "tokenizer.huggingface.json"
KINDS = ("gpt2", "llama", "rwkv")
SPACE = "\u2581"  # SentencePiece's sign for a space
# tokens that end a reply in the chats of known models, whatever the file says of them (as in llama.cpp)
ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<｜end▁of▁sentence｜>",
    "<|EOT|>",
)


def read_tokenizer(metadata: Mapping[str, Any], vocab_size: int, where: str) -> Tokenizer | None:
    """The tokenizer that the metadata describes; None where there is none (a model without text).

    Raises `CheckpointError` for an unknown kind or pre-tokenizer, metadata that is missing or damaged, and a
    vocabulary of another size than the model's.
    """
    kind = metadata.get(PREFIX + "model")
    if kind is None or (isinstance(kind, str) and kind in ("none", "no_vocab")):
        return None
    if not isinstance(kind, str) or kind not in KINDS:
        raise CheckpointError(f"{where}: tokenizer {kind!r:.80} is not supported; expected one of {', '.join(KINDS)}")
    tokens = _list(metadata, "tokens", where)
    if len(tokens) != vocab_size:
        raise CheckpointError(
            f"{where}: its vocabulary has {len(tokens)} tokens and its model {vocab_size}; "
            "they belong to different models"
        )
    if len(set(tokens)) != len(tokens):
        raise CheckpointError(f"{where}: two tokens of its vocabulary are the same; expected each once")
    types = metadata.get(PREFIX + "token_type", np.full(len(tokens), TokenType.NORMAL))
    if not isinstance(types, np.ndarray) or types.shape != (len(tokens),):
        found = types.size if isinstance(types, np.ndarray) else f"{types!r:.80} for their"
        raise CheckpointError(f"{where}: its vocabulary has {len(tokens)} tokens and {found} token types")
    special = _special_tokens(metadata, tokens, types, where)
    try:
        if kind == "rwkv":
            return _read_whole_json(metadata, tokens, special, where)
        used = tokens[: _without_padding(tokens, types)]
        backend = _byte_level(metadata, used, where) if kind == "gpt2" else _sentence_piece(metadata, used, where)
        _add_tokens(backend, used, types)
        return Tokenizer(backend, special)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{where}: its tokenizer cannot be built: {error}") from error


def _list(metadata: Mapping[str, Any], name: str, where: str) -> list[str]:
    value = metadata.get(PREFIX + name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CheckpointError(f"{where}: its metadata lacks {PREFIX + name!r}, a list of strings")
    return value


def _without_padding(tokens: Sequence[str], types: np.ndarray) -> int:
    """How many tokens are left without those at the end that only make the vocabulary as long as the model's."""
    count = len(tokens)
    while count and types[count - 1] == TokenType.UNUSED and tokens[count - 1] == f"[PAD{count - 1}]":
        count -= 1
    return count


def _byte_level(metadata: Mapping[str, Any], tokens: Sequence[str], where: str) -> RustTokenizer:
    way = find_pre_tokenization(str(metadata.get(PREFIX + "pre", "default")), where)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = [_pair(merge, where) for merge in _list(metadata, "merges", where)]
    backend = RustTokenizer(models.BPE(vocabulary, merges, ignore_merges=way.whole_words))
    if way.composed:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = way.make()
    backend.decoder = decoders.ByteLevel()
    return backend


def _pair(merge: str, where: str) -> tuple[str, str]:
    left, _, right = merge[1:].partition(" ")  # either side may begin with a space
    if not right:
        raise CheckpointError(f"{where}: {merge!r} among its merges is no pair of tokens")
    return merge[0] + left, right


def _sentence_piece(metadata: Mapping[str, Any], tokens: Sequence[str], where: str) -> RustTokenizer:
    """Pieces with scores: of all neighbours that together are a piece, those with the best score are joined first."""
    scores = metadata.get(PREFIX + "scores")
    if not isinstance(scores, np.ndarray) or len(scores) < len(tokens):
        raise CheckpointError(f"{where}: its metadata lacks {PREFIX + 'scores'!r}, a number for each token")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs = [
        (-float(scores[i]), i, token[:cut], token[cut:])
        for i, token in enumerate(tokens)
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    pairs.sort(key=lambda pair: (pair[0], pair[1]))
    unknown = metadata.get(PREFIX + "unknown_token_id")
    backend = RustTokenizer(
        models.BPE(
            vocabulary,
            [(left, right) for _, _, left, right in pairs],
            unk_token=tokens[unknown] if isinstance(unknown, int) and 0 <= unknown < len(tokens) else None,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    replace = normalizers.Replace(" ", SPACE)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if metadata.get(PREFIX + "add_space_prefix", True):
        backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replace])
        backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    else:
        backend.normalizer = replace
        backend.decoder = decoders.Sequence(steps)
    return backend


def _add_tokens(backend: RustTokenizer, tokens: Sequence[str], types: np.ndarray) -> None:
    """Tell the backend which tokens stand apart from the merges."""
    kinds = types[: len(tokens)]
    special = np.flatnonzero(np.isin(kinds, (TokenType.CONTROL, TokenType.UNKNOWN))).tolist()
    defined = np.flatnonzero(kinds == TokenType.USER_DEFINED).tolist()
    backend.add_special_tokens([AddedToken(tokens[i], special=True, normalized=False) for i in special])
    backend.add_tokens([AddedToken(tokens[i], special=False, normalized=False) for i in defined if tokens[i]])


def _special_tokens(metadata: Mapping[str, Any], tokens: Sequence[str], types: np.ndarray, where: str) -> SpecialTokens:
    def named(role: str) -> str | None:
        token = metadata.get(f"{PREFIX}{role}_token_id")
        if token is None:
            return None
        if not isinstance(token, int) or not 0 <= token < len(tokens):
            raise CheckpointError(f"{where}: its {role} token is {token!r:.80}; expected an id below {len(tokens)}")
        return tokens[token]

    eos = named("eos")
    known = [tokens[i] for i in np.flatnonzero(types == TokenType.CONTROL).tolist() if tokens[i] in ENDS]
    stop = dict.fromkeys(t for t in (named("eot"), named("eom"), *known) if t is not None and t != eos)
    add_bos = metadata.get(PREFIX + "add_bos_token")
    if not isinstance(add_bos, bool):  # llama.cpp's defaults
        kind, pre = metadata.get(PREFIX + "model"), str(metadata.get(PREFIX + "pre", "default"))
        add_bos = kind == "llama" or (kind == "gpt2" and find_pre_tokenization(pre, where).add_bos)
    return SpecialTokens(bos=named("bos"), eos=eos, pad=named("padding"), add_bos=add_bos, stop=tuple(stop))


def _read_whole_json(
    metadata: Mapping[str, Any], tokens: Sequence[str], special: SpecialTokens, where: str
) -> Tokenizer:
    text = metadata.get(WHOLE_JSON)
    if not isinstance(text, str):
        raise CheckpointError(f"{where}: an rwkv vocabulary can only be read with {WHOLE_JSON!r}, which is missing")
    tokenizer = Tokenizer(RustTokenizer.from_str(text), special)
    if any(tokenizer.token_id(_unescape(token)) != i for i, token in enumerate(tokens[: tokenizer.vocab_size])):
        raise CheckpointError(f"{where}: {WHOLE_JSON!r} has other tokens than {PREFIX + 'tokens'!r}")
    return tokenizer


def tokenizer_to_metadata(
    tokenizer: Tokenizer, chat_template: str | None, vocab_size: int
) -> dict[str, str | int | bool | list[str] | list[int] | list[float]]:
    """What a file says of its vocabulary, which is filled up to the `vocab_size` of the model.

    Raises `CheckpointError` for a tokenizer that llama.cpp has no form for.
    """
    content = json.loads(tokenizer.backend_json())
    added = {token["id"]: token for token in content["added_tokens"]}
    vocabulary = {i: token for token, i in content["model"]["vocab"].items()}
    vocabulary |= {i: token["content"] for i, token in added.items()}
    if max(vocabulary) >= vocab_size:
        raise CheckpointError(
            f"the model has a vocabulary of {vocab_size} and its tokenizer one of {max(vocabulary) + 1}; "
            "they belong to different models"
        )
    tokens = [vocabulary.get(i, f"[PAD{i}]") for i in range(vocab_size)]
    fields = _model_to_metadata(content, tokens)
    scored = fields["model"] == "llama"
    control = set(tokenizer.control_tokens.values())
    fields["token_type"] = [_type(i, vocabulary, added, control, scored) for i in range(vocab_size)]
    if scored and "unknown_token_id" in fields:
        fields["token_type"][fields["unknown_token_id"]] = int(TokenType.UNKNOWN)
    ids = tokenizer.control
    eot = next((i for i in ids.stop if i != ids.eos), None)
    pad = ids.pad if tokenizer.special.pad is not None else None
    roles = {"bos": ids.bos, "eos": ids.eos, "padding": pad, "eot": eot}
    fields |= {f"{role}_token_id": i for role, i in roles.items() if i is not None}
    fields["add_bos_token"] = tokenizer.special.add_bos
    written = {PREFIX + name: value for name, value in fields.items()}
    if fields["model"] == "rwkv":
        written[WHOLE_JSON] = tokenizer.backend_json()
    if chat_template is not None:
        written[CHAT_TEMPLATE] = chat_template
    return written


def _type(i: int, vocabulary: Mapping[int, str], added: Mapping[int, Any], control: set[int], scored: bool) -> int:
    if i not in vocabulary:
        return TokenType.UNUSED
    if i in added:
        # what is not special may come from text, as in the tokenizer.json; a chat's tags are no text for us
        return TokenType.CONTROL if added[i]["special"] else TokenType.USER_DEFINED
    if scored and len(vocabulary[i]) == 6 and vocabulary[i].startswith("<0x"):
        return TokenType.BYTE
    return TokenType.CONTROL if i in control else TokenType.NORMAL


def _model_to_metadata(content: Mapping[str, Any], tokens: list[str]) -> dict[str, Any]:
    model, cut = content["model"], content["pre_tokenizer"]
    if model["type"] == "WordLevel" and cut and cut.get("pattern") == {"Regex": ARITHMETIC_PATTERN}:
        # the unknown token is what a character without a token becomes
        unknown = model["vocab"][model["unk_token"]]
        return {"model": "rwkv", "tokens": [_escape(token) for token in tokens], "unknown_token_id": unknown}
    if model["type"] != "BPE":
        raise CheckpointError(f"llama.cpp has no form for a {model['type']} tokenizer; export the model as hf instead")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    if model["byte_fallback"]:
        return _scored_pieces(content, tokens, pairs)
    backend = RustTokenizer.from_str(json.dumps(content))
    name = name_of_pre_tokenizer(backend.pre_tokenizer, whole_words=bool(model.get("ignore_merges")))
    if name is None or type(backend.decoder) is not decoders.ByteLevel:
        raise CheckpointError(
            "llama.cpp has no pre-tokenizer that cuts text as this tokenizer does; export the model as hf instead"
        )
    return {"model": "gpt2", "pre": name, "tokens": tokens, "merges": [" ".join(pair) for pair in pairs]}


def _scored_pieces(content: Mapping[str, Any], tokens: list[str], pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    if content["pre_tokenizer"] is not None:
        raise CheckpointError("llama.cpp has no form for a BPE with byte fallback and a pre-tokenizer; export as hf")
    rank = {"".join(pair): i for i, pair in reversed(list(enumerate(pairs)))}
    fields = {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        # a piece is joined the earlier, the better its score; what no merge makes is never joined
        "scores": [float(-rank[token]) if token in rank else -1e6 for token in tokens],
        "add_space_prefix": '"Prepend"' in json.dumps(content["normalizer"]),
    }
    if (unknown := content["model"]["unk_token"]) is not None:
        fields["unknown_token_id"] = content["model"]["vocab"][unknown]
    return fields


def _escape(token: str) -> str:
    """As llama.cpp reads the tokens of an rwkv vocabulary."""
    return token.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def _unescape(token: str) -> str:
    return (
        token.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r").replace("\0", "\\")
    )
