"""The engine's log-probabilities in the words of the wire: text and bytes instead of ids."""

from ponder.core.streaming import Likeliest
from ponder.serve.records import TokenLogprob
from ponder.text.tokenizer import Tokenizer


def token_logprob(tokenizer: Tokenizer, token: int, logprob: float, likeliest: Likeliest) -> TokenLogprob:
    """A sampled token with the likeliest at its place. Bytes in the middle of a character show as U+FFFD in `token`."""
    return _named(tokenizer, token, logprob, tuple(_named(tokenizer, i, value) for i, value in likeliest))


def _named(tokenizer: Tokenizer, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    data = tokenizer.bytes_of(token)
    return TokenLogprob(token=data.decode("utf-8", errors="replace"), bytes=tuple(data), logprob=logprob, top=top)
