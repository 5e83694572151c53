"""The order of a benchmark: every side takes its turn, round after round, so that what disturbs one disturbs all."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, Literal

from ponder.core.errors import ConfigError, GenerationError
from ponder.core.seeds import python_rng
from ponder.engine import native
from ponder.engine.native import WeightFormat
from ponder.models.config import ModelConfig
from ponder.models.presets import count_parameters
from ponder.recipes.bench.files import ModelFiles
from ponder.recipes.bench.limits import NUMBERS
from ponder.recipes.bench.peers import check_peers, peer_command
from ponder.recipes.bench.sides import Process, Progress, side_command, wait_for_quiet
from ponder.weights.checkpoint import open_checkpoint

OURS = "ponder"
BUSY = 0.15  # cores; a round during which others kept more than this busy is done again
ATTEMPTS = 3  # rounds that are tried for each that is wanted
PATIENCE = 5.0  # seconds to wait for a quiet machine before a round
LONG_ENOUGH = 0.5  # seconds of a turn that reads prompts; it reads several where one takes less
MOST_PROMPTS = 8
BUFFER, SIZE = 1 << 29, 2048  # bytes read, and rows and columns of a matrix, to learn what the machine can do


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to measure."""

    weights: tuple[WeightFormat, ...] = ("bf16", "q8", "q4")
    batch: tuple[int, ...] = (1, 8, 32)  # sequences that are continued at once
    prompt_tokens: int = 512  # of a prompt that is read
    context: int = 64  # tokens that a sequence has before it is continued
    tokens: int = 64  # by which each is continued
    threads: int = 1
    rounds: int = 5
    against: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "context", "tokens", "threads", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected 1 or more")
        for what, given in (("weights", self.weights), ("batch", self.batch), ("against", self.against)):
            if len(set(given)) < len(given):
                raise ConfigError(f"{what} = {', '.join(map(str, given))}: one of them stands there twice")


@dataclass(frozen=True)
class Case:
    """One thing that is measured."""

    what: Literal["prefill", "decode"]
    batch: int
    prompts: int = 1  # that a turn of prefill reads, one after the other

    @property
    def name(self) -> str:
        return f"{self.what}, batch {self.batch}" if self.what == "decode" else self.what


@dataclass(frozen=True)
class Turn:
    """What one side did in one round of a case."""

    weights: str
    side: str
    case: Case
    seconds: float  # for `tokens`
    tokens: int
    others: float  # cores that other processes kept busy
    ids: Sequence[int]  # the first sequence's new tokens


@dataclass(frozen=True)
class SideFacts:
    """What a side is, or why it is not there."""

    weights: str
    side: str
    file: str
    facts: Mapping[str, Any]
    peak_bytes: int = 0
    unsupported: str | None = None


@dataclass(frozen=True)
class Record:
    """Everything that was measured."""

    config: BenchConfig
    model: ModelConfig
    body_parameters: int  # that a token of a prompt is multiplied by
    token_parameters: int  # that a new token is: with the head
    active_parameters: int  # as publishers count them
    total_parameters: int
    sides: Sequence[SideFacts]
    turns: Sequence[Turn]
    bandwidth: Sequence[float]  # bytes a second, each round's
    products: Mapping[str, Sequence[float]]  # by kind of numbers, operations a second


def run_bench(path: Path, config: BenchConfig, folder: Path | None, on_progress: Progress) -> Record:
    """Measure a model. `folder`: where converted files are kept for the next time; None: nowhere.

    Raises `ConfigError` for what cannot be measured, `GenerationError` where the kernels are missing or a side fails.
    """
    if (missing := native.available()) is not None:
        raise GenerationError(f"`ponder bench` times the native kernels, and {missing}")
    check_peers(config.against)
    with open_checkpoint(path) as opened:
        model, is_gguf = opened.config, opened.format == "gguf"
    _check(path, config, model, is_gguf=is_gguf)
    with tempfile.TemporaryDirectory(prefix="ponder-bench-") as temporary:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        bench = _Bench(config, model, Path(temporary), on_progress)
        files = ModelFiles(path, folder or Path(temporary), is_gguf)
        with bench.limits():
            for weights in config.weights:
                bench.measure(weights, files)
    count, body = count_parameters(model), body_parameters(model)
    return Record(
        config=config,
        model=model,
        body_parameters=body,
        token_parameters=body + model.vocab_size * model.hidden_size,
        active_parameters=count.active,
        total_parameters=count.total,
        sides=bench.sides,
        turns=bench.turns,
        bandwidth=bench.bandwidth,
        products=bench.products,
    )


def body_parameters(model: ModelConfig) -> int:
    """What every token is multiplied by: neither the embedding, of which it reads a row, nor the head."""
    looked_up = 0 if model.tie_embeddings else model.hidden_size
    return count_parameters(model).per_token - looked_up - model.vocab_size * model.hidden_size


def _check(path: Path, config: BenchConfig, model: ModelConfig, *, is_gguf: bool) -> None:
    if "stored" in config.weights and not is_gguf:
        raise ConfigError(f"weights 'stored' needs a GGUF file; {path} is none: take bf16, q8 or q4")
    longest = max(config.prompt_tokens, config.context + config.tokens)
    if longest > model.max_positions:
        raise ConfigError(
            f"a sequence of {longest} tokens is to be measured (the larger of prompt_tokens and context + tokens); "
            f"this model reads {model.max_positions}: lower them"
        )


class _Bench:
    """Who takes part, and what they have found so far."""

    def __init__(self, config: BenchConfig, model: ModelConfig, folder: Path, on_progress: Progress) -> None:
        self.config, self._model, self._folder, self._tell = config, model, folder, on_progress
        self.sides: list[SideFacts] = []
        self.turns: list[Turn] = []
        self.bandwidth: list[float] = []
        self.products: dict[str, list[float]] = {numbers: [] for numbers in NUMBERS}
        self._limits: Process

    @contextmanager
    def limits(self) -> Iterator[None]:
        """Measure the machine, before and after; its bandwidth also in every round."""
        self._tell("measuring the machine")
        self._limits = self._start(
            "limits", side_command("limits"), {"threads": self.config.threads, "buffer": BUFFER, "size": SIZE}
        )
        try:
            self._measure_machine()
            yield
            self._tell("measuring the machine")
            self._measure_machine()
        finally:
            self._limits.close()

    def measure(self, weights: WeightFormat, files: ModelFiles) -> None:
        """Every case with weights of one format."""
        with ExitStack() as stack:
            processes = self._open_sides(weights, files, stack)
            for case in self._cases():
                self.turns += self._rounds(weights, processes, self._warm_up(processes, case))
            for process in processes:
                self._note(weights, process, process.peak_bytes)

    def _rounds(self, weights: str, processes: Sequence[Process], case: Case) -> list[Turn]:
        """The turns of as many rounds as are wanted. Where others disturbed, more rounds are tried and the calmest are
        kept: the choice goes by the others' load alone, never by a speed.
        """
        rng, rounds = python_rng(0, "bench", case.name), list[list[Turn]]()
        for number in range(ATTEMPTS * self.config.rounds):
            self._tell(f"{weights}, {case.name}: round {number + 1} of {self.config.rounds}")
            request = self._request(case, rng)
            wait_for_quiet(BUSY, PATIENCE)
            self._read_memory()
            rounds.append([_turn(weights, process, case, request) for process in processes])
            if sum(_disturbance(turns) <= BUSY for turns in rounds) >= self.config.rounds:
                break
        return [turn for turns in sorted(rounds, key=_disturbance)[: self.config.rounds] for turn in turns]

    def _cases(self) -> list[Case]:
        return [Case("prefill", 1), *(Case("decode", batch) for batch in self.config.batch)]

    def _open_sides(self, weights: WeightFormat, files: ModelFiles, stack: ExitStack) -> list[Process]:
        self._tell(f"{weights}: preparing the files")
        config, compared = self.config, bool(self.config.against)
        path, how = files.ours(weights, compared=compared)
        wanted = [(OURS, path, how, side_command("ours"))]
        for peer in config.against:
            theirs = files.theirs(peer, weights)
            if theirs is None:
                self.sides.append(SideFacts(weights, peer, "", {}, unsupported=f"{peer} has no such format"))
            else:
                wanted.append((peer, theirs, weights, peer_command(peer)))
        processes = []
        for name, file, form, command in wanted:
            self._tell(f"{weights}: loading {name}")
            room = max(config.prompt_tokens, config.context + config.tokens) + 1
            job = {"file": str(file), "weights": form, "format": weights, "threads": config.threads, "room": room}
            process = self._start(name, command, job)
            stack.callback(process.close)
            process.facts["file"] = str(file)
            if process.unsupported is None:
                processes.append(process)
            else:
                self._note(weights, process, 0)
        return processes

    def _start(self, name: str, command: list[str], job: Mapping[str, Any]) -> Process:
        return Process(name, command, job, self._folder)

    def _note(self, weights: str, process: Process, peak_bytes: int) -> None:
        file = Path(process.facts["file"]).name
        self.sides.append(SideFacts(weights, process.name, file, process.facts, peak_bytes, process.unsupported))

    def _warm_up(self, processes: Sequence[Process], case: Case) -> Case:
        """Every side once; the case with as many prompts to a turn as make it long enough to be timed."""
        self._tell(f"warming up: {case.name}")
        request = self._request(case, python_rng(0, "bench", "warm-up", case.name))
        taken = [process.turn(case.what, **request)["seconds"] for process in processes]
        if case.what == "decode":
            return case
        return Case(case.what, case.batch, min(MOST_PROMPTS, ceil(LONG_ENOUGH / max(min(taken), 1e-3))))

    def _request(self, case: Case, rng: Random) -> dict[str, Any]:
        """Random prompts: new ones to read in every round, and always the same to continue."""
        if case.what == "prefill":
            return {"prompts": self._prompts(rng, case.prompts, self.config.prompt_tokens)}
        prompts = self._prompts(python_rng(0, "bench", "decode"), case.batch, self.config.context)
        return {"prompts": prompts, "tokens": self.config.tokens}

    def _prompts(self, rng: Random, count: int, length: int) -> list[list[int]]:
        return [[rng.randrange(self._model.vocab_size) for _ in range(length)] for _ in range(count)]

    def _measure_machine(self) -> None:
        for _ in range(self.config.rounds):
            self._read_memory()
            for numbers in NUMBERS:
                seconds = self._limits.turn("product", numbers=numbers)["seconds"]
                self.products[numbers].append(self._limits.facts["product_operations"] / seconds)

    def _read_memory(self) -> None:
        self.bandwidth.append(self._limits.facts["buffer_bytes"] / self._limits.turn("bandwidth")["seconds"])


def _disturbance(turns: Sequence[Turn]) -> float:
    return max(turn.others for turn in turns)


def _turn(weights: str, process: Process, case: Case, request: Mapping[str, Any]) -> Turn:
    answer = process.turn(case.what, **request)
    prompts: Sequence[Sequence[int]] = request["prompts"]
    tokens = sum(map(len, prompts)) if case.what == "prefill" else len(prompts) * request["tokens"]
    expected = [1 if case.what == "prefill" else request["tokens"]] * len(prompts)
    if [len(ids) for ids in answer["ids"]] != expected:
        raise GenerationError(
            f"{process.name} did not make {expected[0]} tokens for each of {len(prompts)} prompts; its side in "
            "benchmarks/peers does not fit its version"
        )
    return Turn(weights, process.name, case, answer["seconds"], tokens, answer["others"], answer["ids"][0])
