"""What an operator says about another server: where it is, what it is called here, and how it tells thoughts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ponder.core.errors import ConfigError, RunError
from ponder.core.keys import plain_key, read_key

# How a server is told whether and how much to think, and to go on from the beginning of a reply.
#   "deepseek"  `thinking`, `reasoning_effort`, `thinking_budget`; `prefix` on the beta path (DeepSeek, Ponder)
#   "template"  `chat_template_kwargs`; `continue_final_message` (vLLM, SGLang, llama.cpp)
#   "openai"    `reasoning_effort` alone
# A thought's budget has an effect only where the server knows it.
Style = Literal["deepseek", "template", "openai"]
# Where a thought stands: in a field of its own, between <think> and </think> in the answer, or from the beginning of
# the answer to </think>, as with templates that open the thought themselves.
Reasoning = Literal["field", "tags", "opened"]


class Key:
    """A secret that no message, log or representation shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Key(…)"

    def reveal(self) -> str:
        return self._text

    def hidden_in(self, text: str) -> str:
        """A text without the secret."""
        return text.replace(self._text, "…")


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamSettings:
    """One server. Times are in seconds."""

    url: str  # up to and with "/v1"
    key_variable: str | None = None  # the environment variable that holds the key
    key_file: Path | None = None  # or the file
    models: Mapping[str, str] | None = None  # our name to the server's; None: all that it lists, by its own names
    style: Style = "deepseek"
    reasoning: Reasoning = "field"
    thinks: bool = True
    tools: bool = True
    completions: bool = True
    infill: bool = False
    context: int = 32768  # tokens, where the server does not tell
    max_tokens: int = 8192  # of a request that names no limit: what is reserved and charged at most
    connect_seconds: float = 5.0
    first_byte_seconds: float = 300.0  # some send nothing, not even headers, before the first token
    silence_seconds: float = 60.0  # between two pieces; comments that keep the connection alive count
    total_seconds: float = 3600.0
    max_line_bytes: int = 1 << 20
    max_connections: int = 256

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"an upstream's url is {self.url[:100]!r}; expected http:// or https:// and a host")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigError(
                f"the url of the upstream at {parts.hostname} holds a user name, a query or a fragment; leave them "
                "out, and name the key by key_variable or key_file"
            )
        if self.key_variable is not None and self.key_file is not None:
            raise ConfigError(f"the upstream at {self.host} has both key_variable and key_file; give one of them")
        for name in ("context", "max_tokens", "connect_seconds", "first_byte_seconds", "silence_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"the upstream at {self.host}: {name} = {getattr(self, name)}; expected more than 0")

    @property
    def host(self) -> str:
        """What messages call the server."""
        return urlsplit(self.url).netloc

    def read_key(self, environment: Mapping[str, str] = os.environ) -> Key | None:
        """The key; None where the server needs none. Raises `ConfigError`, without the key, where it cannot be had."""
        try:
            if self.key_variable is not None:
                text = environment.get(self.key_variable, "")
                return Key(plain_key(text, f"the environment variable {self.key_variable}"))
            return None if self.key_file is None else Key(read_key(self.key_file))
        except (ConfigError, RunError) as error:
            raise ConfigError(f"the key of the upstream at {self.host} cannot be read: {error}") from None
