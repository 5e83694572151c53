"""Which files of a published model are worth fetching, and which must not be touched."""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import PurePosixPath

from ponder.core.errors import PullError
from ponder.weights.gguf.header import split_of
from ponder.weights.hf.safetensors import is_pickle

_BESIDE_SUFFIXES = (".json", ".jinja")
_BESIDE_NAMES = ("license*", "licence*", "readme*", "notice*", "tokenizer.model", "merges.txt", "vocab.txt", "*.model")


def choose_files(sizes: Mapping[str, int | None], where: str, pattern: str | None = None) -> list[str]:
    """The names to fetch: weights, and the config, tokenizer, template, licence and README beside them.

    `sizes` has every file of the source. Weights are the safetensors; the GGUF file where there are none; what
    `pattern` (a name or one with wildcards) fits where it is given. Of a split GGUF model, all files are one. Raises
    `PullError` for a source that has only pickles or no weights, for several GGUF files without a choice, and for names
    that lead out of a folder.
    """
    for name in sizes:
        check_name(name, where)
    weights = _weights(sizes, where, pattern)
    folder = PurePosixPath(weights[0]).parent
    beside = [name for name in sizes if PurePosixPath(name).parent in (folder, PurePosixPath(".")) and _is_beside(name)]
    return sorted({*weights, *beside})


def check_name(name: str, where: str) -> None:
    """Raises `PullError` for the name of a file that would lie outside of its folder."""
    path = PurePosixPath(name)
    odd = "\\" in name or any(ord(character) < 32 for character in name)
    if odd or path.is_absolute() or ".." in path.parts or not path.parts:
        raise PullError(
            f"{where} lists a file {name!r}, which would be written outside of the model's folder; nothing was "
            "fetched. Do not use that source"
        )


def is_weights(name: str) -> bool:
    """Whether a file of that name holds weights that can be opened."""
    return name.lower().endswith((".safetensors", ".gguf"))


def _weights(sizes: Mapping[str, int | None], where: str, pattern: str | None) -> list[str]:
    usable = [name for name in sizes if is_weights(name)]
    if pattern is not None:
        chosen = [name for name in usable if fnmatch(name, pattern) or fnmatch(PurePosixPath(name).name, pattern)]
        if not chosen:
            raise PullError(f"{where} has no weights named {pattern!r}; it has: {_listed(usable, sizes)}")
        splits = {split_of(name) for name in chosen} - {None}
        return [name for name in usable if name in chosen or split_of(name) in splits]
    top = [name for name in usable if "/" not in name and name.endswith(".safetensors")]
    if top:
        return [name for name in top if name.startswith("model")] or top
    ggufs = [name for name in usable if name.lower().endswith(".gguf")]
    models = {split_of(name) or name for name in ggufs}
    if len(models) == 1:
        return ggufs
    if models:
        raise PullError(f"{where} has several GGUF files; choose one with --file NAME: {_listed(ggufs, sizes)}")
    pickles = [name for name in sizes if is_pickle(name)]
    if pickles:
        raise PullError(
            f"{where} has its weights only as pickles ({', '.join(sorted(pickles)[:3])}{', …' * (len(pickles) > 3)}). "
            "Reading a pickle runs the code that is in it, so Ponder does not; choose a repository with safetensors or "
            "GGUF files, or convert it where that cannot do harm"
        )
    raise PullError(f"{where} has no weights; expected *.safetensors or *.gguf among its {len(sizes)} files")


def _is_beside(name: str) -> bool:
    base = PurePosixPath(name).name.lower()
    return base.endswith(_BESIDE_SUFFIXES) or any(fnmatch(base, pattern) for pattern in _BESIDE_NAMES)


def _listed(names: list[str], sizes: Mapping[str, int | None]) -> str:
    if not names:
        return "none"
    shown = [f"{name} ({size / 1e9:.1f} GB)" if (size := sizes[name]) else name for name in sorted(names)[:20]]
    return ", ".join(shown) + (", …" if len(names) > 20 else "")
