"""Every error that Ponder raises on purpose.

    PonderError                 shown to the user as one message, exit code 1
    ├── ConfigError             a setting, recipe or command-line value is wrong
    ├── DataError               a problem file, task or split is wrong
    │   └── TokenizerError      a text or id that the vocabulary lacks
    ├── CheckpointError         weights or training state that do not fit or cannot be read
    ├── PullError               a model that cannot be fetched
    ├── RunError                a run folder that cannot be used
    │   └── RunLockedError      another process is using it
    ├── TrainingError           training cannot go on
    │   └── NonFiniteLossError  the loss is NaN or infinite; the step was not taken
    ├── SandboxError            programs cannot be run safely here
    │   └── MissingLayerError   a protection is missing; it may be done without, by name
    └── GenerationError         a request that the generator cannot serve
        └── QueueFullError      too many wait already; it may be tried again later

A message says what is wrong, what was found, what was expected and what to do.
"""

from collections.abc import Sequence


class PonderError(Exception):
    """Base of all errors with a message meant for the user."""


class ConfigError(PonderError):
    """A setting is unknown, mistyped or out of range."""


class DataError(PonderError):
    """A problem, task file or split cannot be used."""


class TokenizerError(DataError):
    """A text holds something that the vocabulary lacks."""


class CheckpointError(PonderError):
    """Weights or training state are missing, damaged or of another shape."""


class PullError(PonderError):
    """A model cannot be fetched, or what came is not what was published."""


class RunError(PonderError):
    """A run folder cannot be used."""


class RunLockedError(RunError):
    """Another process holds the run folder."""


class TrainingError(PonderError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """The loss of a batch is not finite; no step was taken on it."""


class SandboxError(PonderError):
    """The sandbox lacks a protection, or does not start."""


class MissingLayerError(SandboxError):
    """Protections of the sandbox are missing. `layers`: their names."""

    def __init__(self, missing: str, layers: Sequence[str], setting: str) -> None:
        """`missing` says what is missing and how to get it, `setting` what does without it."""
        super().__init__(
            f"{missing}\nTo run them without that protection, on a machine that you can afford to lose: {setting}"
        )
        self.missing, self.layers = missing, tuple(layers)

    def with_setting(self, setting: str) -> "MissingLayerError":
        """The same, with the words of whoever met it for doing without."""
        return MissingLayerError(self.missing, self.layers, setting)


class GenerationError(PonderError):
    """A generation request cannot be served."""


class WeightsLostError(GenerationError):
    """New weights were taken over in part: what the model holds is of no version, and nothing may be made with it."""


class QueueFullError(GenerationError):
    """Too many samples wait already; the request may be tried again later."""


_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")  # what PyTorch says in its RuntimeError


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in said for w in _NO_MEMORY))
