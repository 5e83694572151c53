"""A client that leaves, in the dialects whose streams have named events."""

import asyncio
import json
from typing import Any

import pytest

from dialects import act, dialect_app
from ponder.serve.scripted import ScriptedBackend
from ponder.serve.service import Service
from wire_server import exchange

JSON = (("content-type", "application/json"),)
BODIES: dict[str, dict[str, Any]] = {
    "/v1/responses": {"model": "scripted", "input": "hi"},
    "/v1/messages": {"model": "scripted", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]},
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [True, False])
def test_nothing_is_generated_for_who_has_left(path: str, stream: bool) -> None:
    async def run() -> tuple[int, bool]:
        backend = ScriptedBackend(act, tokens_per_second=20)  # six tokens in 300 ms
        service, gone = Service([backend]), asyncio.Event()
        asyncio.get_running_loop().call_later(0.12, gone.set)
        body = json.dumps({**BODIES[path], "stream": stream}).encode()
        answer = await exchange(dialect_app(service), path, body, headers=JSON, gone=gone)
        assert (backend.running, service.running) == (0, 0)
        return backend.drawn_tokens, answer.complete

    tokens, complete = asyncio.run(run())
    assert 1 <= tokens <= 4
    assert not complete
