"""What a run has told, kept while somebody may still ask for it: every reader sees the same events, from wherever it
left off.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection

MAX_BYTES_AT_ONCE = 64 * 1024  # of one send to a reader who has to catch up
KEEP_ALIVE = b": keep-alive\n\n"


class EventLog:
    """Server-sent events with ids 1, 2, 3, … (WHATWG HTML, "Server-sent events")."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._changed = asyncio.Event()
        self.ended = False
        self.size = 0  # bytes

    @property
    def last_id(self) -> int:
        return len(self._frames)

    def append(self, name: str, data: dict[str, object]) -> None:
        frame = encode_event(name, data, len(self._frames) + 1)
        self._frames.append(frame)
        self.size += len(frame)
        self._wake()

    def blank(self, names: Collection[str]) -> None:
        """Take the text out of all events of these names: who reads them again gets nothing of it."""
        for place, frame in enumerate(self._frames):
            name = frame.split(b"\n", 2)[1].removeprefix(b"event: ").decode()
            if name in names:
                self.size -= len(frame)
                self._frames[place] = encode_event(name, {"text": ""}, place + 1)
                self.size += len(self._frames[place])

    def end(self) -> None:
        """No event comes any more."""
        self.ended = True
        self._wake()

    async def follow(self, after: int, keep_alive_seconds: float) -> AsyncGenerator[bytes]:
        """The events behind number `after`, as they come, until the log ends."""
        place = after
        while True:
            while place < len(self._frames):
                piece = bytearray(self._frames[place])
                place += 1
                while place < len(self._frames) and len(piece) < MAX_BYTES_AT_ONCE:
                    piece += self._frames[place]
                    place += 1
                yield bytes(piece)
            if self.ended:
                return
            changed = self._changed
            try:
                async with asyncio.timeout(keep_alive_seconds):
                    await changed.wait()
            except TimeoutError:
                yield KEEP_ALIVE

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class TextBatch:
    """Passes the first piece of text on at once, and collects what follows for a moment: a page that draws every token
    of a fast model does nothing else.
    """

    def __init__(self, pass_on: Callable[[str, str], None], seconds: float) -> None:
        self._pass_on = pass_on  # kind and text
        self._seconds = seconds
        self._kind = ""
        self._pieces: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, kind: str, text: str) -> None:
        if kind != self._kind:
            self.flush()
            self._kind = kind
        self._pieces.append(text)
        if self._timer is None:
            self._tick()

    def flush(self) -> None:
        """Pass on what is there, and stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pieces:
            text = "".join(self._pieces)
            self._pieces.clear()
            self._pass_on(self._kind, text)

    def drop(self) -> None:
        """Forget what is there, and stop the timer."""
        self._pieces.clear()
        self.flush()

    def _tick(self) -> None:
        waiting = bool(self._pieces)
        self.flush()
        if waiting:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._tick)


def encode_event(name: str, data: dict[str, object], number: int) -> bytes:
    """One event as it goes over the wire. JSON has no bare line ends, so `data` is one line."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"id: {number}\nevent: {name}\ndata: {text}\n\n".encode("utf-8", "replace")
