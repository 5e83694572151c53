"""All settings of a server, and what they must not be together."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ponder.core.errors import ConfigError
from ponder.serve.accounts.config import AccountsConfig
from ponder.serve.ledger.prices import PricesConfig
from ponder.serve.limits.settings import BrakeSettings, GateSettings, LanesSettings
from ponder.serve.moderation.config import ModerationConfig
from ponder.serve.operations.settings import OperationsSettings
from ponder.serve.server import ServerSettings
from ponder.serve.storage.config import StorageConfig
from ponder.serve.upstream.settings import UpstreamSettings
from ponder.serve.wire.settings import WireSettings


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """`ponder serve --config FILE` reads these from TOML; `--section.key=value` changes single ones."""

    public_url: str | None = None  # where people find the server, if a proxy stands between: https://chat.example.org
    hosts: tuple[str, ...] = ()  # further names by which it may be asked for, without ports
    open_to_network: bool = False  # without accounts, answer other machines too: whoever reaches the port may use it
    upstreams: Mapping[str, UpstreamSettings] = field(default_factory=dict)  # other servers whose models are offered
    server: ServerSettings = field(default_factory=ServerSettings)
    api: WireSettings = field(default_factory=WireSettings)
    accounts: AccountsConfig = field(default_factory=AccountsConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    prices: PricesConfig = field(default_factory=PricesConfig)
    limits: GateSettings = field(default_factory=GateSettings)
    lanes: LanesSettings = field(default_factory=LanesSettings)
    brake: BrakeSettings = field(default_factory=BrakeSettings)
    moderation: ModerationConfig = field(default_factory=ModerationConfig)
    operations: OperationsSettings = field(default_factory=OperationsSettings)

    @property
    def has_accounts(self) -> bool:
        return self.accounts.mode == "accounts"

    @property
    def is_local(self) -> bool:
        """Whether it listens where no other machine can reach it."""
        return self.server.uds is not None or is_loopback_host(self.server.host)

    @property
    def is_reached_by_others(self) -> bool:
        """Whether other machines are meant to reach it, directly or by a proxy."""
        if self.public_url is not None:
            return not is_loopback_host(urlsplit(self.public_url).hostname or "")
        return not self.is_local


def check_safe(config: ServeConfig) -> None:
    """Raises `ConfigError` with the reason for settings that would leave a server open to whoever comes along."""
    if config.public_url is not None and urlsplit(config.public_url).scheme not in ("http", "https"):
        raise ConfigError(f"public_url = {config.public_url!r}; expected an address such as https://chat.example.org")
    if not config.has_accounts:
        _check_open(config)
    elif config.is_reached_by_others:
        _check_accounts(config)


def _check_open(config: ServeConfig) -> None:
    if config.prices.models:
        raise ConfigError("prices need somebody who pays; set accounts.mode = 'accounts', or leave the prices out")
    if config.is_reached_by_others and not config.open_to_network:
        raise ConfigError(
            f"the server would answer everybody who reaches {config.public_url or config.server.host}, without asking "
            "who they are. Set accounts.mode = 'accounts'; or, for a network where everybody may use it, "
            "open_to_network = true; or listen on 127.0.0.1"
        )


def _check_accounts(config: ServeConfig) -> None:
    lane = config.lanes.registration
    if config.accounts.registration == "open" and not (lane.per_minute and lane.address_per_minute):
        raise ConfigError(
            "registration is open to everybody who reaches the server, without a limit. Give lanes.registration both "
            "per_minute and address_per_minute, or set accounts.registration = 'invite'"
        )
    if config.public_url is None or not config.public_url.startswith("https://"):
        raise ConfigError(
            f"accounts at {config.public_url or config.server.host}: passwords and keys would cross the network "
            "unencrypted. Put a proxy with TLS in front and give its https:// address as public_url"
        )


def is_loopback_host(host: str) -> bool:
    """Whether an address or name is this machine's own, which no other machine can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
