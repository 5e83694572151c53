"""Conversations of the browser app; what the site's rules decided, and appeals."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_COUNTING_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _create_conversations()
    _create_messages()
    _create_moderation()


def _create_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("leaf_id", sa.String(40)),
        sa.Column("model", sa.String(200)),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
    )
    op.create_index(
        op.f("ix_conversations_account_id_updated_ms_id"), "conversations", ["account_id", "updated_ms", "id"]
    )


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("conversation_id", sa.String(40), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("parent_id", sa.String(40)),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.Column("reasoning", sa.Text),
        sa.Column("model", sa.String(200)),
        sa.Column("thinking", sa.Boolean),
        sa.Column("effort", sa.String(16)),
        sa.Column("thinking_seconds", sa.Float),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("cache_hit_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("reasoning_tokens", sa.Integer),
        sa.Column("micro_units", sa.BigInteger),
        sa.Column("currency", sa.String(3)),
        sa.Column("finish_reason", sa.String(40)),
        sa.Column("error", sa.Text),
        sa.Column("notice", sa.Text),
        sa.Column("retracted", sa.Boolean, nullable=False),
        sa.Column("left_out", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(40)),
        sa.CheckConstraint("role IN ('user', 'assistant')", name=op.f("ck_messages_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("conversation_id", "position", name=op.f("uq_messages_conversation_id_position")),
        sa.UniqueConstraint("conversation_id", "request_id", name=op.f("uq_messages_conversation_id_request_id")),
        sa.UniqueConstraint("run_id", name=op.f("uq_messages_run_id")),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_messages_conversation_id_conversations"),
            ondelete="CASCADE",
        ),
    )


def _create_moderation() -> None:
    op.create_table(
        "moderation_audit",
        sa.Column("id", _COUNTING_KEY, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(100), nullable=False),
        sa.Column("sample", sa.Integer, nullable=False),
        sa.Column("part", sa.String(16), nullable=False),
        sa.Column("rule", sa.Integer, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("match_begin", sa.Integer, nullable=False),
        sa.Column("match_end", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("rules_digest", sa.String(64), nullable=False),
        sa.Column("review", sa.String(16), nullable=False),
        sa.CheckConstraint(
            "part IN ('input', 'thought', 'answer', 'tool_call')", name=op.f("ck_moderation_audit_part")
        ),
        sa.CheckConstraint("action IN ('retract', 'refuse', 'flag')", name=op.f("ck_moderation_audit_action")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_moderation_audit")),
    )
    for columns in (["account_id", "created_ms"], ["request_id"], ["created_ms"]):
        op.create_index(op.f(f"ix_moderation_audit_{'_'.join(columns)}"), "moderation_audit", columns)
    op.create_table(
        "moderation_appeals",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("message_id", sa.String(40), nullable=False),
        sa.Column("conversation_id", sa.String(40)),
        sa.Column("request_id", sa.String(100), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("decided_ms", sa.BigInteger),
        sa.CheckConstraint("state IN ('open', 'upheld', 'reversed')", name=op.f("ck_moderation_appeals_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_moderation_appeals")),
    )
    for columns in (["account_id", "created_ms"], ["message_id"]):
        op.create_index(op.f(f"ix_moderation_appeals_{'_'.join(columns)}"), "moderation_appeals", columns)
