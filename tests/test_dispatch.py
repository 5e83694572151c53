"""The short way to an endpoint leads where the long way leads."""

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ponder.serve.dispatch import Dispatch


class Named:
    """Answers with its name, and whether the router has seen the request."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        way = "long" if "router" in scope else "short"
        await PlainTextResponse(f"{self.name} {way}")(scope, receive, send)


async def function(request: Request) -> Response:
    return PlainTextResponse("function")


def ask(method: str, path: str) -> tuple[int, str]:
    routes = [
        Route("/fixed", Named("first"), methods=["POST"]),
        Route("/fixed", Named("second"), methods=["GET", "POST"]),
        Route("/one/{id}", Named("parameter"), methods=["GET"]),
        Route("/function", function),
    ]
    app = Dispatch(Starlette(routes=routes), routes)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            return await client.request(method, path)

    response = asyncio.run(send())
    return response.status_code, response.text


def test_fixed_paths_go_straight_to_the_first_endpoint_that_takes_the_method() -> None:
    assert ask("POST", "/fixed") == (200, "first short")
    assert ask("GET", "/fixed") == (200, "second short")
    assert ask("HEAD", "/fixed") == (200, "")


def test_everything_else_goes_through_the_router() -> None:
    assert ask("GET", "/one/2") == (200, "parameter long")
    assert ask("GET", "/function") == (200, "function")
    assert ask("PUT", "/fixed") == (405, "Method Not Allowed")
    assert ask("GET", "/fixed/") == (307, "")  # the application's own redirect
    assert ask("GET", "/elsewhere") == (404, "Not Found")
