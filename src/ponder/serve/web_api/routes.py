"""All routes of the browser app's API."""

from collections.abc import Callable

from starlette.routing import Route

from ponder.serve.moderation.appeals import Appeals
from ponder.serve.moderation.policy import Policy
from ponder.serve.service import Service
from ponder.serve.web_api.account_routes import AccountRoutes
from ponder.serve.web_api.conversation_routes import ConversationRoutes
from ponder.serve.web_api.conversations import ConversationStore
from ponder.serve.web_api.endpoint import Door
from ponder.serve.web_api.guard import Guard
from ponder.serve.web_api.policy_routes import PolicyRoutes
from ponder.serve.web_api.run_routes import RunRoutes
from ponder.serve.web_api.runs import Runs
from ponder.serve.web_api.seams import Billing, Registration, WebAccounts
from ponder.serve.web_api.session_routes import SessionRoutes
from ponder.serve.wire.settings import WireSettings


def web_api_routes(
    service: Service,
    store: ConversationStore,
    runs: Runs,
    guard: Guard,
    appeals: Appeals,
    *,
    accounts: WebAccounts | None = None,
    registration: Registration = "closed",
    is_braked: Callable[[], bool] = lambda: False,
    billing: Billing | None = None,
    policy: Policy | None = None,
    settings: WireSettings | None = None,
) -> list[Route]:
    """Everything below `/app/api`. Without `accounts` everybody is the one local account, and `guard` should know the
    names by which the server may be asked for. `is_braked`: whether sign-ups are turned away now; the limits themselves
    stand in front of these routes. Close `runs` before the service.
    """
    door = Door(guard, accounts, settings or WireSettings())
    return [
        *SessionRoutes(
            door,
            service,
            runs,
            registration=registration,
            is_braked=is_braked,
            billing=billing,
            moderated=policy is not None,
        ).routes(),
        *ConversationRoutes(door, service, store, runs).routes(),
        *RunRoutes(door, store, runs).routes(),
        *AccountRoutes(door, billing).routes(),
        *PolicyRoutes(door, store, policy, appeals).routes(),
    ]
