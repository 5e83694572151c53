"""The one way to log numbers: lines of JSON, under names that the glossary explains."""

import difflib
import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ponder.core.errors import RunError
from ponder.core.files import explain_os_errors


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number means."""

    unit: str
    meaning: str


SHARE = "share, 0 to 1"

GLOSSARY: dict[str, Metric] = {
    "loss/next_token": Metric("nat per token", "cross-entropy of the next token"),
    "loss/mtp": Metric("nat per token", "cross-entropy of the tokens beyond the next (multi-token prediction)"),
    "loss/balance": Metric("none", "sequence-wise balance loss of the experts (DeepSeek-V3, section 2.1.2)"),
    "loss/divergence": Metric(
        "nat per token", "divergence of the student's next token from the teacher's, times the squared temperature"
    ),
    "distill/agreement": Metric(SHARE, "tokens for which student and teacher have the same likeliest one"),
    "optimizer/learning_rate_scale": Metric(SHARE, "what the schedule multiplies the peak learning rates by"),
    "optimizer/gradient_norm": Metric("none", "global gradient norm before clipping"),
    "routing/max_load": Metric("ratio", "tokens of the busiest expert / mean over the experts; 1 is perfect balance"),
    "loss/preference": Metric("nat per pair", "-log of the probability that the chosen reply is preferred, centred"),
    "loss/safety": Metric("nat per reply", "binary cross-entropy of safe or unsafe"),
    "reward_model/accuracy": Metric(SHARE, "items of the step on the right side before it; equal scores count half"),
    "reward_model/margin": Metric("logit", "mean distance of the step's items on the right side"),
    "reward_model/spread": Metric("reward", "standard deviation of the step's scores; near 0 it tells nothing apart"),
    "reward_model/saturated_share": Metric(SHARE, "items of the step beyond ±8, where no gradient is left"),
    "reward_model/held_out_accuracy": Metric(SHARE, "held-out pairs in the right order, or labels told"),
    "reward_model/held_out_loss": Metric("nat per item", "loss on the held-out items, without centring"),
    "reward_model/calibration_error": Metric(SHARE, "expected calibration error on the held-out items, 10 bins"),
    "reward_model/length_correlation": Metric("none", "correlation of held-out scores with the replies' lengths"),
    "skill/forced_accuracy": Metric(
        SHARE, "right answers, greedy, when made to think, on a fixed slice of training problems"
    ),
    "data/worked_share": Metric(SHARE, "documents of the step whose answer is worked out, not given straight"),
    "data/target_share": Metric(SHARE, "tokens of the step that are learned, not only read"),
    "data/rehearsed_share": Metric(SHARE, "learned tokens that are learned as the reference model's distribution"),
    "data/examples": Metric("examples", "examples of the step"),
    "data/filled_share": Metric(SHARE, "tokens of the step's rows that hold an example"),
    "data/left_out": Metric(
        "examples", "examples so far that were longer than a row, or than the model's context, and were left out"
    ),
    "data/trained_tokens": Metric("tokens", "tokens of the completions that the step learns from, with their prompts"),
    "data/on_policy_share": Metric(SHARE, "sequences of the step that the student wrote itself (logit distillation)"),
    "reward/mean": Metric("reward", "mean score of the graded completions"),
    "reward/accuracy": Metric(SHARE, "graded completions whose answer is right"),
    "reward/preference": Metric("reward", "mean weighted part of the reward model, over the replies that it scored"),
    "reward/preference_at_limit": Metric(SHARE, "replies that the reward model scored at the ends of its range"),
    "reward/safety_at_limit": Metric(SHARE, "replies that the safety model puts beyond ±8: surely safe, or surely not"),
    "reward/format": Metric(SHARE, "completions of the required form"),
    "groups/no_spread_share": Metric(SHARE, "groups whose scores are all equal: they teach nothing"),
    "groups/resampled": Metric("groups", "groups drawn anew because their scores were all equal"),
    "rollout/truncated_share": Metric(SHARE, "completions cut off at max_tokens"),
    "rollout/ungraded_share": Metric(
        SHARE, "completions without a verdict (the checker failed, or cut off and left out); never scored 0"
    ),
    "rollout/mean_length": Metric("tokens per completion", "mean length, thought and answer together"),
    "rollout/checking_share": Metric(SHARE, "completions whose thought checks a result"),
    "rollout/retracting_share": Metric(SHARE, "completions whose thought takes a result back"),
    "rollout/retrying_share": Metric(SHARE, "completions whose thought tries again"),
    "rollout/self_corrections": Metric("per completion", "mean number of retries in a thought"),
    "policy/entropy": Metric("nat per token", "entropy of the distribution that tokens are sampled from"),
    "policy/clipped_share": Metric(SHARE, "tokens whose probability ratio the clip holds back"),
    "policy/kl_reference": Metric("nat per token", "KL divergence from the reference model, as in the loss"),
    "policy/kl_sampler": Metric("nat per token", "mean of log p(old) - log p(new): how far the step moved the policy"),
    "policy/importance_capped_share": Metric(
        SHARE, "tokens whose weight p(trainer) / p(engine) was cut off at the cap"
    ),
    "engine/logprob_mismatch": Metric(
        "nat", "mean |engine logprob - trainer logprob| before the first update of the step"
    ),
    "engine/kl": Metric("nat per token", "mean of engine logprob - trainer logprob before the first update"),
    "speed/tokens_per_second": Metric("tokens/s", "training tokens, pretraining and fine-tuning"),
    "speed/rollout_tokens_per_second": Metric("tokens/s", "sampled tokens over the time of the rollout"),
    "speed/train_tokens_per_second": Metric("tokens/s", "trained tokens over the time of the update"),
    "cost/flops": Metric("FLOP", "operations of the stage so far, sampling and training, counted from the shape"),
    "time/rollout_seconds": Metric("s", "sampling and grading in this step"),
    "time/train_seconds": Metric("s", "the update in this step"),
    "time/seconds": Metric("s", "the whole step"),
}


def glossary_markdown() -> str:
    """The text of `docs/metrics.md`."""
    rows = [
        f"| `{name}` | {metric.unit} | {metric.meaning.replace('|', chr(92) + '|')} |"
        for name, metric in GLOSSARY.items()
    ]
    return "\n".join(
        [
            "# Metrics",
            "",
            "Every number that a run logs, from the glossary in `src/ponder/core/metrics.py`. A line of",
            "`metrics.jsonl` is one step: `stage` (such as `zero` or `cold-start`), `step`, `time` (Unix time in",
            "seconds) and the metrics below that the stage has. `null` marks a value that was not finite.",
            "Logarithms are natural.",
            "",
            "| name | unit | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


class JsonLines:
    """A file of JSON objects, one a line, to append to. Every line is handed to the system as soon as it is made.

    A line without its newline is one that a killed process did not finish: it is dropped when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        """Raises `RunError` where the file cannot be written."""
        self._path = path
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by close)
            self._drop_torn_line()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line. Raises `RunError` on a full disk; then no part of the line stays in the file."""
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        line = memoryview(text.encode("utf-8", "backslashreplace") + b"\n")  # a lone surrogate becomes its JSON escape
        with explain_os_errors(self._path):
            before = self._size()
            try:
                while line:
                    line = line[self._file.write(line) :]
            except BaseException:
                with suppress(OSError):
                    self._file.truncate(before)
                raise

    def offset(self) -> int:
        """Bytes written so far, all of them safe on the disk: where to `truncate` when a run resumes from here."""
        with explain_os_errors(self._path):
            os.fsync(self._file.fileno())
            return self._size()

    def truncate(self, offset: int) -> None:
        """Drop every line after `offset`. Raises `RunError` where the file cannot have been this long."""
        with explain_os_errors(self._path):
            size = self._size()
            at_line_end = offset == 0 or (0 < offset <= size and self._read(offset - 1, 1) == b"\n")
            if not at_line_end:
                raise RunError(
                    f"{self._path} has {size} bytes and no line that ends at byte {offset}, where the checkpoint "
                    "expects one; the file was changed since: put it back, or begin a new run"
                )
            self._file.truncate(offset)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _read(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        return self._file.read(count)

    def _drop_torn_line(self) -> None:
        end = size = self._size()
        while end:
            start = max(0, end - 65536)
            newline = self._read(start, end - start).rfind(b"\n")
            end = start + newline + 1
            if newline >= 0:
                break
        if end < size:
            self._file.truncate(end)


class MetricsLog:
    """`metrics.jsonl`: one line a step."""

    def __init__(self, path: Path) -> None:
        """Appends to the file at `path`; see `JsonLines`."""
        self._lines = JsonLines(path)

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Write the line of a step. A name that the glossary lacks raises `ValueError`."""
        for name in values:
            if name not in GLOSSARY:
                close = difflib.get_close_matches(name, GLOSSARY, n=1)
                maybe = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"metric {name!r} is not in the glossary of ponder.core.metrics{maybe}")
        numbers = {name: float(value) for name, value in values.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self._lines.append({"stage": stage, "step": step, "time": round(time.time(), 3), **finite})

    def offset(self) -> int:
        """See `JsonLines.offset`."""
        return self._lines.offset()

    def truncate(self, offset: int) -> None:
        """See `JsonLines.truncate`."""
        self._lines.truncate(offset)

    def close(self) -> None:
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`. A value that was not finite is left out: what is missing is unknown."""
    return [{name: value for name, value in line.items() if value is not None} for line in read_json_lines(path)]


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Every complete line of a file of JSON objects; a last line that was cut off is left out.

    Raises `RunError` where the file is missing or a line is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was never finished
    except FileNotFoundError:
        raise RunError(f"there is no file {path}; the run has not logged anything yet") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise RunError(f"{path}, line {number} is damaged: {line[:60]!r}; expected a JSON object; remove the line")
        records.append(record)
    return records
