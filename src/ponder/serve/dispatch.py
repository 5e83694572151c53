"""The short way to an endpoint: by its path and method, looked up once."""

from collections.abc import Sequence

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send


class Dispatch:
    """Hands requests for a fixed path straight to the ASGI application that is its endpoint; everything else (paths
    with parameters, functions as endpoints, methods that a path does not take, no such path) goes to the application
    that has all routes. That one tries a regular expression for each route before it, and passes each message of the
    answer through layers for errors that these endpoints answer themselves.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        """`routes`: those of `app`, in its order."""
        self._app = app
        self._endpoints: dict[tuple[str, str], ASGIApp] = {}
        for route in routes:
            if isinstance(route, Route) and not route.param_convertors and route.app is route.endpoint:
                for method in route.methods or ():
                    self._endpoints.setdefault((method, route.path), route.app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._app
        if scope["type"] == "http" and not scope.get("root_path"):
            endpoint = self._endpoints.get((scope["method"], scope["path"]), self._app)
        await endpoint(scope, receive, send)
