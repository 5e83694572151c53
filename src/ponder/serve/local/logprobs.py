"""The engine's log-probabilities in the words of the wire: text and bytes instead of ids."""

from dataclasses import replace

from ponder.core.streaming import Likeliest
from ponder.serve.records import TokenLogprob
from ponder.text.tokenizer import Tokenizer


def token_logprob(
    tokenizer: Tokenizer, token: int, logprob: float, likeliest: Likeliest, offset: int | None = None
) -> TokenLogprob:
    """A sampled token with the likeliest at its place. Bytes in the middle of a character show as U+FFFD in `token`."""
    top = tuple(_named(tokenizer, i, value) for i, value in likeliest)
    return replace(_named(tokenizer, token, logprob), top=top, offset=offset)


def _named(tokenizer: Tokenizer, token: int, logprob: float) -> TokenLogprob:
    data = tokenizer.bytes_of(token)
    return TokenLogprob(token=data.decode("utf-8", errors="replace"), bytes=tuple(data), logprob=logprob)


class TokenPlaces:
    """Where the tokens of one sample stand in its text, in characters. A token that goes on with a character stands
    where that does.
    """

    def __init__(self, tokenizer: Tokenizer, start: int) -> None:
        """`start`: characters before the first token."""
        self._decoder = tokenizer.stream_decoder(skip_control=True, at_start=False)
        self._at = start

    def push(self, token: int) -> int:
        """The place of the next token."""
        at = self._at
        self._at += len(self._decoder.push(token))
        return at

    def skip(self, text: str) -> None:
        """Text stands here that is that of no token."""
        self._at += len(text)
