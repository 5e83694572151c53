"""Accounts, sessions, keys and invitations; the ledger and what requests used."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_COUNTING_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _create_accounts()
    _create_logins()
    _create_ledger()
    _create_requests()


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(320), nullable=False),
        sa.Column("name_key", sa.String(640), nullable=False),
        sa.Column("password_hash", sa.String(255)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("admin", sa.Boolean, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended', 'deleted')", name=op.f("ck_accounts_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name_key", name=op.f("uq_accounts_name_key")),
    )


def _create_logins() -> None:
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("seen_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sessions")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_sessions_account_id_accounts"), ondelete="CASCADE"
        ),
    )
    op.create_index(op.f("ix_sessions_account_id"), "sessions", ["account_id"])
    op.create_index(op.f("ix_sessions_expires_ms"), "sessions", ["expires_ms"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("last4", sa.String(4), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("last_used_ms", sa.BigInteger),
        sa.Column("revoked_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_api_keys_account_id_accounts"), ondelete="CASCADE"
        ),
    )
    op.create_index(op.f("ix_api_keys_account_id"), "api_keys", ["account_id"])
    op.create_table(
        "invites",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("uses_left", sa.Integer, nullable=False),
        sa.CheckConstraint("uses_left >= 0", name=op.f("ck_invites_uses_left")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_invites")),
    )


def _create_ledger() -> None:
    op.create_table(
        "wallets",
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("granted", sa.BigInteger, nullable=False),
        sa.Column("topped_up", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.CheckConstraint("granted >= 0", name=op.f("ck_wallets_granted")),
        sa.CheckConstraint("topped_up >= 0", name=op.f("ck_wallets_topped_up")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_wallets_reserved")),
        sa.PrimaryKeyConstraint("account_id", "currency", name=op.f("pk_wallets")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_wallets_account_id_accounts")),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", _COUNTING_KEY, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reference", sa.String(200), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
        sa.CheckConstraint(
            "kind IN ('grant', 'credit', 'reserve', 'settle', 'release')", name=op.f("ck_ledger_entries_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("kind", "reference", name=op.f("uq_ledger_entries_kind_reference")),
    )
    op.create_table(
        "ledger_postings",
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("book", sa.String(16), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("micro_units", sa.BigInteger, nullable=False),
        sa.CheckConstraint("micro_units <> 0", name=op.f("ck_ledger_postings_micro_units")),
        sa.PrimaryKeyConstraint("entry_id", "owner", "book", name=op.f("pk_ledger_postings")),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["ledger_entries.id"], name=op.f("fk_ledger_postings_entry_id_ledger_entries")
        ),
    )
    op.create_index(op.f("ix_ledger_postings_owner_book"), "ledger_postings", ["owner", "book"])


def _create_requests() -> None:
    op.create_table(
        "reservations",
        sa.Column("ask_id", sa.String(100), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("granted", sa.BigInteger, nullable=False),
        sa.Column("topped_up", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("ask_id", name=op.f("pk_reservations")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_reservations_account_id_accounts")),
    )
    op.create_table(
        "usage",
        sa.Column("ask_id", sa.String(100), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("key_id", sa.String(32)),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("finished_ms", sa.BigInteger, nullable=False),
        sa.Column("cache_hit_tokens", sa.Integer, nullable=False),
        sa.Column("cache_miss_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("reasoning_tokens", sa.Integer, nullable=False),
        sa.Column("micro_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("finish_reason", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("ask_id", name=op.f("pk_usage")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_usage_account_id_accounts")),
    )
    op.create_index(op.f("ix_usage_account_id_finished_ms"), "usage", ["account_id", "finished_ms"])
    op.create_index(op.f("ix_usage_finished_ms"), "usage", ["finished_ms"])
