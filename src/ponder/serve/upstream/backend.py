"""Models that an OpenAI-compatible server runs: vLLM, SGLang, llama.cpp, DeepSeek, or another Ponder.

Its address comes from the operator alone, redirects are not followed, and neither proxies nor passwords are taken from
the environment: no request of a user's can lead anywhere else.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

import httpx
from pydantic_core import from_json

from ponder.core.errors import ConfigError
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Caller, Conversation, ModelInfo, PlainText
from ponder.serve.upstream.chunks import ChunkReader
from ponder.serve.upstream.failures import MAX_ERROR_BYTES, broken, refused, timed_out, unreachable
from ponder.serve.upstream.generation import UpstreamGeneration
from ponder.serve.upstream.request import Json, request_of
from ponder.serve.upstream.settings import Key, UpstreamSettings

logger = logging.getLogger(__name__)

_PROBE_SECONDS = 3.0  # for the list of models
_READY_SECONDS = 5.0  # for which an answer to "are you ready" is taken as still true
_MAX_LIST_BYTES = 4 << 20
_BYTES_PER_TOKEN = 3  # of text, on average or fewer: prompts are estimated rather too long than too short
_TOKENS_PER_TURN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamPrepared:
    """See `ponder.serve.seams.Prepared`. The prompt's length is an estimate."""

    ask: Ask
    url: str
    body: Json
    prompt_tokens: int
    max_completion_tokens: int


class UpstreamBackend:
    """See `ponder.serve.seams.Backend`. Made by `open`."""

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        key: Key | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._key, self._clock = settings, key, clock
        self._models: dict[str, ModelInfo] = {}
        self._names: dict[str, str] = dict(settings.models or {})  # ours to theirs
        self._url = settings.url.rstrip("/")
        # answers are asked for uncompressed: a small one cannot unpack to a large one
        headers = {"accept-encoding": "identity"}
        if key is not None:
            headers["authorization"] = f"Bearer {key.reveal()}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=settings.connect_seconds, pool=settings.connect_seconds),
            limits=httpx.Limits(max_connections=settings.max_connections, max_keepalive_connections=32),
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )
        self._probing = asyncio.Lock()
        self._ready: tuple[float, bool] | None = None  # when it was asked, and the answer
        self._said_estimated = False

    @classmethod
    async def open(
        cls,
        settings: UpstreamSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Read the key and ask for the models. Raises `ConfigError` where there is no key, or where no models are
        named and none can be asked for.
        """
        backend = cls(settings, key=settings.read_key(), transport=transport, clock=clock)
        try:
            await backend._discover()
        except BaseException:
            await backend.close()
            raise
        return backend

    @property
    def models(self) -> Sequence[ModelInfo]:
        return tuple(self._models.values())

    async def prepare(self, ask: Ask, caller: Caller) -> UpstreamPrepared:
        info = self._models[ask.model]
        if isinstance(ask.prompt, PlainText):
            if not info.completions or (ask.prompt.suffix is not None and not info.infill):
                what = "a suffix" if info.completions else "plain completions"
                raise ApiError(422, f"the model {info.id!r} does not take {what}", param="model")
        elif ask.prompt.tools and not info.tools:
            raise ApiError(422, f"the model {info.id!r} does not call tools", param="tools")
        max_tokens = min(ask.max_tokens or self._settings.max_tokens, info.context)
        path, body = request_of(ask, self._names[info.id], max_tokens, self._settings)
        return UpstreamPrepared(
            ask=ask,
            url=self._base(ask) + path,
            body=body,
            prompt_tokens=min(estimated_tokens(ask), info.context),
            max_completion_tokens=max_tokens * ask.n,
        )

    async def start(self, prepared: UpstreamPrepared) -> UpstreamGeneration:
        reader = ChunkReader(prepared.ask, prepared.prompt_tokens, self._settings)
        return UpstreamGeneration(
            partial(self._send, prepared),
            reader,
            prepared.max_completion_tokens,
            self._settings,
            self._clock,
            self._note_estimated,
        )

    async def tokenize(self, model: str, text: str) -> tuple[int, ...]:
        raise _no_tokens(model)

    async def detokenize(self, model: str, ids: Sequence[int]) -> str:
        raise _no_tokens(model)

    async def ready(self) -> bool:
        async with self._probing:
            now = self._clock()
            if self._ready is None or now - self._ready[0] >= _READY_SECONDS:
                self._ready = now, False  # and it stays so where whoever asks gives up waiting
                with suppress(ApiError):
                    await self._list()
                    self._ready = now, True
            return self._ready[1]

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, prepared: UpstreamPrepared) -> httpx.Response:
        """Send it and wait until the server begins to answer. Raises `ApiError` for its refusals."""
        request = self._client.build_request("POST", prepared.url, json=prepared.body)
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise self._failed(unreachable()) from None
        except httpx.HTTPError:
            raise self._failed(broken("broke the connection; try again")) from None
        if response.status_code != 200:
            raise self._failed(await self._refusal(response))
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            await response.aclose()
            raise self._failed(broken("does not stream its answer"))
        return response

    def _note_estimated(self) -> None:
        if not self._said_estimated:
            self._said_estimated = True
            logger.warning("upstream %s does not tell its counts of tokens; they are estimated", self._settings.host)

    def _base(self, ask: Ask) -> str:
        """DeepSeek goes on from a given beginning, and fills in, on a path of its own."""
        special = ask.prompt.prefix if isinstance(ask.prompt, Conversation) else ask.prompt.suffix is not None
        return self._url.removesuffix("/v1") + "/beta" if special and self._settings.style == "deepseek" else self._url

    async def _discover(self) -> None:
        """Fill in the models, by the server's list where there is one."""
        named = self._settings.models
        try:
            listed = {str(entry["id"]): entry for entry in await self._list()}
        except ApiError as error:
            if named is None:
                raise ConfigError(
                    f"the models of the upstream at {self._settings.host} cannot be listed: {error.message}; start "
                    "that server, or name its models in the configuration"
                ) from None
            listed = {}
        if named is None:
            self._names = {name: name for name in listed}
        if not self._names:
            raise ConfigError(f"the upstream at {self._settings.host} lists no models; name them in the configuration")
        for ours, theirs in self._names.items():
            self._models[ours] = self._model(ours, listed.get(theirs, {}))

    def _model(self, name: str, entry: dict[str, object]) -> ModelInfo:
        settings = self._settings
        created, context = entry.get("created"), settings.context
        for field in ("max_model_len", "context_length", "context_window"):  # vLLM's, and those of others
            told = entry.get(field)
            if isinstance(told, int) and 0 < told < 1 << 31:
                context = told
                break
        return ModelInfo(
            id=name,
            created=created if isinstance(created, int) and 0 <= created < 1 << 40 else 0,
            owned_by="upstream",
            context=context,
            thinks=settings.thinks,
            tools=settings.tools,
            completions=settings.completions,
            infill=settings.infill,
            tokenizes=False,
        )

    async def _list(self) -> list[dict[str, object]]:
        """The server's models. Raises `ApiError`."""
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                async with self._client.stream("GET", f"{self._url}/models") as response:
                    if response.status_code != 200:
                        raise await self._refusal(response)
                    body = await _parsed(response, _MAX_LIST_BYTES)
        except TimeoutError:
            raise timed_out() from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise unreachable() from None
        except httpx.HTTPError:
            raise broken("broke the connection") from None
        entries = body.get("data") if isinstance(body, dict) else None
        if not isinstance(entries, list):
            raise broken("does not list its models as OpenAI's API does")
        return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    async def _refusal(self, response: httpx.Response) -> ApiError:
        body: object = None
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                body = await _parsed(response, MAX_ERROR_BYTES)
        except (TimeoutError, httpx.HTTPError):
            body = None  # the status says enough
        finally:
            await response.aclose()
        return refused(response.status_code, body, response.headers.get("retry-after"), self._key)

    def _failed(self, error: ApiError) -> ApiError:
        """The error, after a line in the log where it is the server's and not the caller's."""
        if error.status >= 500:
            logger.warning("upstream %s: %s", self._settings.host, error.message)
        return error


def estimated_tokens(ask: Ask) -> int:
    """About as many tokens as a prompt has, by its bytes."""
    prompt = ask.prompt
    if isinstance(prompt, Conversation):
        texts = [text for m in prompt.messages for text in (m.content, m.reasoning or "")]
        texts += [call.name + call.arguments for m in prompt.messages for call in m.tool_calls]
        texts += [f"{tool.name}{tool.description}{tool.parameters}" for tool in prompt.tools]
        turns = len(prompt.messages) + len(prompt.tools)
    elif isinstance(prompt.text, str):
        texts, turns = [prompt.text, prompt.suffix or ""], 0
    else:
        return len(prompt.text)
    size = sum(len(text.encode(errors="replace")) for text in texts)
    return max(1, math.ceil(size / _BYTES_PER_TOKEN) + _TOKENS_PER_TURN * turns)


async def _parsed(response: httpx.Response, most: int) -> object:
    """A body as JSON; None where it is none or too large."""
    pieces, size = [], 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > most:
            return None
        pieces.append(piece)
    try:
        return from_json(b"".join(pieces))
    except ValueError:
        return None


def _no_tokens(model: str) -> ApiError:
    message = f"the model {model!r} runs on another server, which does not tell its tokens"
    return ApiError(400, message, param="model", code="unsupported_parameter")
