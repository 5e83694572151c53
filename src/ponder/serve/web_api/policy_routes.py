"""The site's rules as visitors read them, and their appeals against what was decided by them."""

from starlette.routing import Route

from ponder.serve.errors import ApiError
from ponder.serve.moderation.appeals import Appeal, Appeals
from ponder.serve.moderation.policy import Policy
from ponder.serve.moderation.rules import Language
from ponder.serve.web_api.conversations import ConversationStore
from ponder.serve.web_api.endpoint import Door, WebExchange
from ponder.serve.web_api.fields import NewAppeal
from ponder.serve.wire.fields import read_fields


class PolicyRoutes:
    """`/policy` and `/appeals`."""

    def __init__(self, door: Door, store: ConversationStore, policy: Policy | None, appeals: Appeals) -> None:
        self._door, self._store, self._policy, self._appeals = door, store, policy, appeals

    def routes(self) -> list[Route]:
        route = self._door.route
        return [
            route("GET", "/app/api/policy", self._read, public=True),
            route("GET", "/app/api/appeals", self._list),
            route("POST", "/app/api/appeals", self._appeal),
        ]

    async def _read(self, exchange: WebExchange) -> None:
        language: Language = "zh" if exchange.query.get("language") == "zh" else "en"
        if self._policy is None:
            await exchange.reply({"enabled": False, "title": "", "markdown": "", "rules": []})
            return
        rules = [
            {"number": rule.number, "title": rule.title, "description": rule.description, "action": rule.action}
            for rule in self._policy.rules(language)
        ]
        title, text = self._policy.title(language), self._policy.to_markdown(language)
        await exchange.reply({"enabled": True, "title": title, "markdown": text, "rules": rules})

    async def _list(self, exchange: WebExchange) -> None:
        await exchange.reply({"data": [_describe(appeal) for appeal in await self._appeals.list(exchange.account)]})

    async def _appeal(self, exchange: WebExchange) -> None:
        fields = read_fields(NewAppeal, await exchange.read_object())
        message = await self._store.find_message(exchange.account, message_id=fields.message_id)
        if message.finish_reason != "content_filter":
            raise ApiError(
                422, "message_id: no rule of this site was applied to this message", param="message_id",
                code="invalid_value",
            )  # fmt: skip
        appeal = await self._appeals.create(
            exchange.account,
            message_id=message.id,
            conversation_id=message.conversation_id,
            request_id=message.run_id or "",
            text=fields.text,
        )
        await exchange.reply(_describe(appeal), 201)


def _describe(appeal: Appeal) -> dict[str, object]:
    return {
        "id": appeal.id,
        "message_id": appeal.message_id,
        "conversation_id": appeal.conversation_id,
        "text": appeal.text,
        "created": appeal.created_ms / 1000,
        "state": appeal.state,
        "answer": appeal.answer,
    }
