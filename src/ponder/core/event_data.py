"""The data of server-sent events out of bytes that were cut anywhere (WHATWG's HTML standard, section 9.2)."""


class LineTooLongError(ValueError):
    """A line, or one event's data, is longer than the bound."""


class EventData:
    """Feed it what comes; it gives the data of every event that is complete."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""  # the beginning of a line
        self._data: list[bytes] = []  # lines of the event that is not complete
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises `LineTooLongError`."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > self._max_bytes:
            raise LineTooLongError
        found: list[bytes] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data, self._size = [], 0
            elif line.startswith(b"data:"):
                self._size += len(line)
                if self._size > self._max_bytes:
                    raise LineTooLongError
                self._data.append(line[5:].removeprefix(b" "))
        return found

    def finish(self) -> list[bytes]:
        """What is left at the end of the stream, where no empty line ended the last event."""
        return self.feed(b"\n\n")
