"""Log-probabilities as chats and as plain completions tell them."""

from collections.abc import Iterable
from typing import NamedTuple

from ponder.serve.records import Delta, TokenLogprob
from ponder.serve.wire.json_text import quote

_LEAST = -9999.0  # OpenAI's word for a token that cannot be: JSON has no infinity


class Placed(NamedTuple):
    """A token and where its text begins in the sample's, in characters."""

    token: TokenLogprob
    offset: int


def _number(logprob: float) -> str:
    return repr(max(logprob, _LEAST))


def _entry(token: TokenLogprob) -> str:
    content = ",".join(map(str, token.bytes))
    return f'"token":{quote(token.token)},"logprob":{_number(token.logprob)},"bytes":[{content}]'


def chat_entries(tokens: Iterable[TokenLogprob]) -> str:
    """A list, one entry for each token."""
    entries = (
        f'{{{_entry(token)},"top_logprobs":[{",".join(f"{{{_entry(top)}}}" for top in token.top)}]}}'
        for token in tokens
    )
    return f"[{','.join(entries)}]"


def chat_logprobs(content: Iterable[TokenLogprob], reasoning: Iterable[TokenLogprob]) -> str:
    """OpenAI's object; DeepSeek tells the thought's tokens beside the answer's."""
    thought, answer = chat_entries(reasoning), chat_entries(content)
    if thought == "[]":
        return f'{{"content":{answer},"refusal":null}}'
    return f'{{"content":{answer if answer != "[]" else "null"},"refusal":null,"reasoning_content":{thought}}}'


def placed(delta: Delta, start: int) -> list[Placed]:
    """The tokens of a delta with their places in the sample's text, of which `start` characters are before it. A token
    without one stands where the text of the one before it ends, and never beyond the delta.
    """
    found, at = [], start
    for token in delta.logprobs:
        at = token.offset if token.offset is not None else min(at, start + max(len(delta.text) - 1, 0))
        found.append(Placed(token, at))
        at += len(token.token)
    return found


def completion_logprobs(tokens: Iterable[Placed]) -> str:
    """The columns of OpenAI's first completion API."""
    texts, numbers, tops, offsets = [], [], [], []
    for token, offset in tokens:
        texts.append(quote(token.token))
        numbers.append(_number(token.logprob))
        best = {top.token: top.logprob for top in (*token.top, token)} if token.top else {}
        tops.append("{" + ",".join(f"{quote(text)}:{_number(value)}" for text, value in best.items()) + "}")
        offsets.append(str(offset))
    return (
        f'{{"tokens":[{",".join(texts)}],"token_logprobs":[{",".join(numbers)}],'
        f'"top_logprobs":[{",".join(tops)}],"text_offset":[{",".join(offsets)}]}}'
    )
