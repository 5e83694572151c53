"""The files beside the weights that say how text becomes tokens: read, and written so that transformers agrees."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from ponder.core.errors import CheckpointError
from ponder.text.tokenizer import SpecialTokens, Tokenizer, read_backend
from ponder.weights.hf.safetensors import read_json

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
SPECIAL_TOKENS_MAP, GENERATION_CONFIG, CHAT_TEMPLATE = (
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of a folder whose config.json holds `config`; None where there is no tokenizer.json."""
    path = folder / TOKENIZER
    if not path.is_file():
        return None
    backend = read_backend(path)
    special = _special_tokens(folder, config, backend)
    try:
        return Tokenizer(backend, special)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_chat_template(folder: Path) -> str | None:
    """The jinja text, as published: a file of its own, or in tokenizer_config.json, alone or as one of several."""
    path = folder / CHAT_TEMPLATE
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error
    template = _optional_json(folder / TOKENIZER_CONFIG).get("chat_template")
    if isinstance(template, list):
        if not all(isinstance(t, dict) and isinstance(t.get("name"), str) for t in template):
            raise CheckpointError(
                f"{folder / TOKENIZER_CONFIG}: chat_template is {template!r:.80}; expected text, or a list of objects "
                "with a name and a template"
            )
        named = {t["name"]: t.get("template") for t in template}
        template = named.get("default", next(iter(named.values()), None))
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"{folder / TOKENIZER_CONFIG}: chat_template is {template!r:.80}; expected text")
    return template


def tokenizer_files(tokenizer: Tokenizer, chat_template: str | None) -> dict[str, str | dict[str, object]]:
    """What to write beside the weights, by file name: text, or the object of a JSON file."""
    special = tokenizer.special
    settings: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings |= {
        name: token
        for name, token in (("bos_token", special.bos), ("eos_token", special.eos), ("pad_token", special.pad))
        if token is not None
    }
    if special.bos is not None:
        settings["add_bos_token"] = special.add_bos
    if chat_template is not None:
        settings["chat_template"] = chat_template
    files: dict[str, str | dict[str, object]] = {TOKENIZER: tokenizer.backend_json(), TOKENIZER_CONFIG: settings}
    control = tokenizer.control
    if len(control.stop) > 1 or control.bos is not None:
        stop: object = list(control.stop) if len(control.stop) > 1 else control.eos
        files[GENERATION_CONFIG] = {"bos_token_id": control.bos, "eos_token_id": stop, "pad_token_id": control.pad}
    return files


def _special_tokens(folder: Path, config: Mapping[str, Any], backend: RustTokenizer) -> SpecialTokens:
    settings, token_map = _optional_json(folder / TOKENIZER_CONFIG), _optional_json(folder / SPECIAL_TOKENS_MAP)
    ids = (_optional_json(folder / GENERATION_CONFIG), config)

    def named(role: str) -> str | None:
        for content in (settings, token_map):
            token = content.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and backend.token_to_id(token) is not None:
                return token
        return next((token for content in ids for token in _tokens(content, role, backend)), None)

    ends = dict.fromkeys(token for content in ids for token in _tokens(content, "eos", backend))
    bos, eos = named("bos"), named("eos")
    stated = settings.get("add_bos_token")
    return SpecialTokens(
        bos=bos,
        eos=eos,
        pad=named("pad"),
        add_bos=stated if isinstance(stated, bool) else bos is not None and _begins_with(backend, bos),
        stop=tuple(token for token in ends if token != eos),
    )


def _tokens(content: Mapping[str, Any], role: str, backend: RustTokenizer) -> list[str]:
    """The tokens whose ids a config gives for a role: none, one or a list. Ids that mean no token are passed over."""
    value = content.get(f"{role}_token_id")
    ids = value if isinstance(value, list) else [value]
    found = [backend.id_to_token(i) for i in ids if type(i) is int and 0 <= i < 2**32]
    return [token for token in found if token is not None]


def _begins_with(backend: RustTokenizer, bos: str) -> bool:
    return bool(backend.encode("").ids[:1] == [backend.token_to_id(bos)])


def _optional_json(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}
