"""Conversations of the browser app. A message knows its parent: a conversation is a tree, and each path a branch."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from ponder.serve.storage.tables import metadata

# `account_id` is no foreign key: in open mode there is one owner, and no row of accounts.
conversations = Table(
    "conversations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(32), nullable=False),
    Column("title", String(200), nullable=False),  # "": none yet
    Column("leaf_id", String(40)),  # the last message of the branch that is shown; NULL: no message yet
    Column("model", String(200)),  # that answered last
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index(None, "account_id", "updated_ms", "id"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),  # parents before their children
    Column("parent_id", String(40)),  # NULL: a first message
    Column("role", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("request_id", String(64)),  # of the browser: a question that is sent twice is stored once
    # an assistant's
    Column("reasoning", Text),  # NULL: it did not think
    Column("model", String(200)),
    Column("thinking", Boolean),
    Column("effort", String(16)),
    Column("thinking_seconds", Float),
    Column("prompt_tokens", Integer),
    Column("cache_hit_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("reasoning_tokens", Integer),
    Column("micro_units", BigInteger),
    Column("currency", String(3)),
    Column("finish_reason", String(40)),  # NULL: its run is under way, or died with its process
    Column("error", Text),
    Column("notice", Text),  # of the site's rule that ended it
    Column("retracted", Boolean, nullable=False),
    Column("left_out", Integer, nullable=False),  # oldest turns that the model did not get to see
    Column("run_id", String(40), unique=True),
    CheckConstraint("role IN ('user', 'assistant')", name="role"),
    UniqueConstraint("conversation_id", "position"),
    UniqueConstraint("conversation_id", "request_id"),
)
