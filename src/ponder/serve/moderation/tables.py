"""What was decided by the site's rules, and who objects. No table holds a word of what was moderated."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, String, Table, Text

from ponder.serve.storage.tables import CountingKey, metadata

audit = Table(
    "moderation_audit",
    metadata,
    Column("id", CountingKey, primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("account_id", String(32), nullable=False),
    Column("request_id", String(100), nullable=False),
    Column("sample", Integer, nullable=False),
    Column("part", String(16), nullable=False),
    Column("rule", Integer, nullable=False),  # its number
    Column("action", String(16), nullable=False),
    Column("match_begin", Integer, nullable=False),  # where it matched, in characters of the normalised text
    Column("match_end", Integer, nullable=False),
    Column("digest", String(64), nullable=False),  # of the matched text, keyed: equal matches can be counted, none read
    Column("rules_digest", String(64), nullable=False),  # of the file of rules that was in force
    Column("review", String(16), nullable=False),  # "": by the rule alone; else what the second opinion said
    CheckConstraint("part IN ('input', 'thought', 'answer', 'tool_call')", name="part"),
    CheckConstraint("action IN ('retract', 'refuse', 'flag')", name="action"),
    Index(None, "account_id", "created_ms"),
    Index(None, "request_id"),
    Index(None, "created_ms"),
)

appeals = Table(
    "moderation_appeals",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(32), nullable=False),
    Column("message_id", String(40), nullable=False),
    Column("conversation_id", String(40)),
    Column("request_id", String(100), nullable=False),  # as in the audit
    Column("text", Text, nullable=False),  # the person's own words, given for this
    Column("created_ms", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("answer", Text),
    Column("decided_ms", BigInteger),
    CheckConstraint("state IN ('open', 'upheld', 'reversed')", name="state"),
    Index(None, "account_id", "created_ms"),
    Index(None, "message_id"),
)
