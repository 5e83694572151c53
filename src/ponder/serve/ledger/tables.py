"""The ledger, double-entry: every entry has postings whose amounts sum to 0.

An owner is an account, or "" for the house. The books of an account are `granted` (given, spent first), `topped_up`
(paid for) and `reserved` (held back for requests under way). The house has `revenue`, and `grants` and `payments`, from
which money comes: their amounts are below zero.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from ponder.serve.storage.tables import CountingKey, metadata

# The sums of an account's books, kept along: what a request may spend is decided on one row. The database itself
# refuses a sum below zero.
wallets = Table(
    "wallets",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("granted", BigInteger, nullable=False),
    Column("topped_up", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    CheckConstraint("granted >= 0", name="granted"),
    CheckConstraint("topped_up >= 0", name="topped_up"),
    CheckConstraint("reserved >= 0", name="reserved"),
)

entries = Table(
    "ledger_entries",
    metadata,
    Column("id", CountingKey, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("reference", String(200), nullable=False),  # the ask's id, or what makes a credit happen once only
    Column("created_ms", BigInteger, nullable=False),
    Column("note", String(500), nullable=False),
    UniqueConstraint("kind", "reference"),
    CheckConstraint("kind IN ('grant', 'credit', 'reserve', 'settle', 'release')", name="kind"),
)

postings = Table(
    "ledger_postings",
    metadata,
    Column("entry_id", ForeignKey("ledger_entries.id"), primary_key=True),
    Column("owner", String(32), primary_key=True),
    Column("book", String(16), primary_key=True),
    Column("currency", String(3), nullable=False),
    Column("micro_units", BigInteger, nullable=False),
    CheckConstraint("micro_units <> 0", name="micro_units"),
    Index(None, "owner", "book"),
)

# Requests under way. A row is there from `reserve` to `settle`.
reservations = Table(
    "reservations",
    metadata,
    Column("ask_id", String(100), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("granted", BigInteger, nullable=False),  # how much of what is held came from which book
    Column("topped_up", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("ask_id", String(100), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("key_id", String(32)),  # NULL: asked in the browser
    Column("model", String(200), nullable=False),
    Column("finished_ms", BigInteger, nullable=False),
    Column("cache_hit_tokens", Integer, nullable=False),
    Column("cache_miss_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),  # of the completion's
    Column("micro_units", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("finish_reason", String(40), nullable=False),
    Index(None, "account_id", "finished_ms"),
    Index(None, "finished_ms"),
)
