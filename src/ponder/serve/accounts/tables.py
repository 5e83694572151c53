"""Accounts, and how their owners are known again. No table holds a password, a token or a key: only digests."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from ponder.serve.storage.tables import metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(320), nullable=False),  # as its owner writes it
    Column("name_key", String(640), nullable=False, unique=True),  # by which two names are the same
    Column("password_hash", String(255)),  # argon2id with its parameters; NULL: no login, only keys
    Column("state", String(16), nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    CheckConstraint("state IN ('active', 'suspended', 'deleted')", name="state"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the token in the cookie
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),  # brought up to date now and then, not at every request
    Column("expires_ms", BigInteger, nullable=False),
    Index(None, "account_id"),
    Index(None, "expires_ms"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),  # of the key
    Column("last4", String(4), nullable=False),  # of its characters: by these its owner tells it from others
    Column("created_ms", BigInteger, nullable=False),
    Column("last_used_ms", BigInteger),  # to within some minutes
    Column("revoked_ms", BigInteger),  # NULL: valid
    Index(None, "account_id"),
)

invites = Table(
    "invites",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the invitation's code
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("uses_left", Integer, nullable=False),
    CheckConstraint("uses_left >= 0", name="uses_left"),
)
