"""Who guesses ahead (names only: a command's --help must not load torch)."""

from typing import Literal, get_args

Speculation = Literal["off", "ngram", "mtp"]
SPECULATIONS: tuple[Speculation, ...] = get_args(Speculation)
