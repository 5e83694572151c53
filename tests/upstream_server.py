"""A server in this process that does to a client whatever a test wants: exact bytes, silence, early ends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, object]


@dataclass
class Upstream:
    """The server, and what it saw."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)  # a client closed while an answer was under way


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def chunk(delta: dict[str, object] | None = None, reason: str | None = None, **further: object) -> bytes:
    """An event of a chat's stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return event({"id": "x", "object": "chat.completion.chunk", "choices": choices, **further})


def event(data: object) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def piece(data: bytes) -> bytes:
    """As a piece of a chunked body; b"" ends it."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def says(*pieces: bytes) -> Answer:
    """A well-formed stream."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"".join(map(piece, pieces)) + piece(b""))

    return answer


def says_then_hangs(*pieces: bytes) -> Answer:
    """A stream that falls silent."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"".join(map(piece, pieces)))
        await writer.drain()
        await asyncio.sleep(60)

    return answer


def refuses(status: str, body: bytes = b"", *headers: str) -> Answer:
    """A whole response of another status."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "content-type: application/json", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return answer


def sends(raw: bytes) -> Answer:
    """These bytes, and the end of the connection."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    return answer


@asynccontextmanager
async def upstream(answer: Answer, models: object = None) -> AsyncIterator[Upstream]:
    """A server whose completions are this answer; its list of models holds "big" unless another is given."""
    state = Upstream()
    listed = {"data": [{"id": "big", "created": 7, "max_model_len": 4096}]} if models is None else models

    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        state.connections += 1
        try:
            while (request := await _received(reader)) is not None:
                state.requests.append(request)
                if request.method == "GET":
                    await refuses("200 OK", json.dumps(listed).encode())(request, writer)
                else:
                    await _answered(answer, request, reader, writer, state)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            state.lost.set()
        except asyncio.CancelledError:
            return  # the end of the test
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answered(
    answer: Answer, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Upstream
) -> None:
    """Answer, and notice when the client goes away meanwhile."""
    work = asyncio.ensure_future(answer(request, writer))
    gone = asyncio.ensure_future(reader.read(1))
    await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        state.lost.set()
    for task in (work, gone):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _received(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, json.loads(body) if body else {})
