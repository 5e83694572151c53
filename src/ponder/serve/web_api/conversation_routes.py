"""Conversations: list, search, read, rename, delete, export, and ask."""

import json

from starlette.routing import Route

from ponder.serve.errors import ApiError
from ponder.serve.service import Service
from ponder.serve.web_api.active_run import RunSettings
from ponder.serve.web_api.conversations import Asked, ConversationStore, Order, Question
from ponder.serve.web_api.endpoint import Door, WebExchange
from ponder.serve.web_api.export import MARKDOWN, attachment, to_json, to_markdown
from ponder.serve.web_api.fields import ConversationEdit, NewConversation, NewQuestion
from ponder.serve.web_api.records import StoredMessage
from ponder.serve.web_api.runs import Runs
from ponder.serve.wire.exchange import JSON
from ponder.serve.wire.fields import read_fields
from ponder.serve.wire.json_text import compact

PAGE = 50
LARGEST_PAGE = 200
LONGEST_QUERY = 200
EXPORT_PAGE = 20


class ConversationRoutes:
    """`/conversations` and what lies below it, and `/export`."""

    def __init__(self, door: Door, service: Service, store: ConversationStore, runs: Runs) -> None:
        self._door, self._service, self._store, self._runs = door, service, store, runs

    def routes(self) -> list[Route]:
        route, base = self._door.route, "/app/api/conversations"
        return [
            route("GET", base, self._list),
            route("POST", base, self._create),
            route("GET", f"{base}/{{id}}", self._read),
            route("PATCH", f"{base}/{{id}}", self._edit),
            route("DELETE", f"{base}/{{id}}", self._delete),
            route("GET", f"{base}/{{id}}/export", self._export),
            route("POST", f"{base}/{{id}}/messages", self._ask),
            route("GET", "/app/api/export", self._export_all),
        ]

    async def _list(self, exchange: WebExchange) -> None:
        query = exchange.query.get("q", "")[:LONGEST_QUERY].replace("\0", "")
        limit = _number(exchange.query.get("limit"), "limit", PAGE, LARGEST_PAGE)
        page, following = await self._store.list_page(
            exchange.account, query=query, before=_order(exchange.query.get("cursor")), limit=limit
        )
        cursor = f"{following[0]}.{following[1]}" if following else None
        await exchange.reply({"data": [summary.to_json() for summary in page], "next_cursor": cursor})

    async def _create(self, exchange: WebExchange) -> None:
        fields = read_fields(NewConversation, await exchange.read_object())
        await exchange.reply((await self._store.create(exchange.account, fields.title)).to_json(), 201)

    async def _read(self, exchange: WebExchange) -> None:
        summary, messages = await self._store.read(exchange.account, exchange.path_parameters["id"])
        await exchange.reply(summary.to_json() | {"messages": [self._now(m).to_json() for m in messages]})

    async def _edit(self, exchange: WebExchange) -> None:
        fields = read_fields(ConversationEdit, await exchange.read_object())
        summary = await self._store.edit(
            exchange.account, exchange.path_parameters["id"], title=fields.title, leaf_id=fields.leaf_id
        )
        await exchange.reply(summary.to_json())

    async def _delete(self, exchange: WebExchange) -> None:
        conversation_id = exchange.path_parameters["id"]
        await self._runs.stop_conversation(exchange.account, conversation_id)
        await self._store.delete(exchange.account, conversation_id)
        await self._runs.stop_conversation(exchange.account, conversation_id)  # one that began in between
        await exchange.reply_nothing()

    async def _export(self, exchange: WebExchange) -> None:
        summary, messages = await self._store.read(exchange.account, exchange.path_parameters["id"])
        messages = [self._now(message) for message in messages]
        form = exchange.query.get("format", "json")
        if form == "markdown":
            body, kind = to_markdown(summary, messages).encode("utf-8", "replace"), MARKDOWN
        elif form == "json":
            body, kind = json.dumps(to_json(summary, messages), ensure_ascii=False, indent=1).encode(), JSON
        else:
            raise ApiError(422, "format: expected 'json' or 'markdown'", param="format", code="invalid_value")
        await exchange.reply_bytes(body, 200, (kind, attachment(summary.title, form)))

    async def _export_all(self, exchange: WebExchange) -> None:
        """A conversation a line of one list: memory holds one at a time."""
        await exchange.start(200, (JSON, attachment("conversations", "json"), (b"cache-control", b"no-store")))
        before: Order | None = None
        separator = '{"conversations":[\n'
        while True:
            page, before = await self._store.list_page(exchange.account, before=before, limit=EXPORT_PAGE)
            for listed in page:
                try:
                    summary, messages = await self._store.read(exchange.account, listed.id)
                except ApiError as error:
                    if error.status == 404:  # deleted meanwhile
                        continue
                    raise
                text = compact(to_json(summary, [self._now(message) for message in messages]))
                await exchange.write((separator + text).encode("utf-8", "replace"))
                separator = ",\n"
            if before is None:
                break
        await exchange.write(("]}\n" if separator == ",\n" else separator + "]}\n").encode(), more=False)

    async def _ask(self, exchange: WebExchange) -> None:
        fields = read_fields(NewQuestion, await exchange.read_object())
        _, model = self._service.find_model(fields.model)
        question = Question(
            parent_id=fields.parent_id,
            content=fields.content,
            model=model.id,
            thinking=fields.thinking and model.thinks,
            effort=fields.effort if fields.thinking and model.thinks else None,
            request_id=fields.request_id,
        )
        conversation_id = exchange.path_parameters["id"]
        if fields.request_id is not None:  # sent again: needs no place for a run
            before = await self._store.find_asked(exchange.account, conversation_id, fields.request_id)
            if before is not None:
                await exchange.reply(self._describe(before), 201)
                return
        with self._runs.hold_place(exchange.account):
            asked = await self._store.ask(
                exchange.account,
                conversation_id,
                question,
                running={run.id for run in self._runs.under_way(exchange.account)},
            )
            if not asked.repeated:
                settings = RunSettings(
                    thinking_budget=fields.thinking_budget if question.thinking else None,
                    max_tokens=fields.max_tokens,
                    language=fields.language,
                )
                self._runs.start(exchange.caller, asked, settings)
        await exchange.reply(self._describe(asked), 201)

    def _describe(self, asked: Asked) -> dict[str, object]:
        return {
            "user_message": None if asked.question is None else asked.question.to_json(),
            "assistant_message": self._now(asked.answer).to_json(),
            "run_id": asked.answer.run_id,
        }

    def _now(self, message: StoredMessage) -> StoredMessage:
        """As it stands: an answer under way as far as it has come, one whose process is gone as interrupted."""
        return self._runs.latest(message)


def _number(text: str | None, name: str, default: int, most: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise ApiError(422, f"{name}: expected a number from 1 to {most}", param=name, code="invalid_value")
    return int(text)


def _order(cursor: str | None) -> Order | None:
    if cursor is None:
        return None
    updated, _, conversation_id = cursor.partition(".")
    if not (updated.isascii() and updated.isdigit() and len(updated) < 17 and conversation_id.isprintable()):
        raise ApiError(422, "cursor: expected one that a page of the list came with", param="cursor")
    return int(updated), conversation_id[:40]
