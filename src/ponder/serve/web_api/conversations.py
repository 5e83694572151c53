"""Conversations in the database. Every method takes the account first and sees nothing of another's.

What belongs to somebody else is answered like what does not exist.
"""

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, insert, or_, select, update

from ponder.serve.errors import ApiError
from ponder.serve.records import Cost, Effort, Usage
from ponder.serve.storage.database import Database
from ponder.serve.web_api.records import StoredMessage, Summary
from ponder.serve.web_api.tables import conversations, messages

MAX_MESSAGES = 2000  # of one conversation
MAX_CONVERSATIONS = 10_000  # of one account
TITLE_CHARACTERS = 60  # of a title that is made from the first question
SNIPPET_CHARACTERS = 60  # on each side of what was found

Order = tuple[int, str]  # (updated_ms, id): where a page of the list begins


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is to be answered: a new message, or with no content the user's message `parent_id` once more."""

    parent_id: str | None
    content: str | None
    model: str
    thinking: bool
    effort: Effort | None
    request_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A stored question, and the place of its answer."""

    question: StoredMessage | None  # None where an old question is answered again
    answer: StoredMessage
    path: tuple[StoredMessage, ...]  # from the first message to the question
    repeated: bool  # it was stored before, under the same `request_id`


class ConversationStore:
    """Reads and writes `conversations` and `messages`."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    async def list_page(
        self, account: str, *, query: str = "", before: Order | None = None, limit: int = 50
    ) -> tuple[list[Summary], Order | None]:
        """The newest conversations, and where the next page begins. `query` is searched for in titles and texts,
        in thoughts not.
        """

        def work(connection: Connection) -> list[Summary]:
            wanted: list[ColumnElement[bool]] = [conversations.c.account_id == account]
            if before is not None:
                updated_ms, conversation_id = before
                wanted.append(
                    or_(
                        conversations.c.updated_ms < updated_ms,
                        and_(conversations.c.updated_ms == updated_ms, conversations.c.id < conversation_id),
                    )
                )
            if query:
                wanted.append(or_(conversations.c.title.icontains(query, autoescape=True), _holds(query)))
            found = connection.execute(
                select(conversations)
                .where(*wanted)
                .order_by(conversations.c.updated_ms.desc(), conversations.c.id.desc())
                .limit(limit + 1)
            ).all()
            return [_summary(row, _snippet(connection, row.id, query) if query else None) for row in found]

        page = await self._database.read(work)
        if len(page) <= limit:
            return page, None
        return page[:limit], (page[limit - 1].updated_ms, page[limit - 1].id)

    async def create(self, account: str, title: str = "") -> Summary:
        now = self._now_ms()
        summary = Summary(id=new_id("conv"), title=title, leaf_id=None, model=None, created_ms=now, updated_ms=now)

        def work(connection: Connection) -> None:
            held = connection.scalar(
                select(func.count()).select_from(conversations).where(conversations.c.account_id == account)
            )
            if (held or 0) >= MAX_CONVERSATIONS:
                raise ApiError(
                    409, f"this account holds {held} conversations, the most it may; delete some", code="too_many"
                )
            connection.execute(
                insert(conversations).values(
                    id=summary.id, account_id=account, title=title, created_ms=now, updated_ms=now
                )
            )

        await self._database.write(work)
        return summary

    async def read(self, account: str, conversation_id: str) -> tuple[Summary, list[StoredMessage]]:
        """A conversation and all messages of all branches, parents before children. Raises `ApiError` 404."""

        def work(connection: Connection) -> tuple[Summary, list[StoredMessage]]:
            owner = _owned(connection, account, conversation_id)
            return _summary(owner), _messages(connection, conversation_id)

        return await self._database.read(work)

    async def edit(
        self, account: str, conversation_id: str, *, title: str | None = None, leaf_id: str | None = None
    ) -> Summary:
        """Rename a conversation, or show another branch. Raises `ApiError` 404, 422 for a leaf of another one."""

        def work(connection: Connection) -> Summary:
            _owned(connection, account, conversation_id, lock=True)
            changes: dict[str, object] = {}
            if title is not None:
                changes["title"] = title
            if leaf_id is not None:
                _message(connection, conversation_id, leaf_id, "leaf_id")
                changes["leaf_id"] = leaf_id
            if changes:
                connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(changes))
            return _summary(_owned(connection, account, conversation_id))

        return await self._database.write(work)

    async def delete(self, account: str, conversation_id: str) -> None:
        """Raises `ApiError` 404."""

        def work(connection: Connection) -> None:
            _owned(connection, account, conversation_id, lock=True)
            connection.execute(delete(messages).where(messages.c.conversation_id == conversation_id))
            connection.execute(delete(conversations).where(conversations.c.id == conversation_id))

        await self._database.write(work)

    async def ask(
        self, account: str, conversation_id: str, question: Question, *, running: Collection[str] = ()
    ) -> Asked:
        """Store a question and the place of its answer, in one transaction. `running`: the runs under way.

        Raises `ApiError` 404, 422 for a parent that does not fit, 409 for one whose answer is still under way.
        """
        now = self._now_ms()

        def work(connection: Connection) -> Asked:
            owner = _owned(connection, account, conversation_id, lock=True)
            stored = {message.id: message for message in _messages(connection, conversation_id)}
            if question.request_id is not None and (
                first := _asked_before(connection, conversation_id, question.request_id)
            ):
                return _repeated(stored, first)
            _check_question(stored, question, running)
            if len(stored) + 2 > MAX_MESSAGES:
                raise ApiError(
                    409,
                    f"this conversation has {len(stored)} messages, the most it may; begin a new one",
                    code="too_many",
                )
            asked = _new_messages(conversation_id, stored, question, now)
            position = len(stored)
            new = [asked.question, asked.answer] if asked.question else [asked.answer]
            for message in new:
                # the browser's id stands on the answer, which every question has
                request_id = question.request_id if message is asked.answer else None
                connection.execute(insert(messages).values(_row(message, position) | {"request_id": request_id}))
                position += 1
            changes: dict[str, object] = {"leaf_id": asked.answer.id, "model": question.model, "updated_ms": now}
            if not owner.title and question.content:
                changes["title"] = title_of(question.content)
            connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(changes))
            return asked

        return await self._database.write(work)

    async def find_asked(self, account: str, conversation_id: str, request_id: str) -> Asked | None:
        """What was stored under the browser's id before. Raises `ApiError` 404 for the conversation."""

        def work(connection: Connection) -> Asked | None:
            _owned(connection, account, conversation_id)
            first = _asked_before(connection, conversation_id, request_id)
            if first is None:
                return None
            return _repeated({message.id: message for message in _messages(connection, conversation_id)}, first)

        return await self._database.read(work)

    async def save(self, message: StoredMessage) -> None:
        """Store how far an answer has come. One whose conversation was deleted is forgotten."""

        def work(connection: Connection) -> None:
            row = _row(message, 0)
            for fixed in ("id", "position", "conversation_id", "parent_id", "role", "created_ms"):
                del row[fixed]
            connection.execute(update(messages).where(messages.c.id == message.id).values(row))

        await self._database.write(work)

    async def find_message(
        self, account: str, *, message_id: str | None = None, run_id: str | None = None
    ) -> StoredMessage:
        """A message by its id or its run's. Raises `ApiError` 404."""

        def work(connection: Connection) -> StoredMessage:
            key = messages.c.id == message_id if message_id is not None else messages.c.run_id == run_id
            row = connection.execute(
                select(messages)
                .join(conversations, conversations.c.id == messages.c.conversation_id)
                .where(key, conversations.c.account_id == account)
            ).first()
            if row is None:
                raise not_found("run" if message_id is None else "message")
            return _stored(row)

        return await self._database.read(work)


def delete_conversations_of(connection: Connection, account: str) -> None:
    """All conversations of an account that is deleted."""
    own = select(conversations.c.id).where(conversations.c.account_id == account)
    connection.execute(delete(messages).where(messages.c.conversation_id.in_(own)))
    connection.execute(delete(conversations).where(conversations.c.account_id == account))


def new_id(kind: str) -> str:
    """An id that nobody can guess: 128 random bits."""
    return f"{kind}_{secrets.token_urlsafe(16)}"


def not_found(what: str) -> ApiError:
    return ApiError(404, f"there is no such {what} in this account", type="not_found_error", code="not_found")


def title_of(content: str) -> str:
    """A title from a first question: the beginning of its first line that says something."""
    line = next((line.strip() for line in content.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"


def path_to(stored: dict[str, StoredMessage], message_id: str | None) -> tuple[StoredMessage, ...]:
    """The branch that ends with this message, from the first on."""
    path = []
    while message_id is not None:
        path.append(stored[message_id])
        message_id = path[-1].parent_id
    return tuple(reversed(path))


def _owned(connection: Connection, account: str, conversation_id: str, *, lock: bool = False) -> Row[Any]:
    query = select(conversations).where(conversations.c.id == conversation_id, conversations.c.account_id == account)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise not_found("conversation")
    return row


def _messages(connection: Connection, conversation_id: str) -> list[StoredMessage]:
    query = select(messages).where(messages.c.conversation_id == conversation_id).order_by(messages.c.position)
    return [_stored(row) for row in connection.execute(query)]


def _message(connection: Connection, conversation_id: str, message_id: str, param: str) -> None:
    there = select(messages.c.id).where(messages.c.id == message_id, messages.c.conversation_id == conversation_id)
    if connection.execute(there).first() is None:
        raise ApiError(422, f"{param} is no message of this conversation", param=param, code="invalid_request")


def _asked_before(connection: Connection, conversation_id: str, request_id: str) -> str | None:
    query = select(messages.c.id).where(
        messages.c.conversation_id == conversation_id, messages.c.request_id == request_id
    )
    return connection.scalar(query)


def _repeated(stored: dict[str, StoredMessage], answer_id: str) -> Asked:
    answer = stored[answer_id]
    path = path_to(stored, answer.parent_id)
    # a question with a single answer was most likely stored with it; telling it again does no harm
    return Asked(question=path[-1], answer=answer, path=path, repeated=True)


def _check_question(stored: dict[str, StoredMessage], question: Question, running: Collection[str]) -> None:
    if question.parent_id is None:
        if question.content is None:
            raise ApiError(
                422,
                "without content, parent_id must name the question to answer",
                param="parent_id",
                code="invalid_request",
            )
        return
    parent = stored.get(question.parent_id)
    wanted: Literal["user", "assistant"] = "assistant" if question.content is not None else "user"
    if parent is None or parent.role != wanted:
        raise ApiError(
            422,
            f"parent_id is no message of the {wanted}'s in this conversation; a new question follows an answer, and "
            "without content a question is answered again",
            param="parent_id",
            code="invalid_request",
        )
    if parent.role == "assistant" and parent.run_id in running:
        raise ApiError(
            409, "the answer before is still under way; wait for it, or stop it", param="parent_id", code="running"
        )


def _new_messages(conversation_id: str, stored: dict[str, StoredMessage], question: Question, now_ms: int) -> Asked:
    path = path_to(stored, question.parent_id)
    new_question = None
    if question.content is not None:
        new_question = StoredMessage(
            id=new_id("msg"),
            conversation_id=conversation_id,
            parent_id=question.parent_id,
            role="user",
            content=question.content,
            created_ms=now_ms,
        )
        path = (*path, new_question)
    answer = StoredMessage(
        id=new_id("msg"),
        conversation_id=conversation_id,
        parent_id=path[-1].id,
        role="assistant",
        content="",
        created_ms=now_ms,
        model=question.model,
        thinking=question.thinking,
        effort=question.effort,
        run_id=new_id("run"),
    )
    return Asked(question=new_question, answer=answer, path=path, repeated=False)


def _holds(query: str) -> ColumnElement[bool]:
    return exists().where(
        messages.c.conversation_id == conversations.c.id, messages.c.content.icontains(query, autoescape=True)
    )


def _snippet(connection: Connection, conversation_id: str, query: str) -> str | None:
    text = connection.scalar(
        select(messages.c.content)
        .where(messages.c.conversation_id == conversation_id, messages.c.content.icontains(query, autoescape=True))
        .order_by(messages.c.position)
        .limit(1)
    )
    if text is None:
        return None
    at = max(text.lower().find(query.lower()), 0)
    begin, end = max(at - SNIPPET_CHARACTERS, 0), at + len(query) + SNIPPET_CHARACTERS
    return ("…" if begin else "") + " ".join(text[begin:end].split()) + ("…" if end < len(text) else "")


def _summary(row: Row[Any], snippet: str | None = None) -> Summary:
    return Summary(
        id=row.id,
        title=row.title,
        leaf_id=row.leaf_id,
        model=row.model,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        snippet=snippet,
    )


def _storable(text: str | None) -> str | None:
    """PostgreSQL holds no NUL and no half of a surrogate pair; a model may write anything."""
    if text is None or ("\0" not in text and text.isascii()):
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _row(message: StoredMessage, position: int) -> dict[str, object]:
    usage, cost = message.usage, message.cost
    return {
        "id": message.id,
        "conversation_id": message.conversation_id,
        "position": position,
        "parent_id": message.parent_id,
        "role": message.role,
        "content": _storable(message.content),
        "created_ms": message.created_ms,
        "reasoning": _storable(message.reasoning),
        "model": message.model,
        "thinking": message.thinking,
        "effort": message.effort,
        "thinking_seconds": message.thinking_seconds,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "cache_hit_tokens": usage.cache_hit_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "micro_units": cost.micro_units if cost else None,
        "currency": cost.currency if cost else None,
        "finish_reason": message.finish_reason,
        "error": _storable(message.error),
        "notice": message.notice,
        "retracted": message.retracted,
        "left_out": message.left_out,
        "run_id": message.run_id,
    }


def _stored(row: Row[Any]) -> StoredMessage:
    usage = None
    if row.prompt_tokens is not None:
        usage = Usage(
            prompt_tokens=row.prompt_tokens,
            cache_hit_tokens=row.cache_hit_tokens,
            completion_tokens=row.completion_tokens,
            reasoning_tokens=row.reasoning_tokens,
        )
    return StoredMessage(
        id=row.id,
        conversation_id=row.conversation_id,
        parent_id=row.parent_id,
        role=row.role,
        content=row.content,
        created_ms=row.created_ms,
        reasoning=row.reasoning,
        model=row.model,
        thinking=row.thinking,
        effort=row.effort,
        thinking_seconds=row.thinking_seconds,
        usage=usage,
        cost=None if row.micro_units is None else Cost(micro_units=row.micro_units, currency=row.currency),
        finish_reason=row.finish_reason,
        error=row.error,
        notice=row.notice,
        retracted=row.retracted,
        left_out=row.left_out,
        run_id=row.run_id,
    )


def branch(stored: Sequence[StoredMessage], leaf_id: str | None) -> tuple[StoredMessage, ...]:
    """The branch of a conversation that ends with `leaf_id`."""
    by_id = {message.id: message for message in stored}
    return path_to(by_id, leaf_id if leaf_id in by_id else None)
