"""Metrics in Prometheus' text form. Names and buckets stand near vLLM's (`vllm:num_requests_running` is
`ponder_num_requests_running`), so that its dashboards need little more than another prefix.

No label holds an account, a key or an id: the number of series is bounded.
"""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from ponder.core.streaming import Speculated
from ponder.serve.operations.watch import Outcome
from ponder.serve.seams import Speculating

CONTENT_TYPE = CONTENT_TYPE_LATEST
_MOST_VALUES = 64  # of one label; further ones are "other"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 640)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_TOKENS = (16, 64, 256, 1024, 4096, 16384, 65536)


class BoundedLabel:
    """The values of one label: at most so many, then "other"."""

    def __init__(self, most: int = _MOST_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return "other"
            self._known.add(value)
        return value


class ModelMetrics:
    """The series of one model, looked up once."""

    def __init__(self, metrics: "Metrics", model: str) -> None:
        self._metrics, self._model = metrics, model
        self._prompt_tokens = metrics.prompt_tokens.labels(model)
        self._generation_tokens = metrics.generation_tokens.labels(model)
        self._reasoning_tokens = metrics.reasoning_tokens.labels(model)
        self._cache_queries = metrics.cache_queries.labels(model)
        self._cache_hits = metrics.cache_hits.labels(model)
        self._first_token = metrics.first_token_seconds.labels(model)
        self._per_token = metrics.token_seconds.labels(model)
        self._latency = metrics.latency_seconds.labels(model)
        self._queue = metrics.queue_seconds.labels(model)
        self._request_prompt = metrics.request_prompt_tokens.labels(model)
        self._request_generation = metrics.request_generation_tokens.labels(model)
        self._finished: dict[str, Counter] = {}

    def record(self, outcome: Outcome) -> None:
        usage = outcome.usage
        finished = self._finished.get(outcome.reason)
        if finished is None:
            reason = self._metrics.reasons(outcome.reason)
            finished = self._finished[outcome.reason] = self._metrics.finished.labels(self._model, reason)
        finished.inc()
        self._latency.observe(outcome.seconds)
        if outcome.queue_seconds is not None:
            self._queue.observe(outcome.queue_seconds)
        if outcome.first_token_seconds is not None:
            self._first_token.observe(outcome.first_token_seconds)
        if (per_token := outcome.seconds_per_token) is not None:
            self._per_token.observe(per_token)
        if usage.prompt_tokens:
            self._prompt_tokens.inc(usage.prompt_tokens)
            self._cache_queries.inc(usage.prompt_tokens)
            self._cache_hits.inc(usage.cache_hit_tokens)
            self._request_prompt.observe(usage.prompt_tokens)
            self._generation_tokens.inc(usage.completion_tokens)
            self._reasoning_tokens.inc(usage.reasoning_tokens)
            self._request_generation.observe(usage.completion_tokens)


class SpeculationCollector(Collector):
    """Series of what engines count themselves, read when they are asked for."""

    def __init__(self, read: Callable[[], Iterable[tuple[str, Speculated]]]) -> None:
        """`read` tells models and their counts."""
        self._read = read

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See prometheus_client's `Collector`."""
        series = {
            "drafts": "Guesses of how a text goes on that were checked.",
            "draft_tokens": "Tokens guessed.",
            "accepted_tokens": "Tokens guessed that were then drawn.",
        }
        told = list(self._read())
        for name, text in series.items():
            family = CounterMetricFamily(f"ponder_spec_decode_num_{name}", text, labels=("model_name", "drafter"))
            for model, counts in told:
                family.add_metric((model, counts.drafter), getattr(counts, name))
            yield family


class Metrics:
    """All series of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.models, self.reasons, self.rejections = BoundedLabel(), BoundedLabel(), BoundedLabel()
        self._of: dict[str, ModelMetrics] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._make_request_series()
        self._make_server_series()

    def _make_request_series(self) -> None:
        model = ("model_name",)
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts.", model)
        self.generation_tokens = self._counter("generation_tokens", "Tokens generated, thoughts included.", model)
        self.reasoning_tokens = self._counter("reasoning_tokens", "Tokens generated inside thoughts.", model)
        self.cache_queries = self._counter("prefix_cache_queries", "Prompt tokens looked up in the cache.", model)
        self.cache_hits = self._counter("prefix_cache_hits", "Prompt tokens found in the cache.", model)
        self.finished = self._counter(
            "request_success", "Requests that ended, by why their samples did.", ("model_name", "finished_reason")
        )
        self.first_token_seconds = self._histogram(
            "time_to_first_token_seconds", "From a request's start to its first token.", _SECONDS
        )
        self.token_seconds = self._histogram(
            "time_per_output_token_seconds", "Seconds per token after the first one.", _TOKEN_SECONDS
        )
        self.latency_seconds = self._histogram("e2e_request_latency_seconds", "From start to end.", _SECONDS)
        self.queue_seconds = self._histogram("request_queue_time_seconds", "From start to a request's turn.", _SECONDS)
        self.request_prompt_tokens = self._histogram("request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self.request_generation_tokens = self._histogram(
            "request_generation_tokens", "Tokens generated for a request.", _TOKENS
        )

    def _make_server_series(self) -> None:
        self.rejected = self._counter("requests_rejected", "Requests sent away, by the error's code.", ("reason",))
        self.troubles = self._counter("troubles", "What an operator should know of, by kind.", ("kind",))
        self.dropped = self._counter("connections_dropped", "Connections ended by a limit.", ("reason",))
        self.responses = self._counter("http_responses", "Answers, by status.", ("code",))

    def observe_gauges(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        """Series read when they are asked for: name to help and function."""
        for name, (text, read) in gauges.items():
            Gauge(f"ponder_{name}", text, registry=self.registry).set_function(read)

    def observe_speculation(self, backends: Sequence[Speculating]) -> None:
        """Series of the guesses of these backends' engines."""
        self.registry.register(
            SpeculationCollector(
                lambda: (
                    (self.models(model), counts)
                    for backend in backends
                    for model, counts in backend.speculated().items()
                )
            )
        )

    def record(self, outcome: Outcome) -> None:
        """Count what came of a request."""
        if outcome.rejected:
            self.rejected.labels(self.rejections(outcome.reason)).inc()
            return
        name = self.models(outcome.model)
        series = self._of.get(name)
        if series is None:
            series = self._of[name] = ModelMetrics(self, name)
        series.record(outcome)

    def text(self) -> bytes:
        """The body of `/metrics`."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"ponder_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"ponder_{name}", text, ("model_name",), buckets=buckets, registry=self.registry)
