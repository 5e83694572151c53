"""Lanes for registration and login, the registration brake, and the doors in front of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ponder.core.errors import ConfigError
from ponder.serve.errors import ApiError
from ponder.serve.limits.addresses import address_group, is_loopback
from ponder.serve.limits.brake import NOTICE, RegistrationBrake
from ponder.serve.limits.doors import LOOPBACK_HOSTS, BodyDoor, HostDoor, LaneDoor, host_name
from ponder.serve.limits.lanes import Lane, Lanes
from ponder.serve.limits.settings import BrakeSettings, LaneSettings, LanesSettings
from ponder.serve.wire.errors import EXCEPTION_HANDLERS, ErrorBoundary


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def code_of(entering: Awaitable[object]) -> str | None:
    """Why a lane is closed; None where it is not."""
    try:
        await entering
    except ApiError as error:
        return f"{error.status} {error.code}"
    return None


async def pass_through(lane: Lane, address: str = "192.0.2.1") -> None:
    lane.count(address)
    async with lane.enter():
        pass


def test_an_address_has_a_rate_and_a_burst_of_its_own() -> None:
    clock = Clock()
    lane = Lane("login", LaneSettings(address_per_minute=6, address_burst=3), clock)

    async def main() -> None:
        assert [await code_of(pass_through(lane)) for _ in range(5)] == [None] * 3 + ["429 login_rate_exceeded"] * 2
        assert await code_of(pass_through(lane, "192.0.2.2")) is None
        clock.now += 10
        assert [await code_of(pass_through(lane)) for _ in range(2)] == [None, "429 login_rate_exceeded"]

    asyncio.run(main())


def test_a_whole_ipv6_network_of_64_bits_is_one_address() -> None:
    lane = Lane("login", LaneSettings(address_per_minute=6, address_burst=1), Clock())

    async def main() -> None:
        assert await code_of(pass_through(lane, "2001:db8:0:1::1")) is None
        assert await code_of(pass_through(lane, "2001:db8:0:1:ffff::2")) == "429 login_rate_exceeded"
        assert await code_of(pass_through(lane, "2001:db8:0:2::1")) is None

    asyncio.run(main())


def test_all_addresses_together_have_a_rate() -> None:
    clock = Clock()
    lane = Lane("registration", LaneSettings(per_minute=2, address_per_minute=60, address_burst=60), clock)

    async def main() -> None:
        codes = [await code_of(pass_through(lane, f"192.0.2.{n}")) for n in range(3)]
        assert codes == [None, None, "503 registration_busy"]

    asyncio.run(main())


def test_so_many_at_once_then_so_many_wait_and_no_more() -> None:
    lane = Lane("login", LaneSettings(running=1, waiting=1, wait=0.05), Clock())

    async def main() -> None:
        async with lane.enter():
            waiting = asyncio.create_task(code_of(pass_through(lane)))
            await asyncio.sleep(0)
            assert (lane.running, lane.waiting) == (1, 1)
            assert await code_of(pass_through(lane)) == "503 login_busy"
            assert await waiting == "503 login_busy"  # waited too long
            waiting = asyncio.create_task(code_of(pass_through(lane)))
            await asyncio.sleep(0)
        assert await waiting is None
        assert (lane.running, lane.waiting) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("address", "group", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.8.8.8", "127.8.8.8", True),
        ("::1", "::/64", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::ffff:192.0.2.7", "192.0.2.7", False),
        ("fe80::1%eth0", "fe80::/64", False),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", False),
        ("", "", False),
        ("localhost", "", False),
    ],
)
def test_addresses(address: str, group: str, loopback: bool) -> None:
    assert (address_group(address), is_loopback(address)) == (group, loopback)


def sign_ups(brake: RegistrationBrake, clock: Clock, per_second: float, seconds: float) -> list[bool]:
    """Whether each was let in."""
    let_in = []
    for _ in range(round(per_second * seconds)):
        clock.now += 1 / per_second
        try:
            brake.attempt()
            let_in.append(True)
        except ApiError:
            let_in.append(False)
        brake.update()
    return let_in


def test_a_flood_of_sign_ups_sets_the_brake_within_five_seconds_and_it_goes_off_by_itself() -> None:
    clock, told = Clock(), list[tuple[float, bool]]()
    brake = RegistrationBrake(BrakeSettings(), clock, lambda on, why: told.append((clock.now, on)))
    assert all(sign_ups(brake, clock, per_second=2, seconds=30))
    flood_began = clock.now
    let_in = sign_ups(brake, clock, per_second=500, seconds=20)
    assert let_in.count(True) < 15
    assert [on for _, on in told] == [True]
    assert told[0][0] - flood_began < 5
    flood_ended = clock.now
    while brake.on:
        clock.now += 0.5
        brake.update()
        assert clock.now < flood_ended + 40
    assert 30 <= clock.now - flood_ended <= 33
    assert all(sign_ups(brake, clock, per_second=2, seconds=10))


def test_the_brake_does_not_flutter_at_the_threshold() -> None:
    clock, told = Clock(), list[bool]()
    brake = RegistrationBrake(BrakeSettings(on_rate=5, off_rate=1), clock, lambda on, why: told.append(on))
    sign_ups(brake, clock, per_second=6, seconds=20)
    sign_ups(brake, clock, per_second=3, seconds=120)  # below what sets it, above what frees it
    assert told == [True]
    sign_ups(brake, clock, per_second=0.4, seconds=60)
    assert told == [True, False]


@pytest.mark.parametrize("pressure", [{"lag": 1.0}, {"queue": 1.0}])
def test_a_hard_pressed_server_sets_the_brake_when_somebody_signs_up(pressure: dict[str, float]) -> None:
    clock = Clock()
    brake = RegistrationBrake(BrakeSettings(), clock)
    for _ in range(10):
        clock.now += 1
        brake.update(**pressure)
    assert not brake.on
    brake.attempt()
    brake.update(**pressure)
    assert brake.on


def test_the_notice_is_the_one_of_the_incident_in_both_languages_and_forbids_retries() -> None:
    brake = RegistrationBrake(BrakeSettings(), Clock())
    brake.set("on")
    with pytest.raises(ApiError) as caught:
        brake.attempt()
    error = caught.value
    assert (error.status, error.code, error.should_retry) == (503, "registration_busy", False)
    assert error.retry_after == brake.settings.hold == 30
    assert error.message == (
        "注册可能繁忙，请稍等重试。已注册用户可以正常登录 / "
        "Registration may be busy, please wait and try again. Registered users can log in normally."
    )
    assert error.message == f"{NOTICE['zh']} / {NOTICE['en']}"


def test_the_brake_can_be_set_and_freed_by_hand_and_by_a_file(tmp_path: Path) -> None:
    clock, flag, told = Clock(), tmp_path / "brake", list[tuple[bool, str]]()
    brake = RegistrationBrake(BrakeSettings(flag=str(flag)), clock, lambda on, why: told.append((on, why)))
    brake.set("on")
    assert brake.on
    brake.set("off")
    assert all(sign_ups(brake, clock, per_second=100, seconds=1))
    brake.set("auto")
    clock.now += 60
    brake.update()
    assert not brake.on
    flag.touch()
    clock.now += 1
    brake.update()
    assert brake.on
    flag.unlink()
    clock.now += 1
    brake.update()
    assert not brake.on
    assert told[0] == (True, "by hand")
    assert [on for on, _ in told] == [True, False] * (len(told) // 2)


def fetch(app: ASGIApp, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(ErrorBoundary(app), client=("192.0.2.9", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
            return [await client.request(method, path, **fields) for method, path, fields in requests]

    return asyncio.run(main())


def echo_app() -> Starlette:
    async def answer(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    routes = [Route("/{path:path}", answer, methods=["GET", "POST"])]
    return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("chat.example.org", 200),
        ("evil.example.com", 421),
        ("localhost.evil.com", 421),
        ("example.org", 421),
        ("notexample.org", 421),
        ("", 421),
        ("[::2]", 421),
        ("[::1]evil.com", 421),
        ("[2001:db8::5]:80", 200),
        ("[2001:DB8::6]", 200),
    ],
)
def test_only_configured_names_are_served(host: str, status: int) -> None:
    app = HostDoor(echo_app(), [*LOOPBACK_HOSTS, "*.example.org", "2001:db8::5", "[2001:db8::6]"])
    [answer] = fetch(app, ("GET", "/", {"headers": {"host": host}}))
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["code"] == "unknown_host"


def test_any_name_is_served_where_that_is_configured() -> None:
    assert fetch(HostDoor(echo_app(), ["*"]), ("GET", "/", {"headers": {"host": "any"}}))[0].status_code == 200


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8000", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("localhost:80:80", "localhost:80:80"),  # no name of ours
        ("", ""),
    ],
)
def test_names_of_hosts(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize("hosts", [["*"], ["localhost"]])
def test_two_hosts_or_none_are_a_bad_request(hosts: list[str]) -> None:
    app = HostDoor(echo_app(), hosts)

    async def status(version: str, *sent: bytes) -> int:
        heard: list[Any] = []
        scope = {"type": "http", "http_version": version, "method": "GET", "path": "/", "query_string": b""}
        scope["headers"] = [(b"host", value) for value in sent]

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            heard.append(message)

        await ErrorBoundary(app)(scope, receive, send)
        return int(heard[0]["status"])

    assert asyncio.run(status("1.1", b"localhost")) == 200
    assert asyncio.run(status("1.1", b"localhost", b"localhost")) == 400
    assert asyncio.run(status("1.1", b"localhost", b"evil.example")) == 400
    assert asyncio.run(status("1.1")) == 400
    assert asyncio.run(status("1.0")) == (200 if hosts == ["*"] else 421)  # HTTP/1.0 has no such header


def chunked(size: int) -> Callable[[], Any]:
    async def pieces() -> Any:
        for _ in range(size // 1000):
            yield b"a" * 1000

    return pieces


def test_bodies_over_the_limit_are_refused_whether_or_not_they_say_their_length() -> None:
    app = BodyDoor(echo_app(), 10_000)
    answers = fetch(
        app,
        ("POST", "/", {"content": b"a" * 10_000}),
        ("POST", "/", {"content": b"a" * 10_001}),
        ("POST", "/", {"content": chunked(10_000)()}),
        ("POST", "/", {"content": chunked(11_000)()}),
        ("POST", "/", {"content": b"", "headers": {"content-length": "9" * 30}}),
        ("GET", "/", {}),
    )
    assert [answer.status_code for answer in answers] == [200, 413, 200, 413, 413, 200]
    assert answers[3].json()["error"]["code"] == "body_too_large"


def test_sign_ups_meet_the_brake_before_their_body_is_read_and_logins_do_not() -> None:
    clock, rejected = Clock(), list[ApiError]()
    brake = RegistrationBrake(BrakeSettings(), clock)
    brake.set("on")
    lanes = Lanes(LanesSettings(login=LaneSettings(address_per_minute=2, address_burst=2)), clock)
    paths = {"/sign-up": "registration", "/login": "login"}
    read: list[int] = []

    async def body() -> Any:
        read.append(1)
        yield b"a"

    app = LaneDoor(echo_app(), lanes, brake, paths, rejected.append)  # type: ignore[arg-type]
    answers = fetch(
        app,
        ("POST", "/sign-up", {"content": body()}),
        ("GET", "/sign-up", {}),
        *[("POST", "/login", {"content": b"a"})] * 3,
        ("POST", "/chat", {"content": b"a"}),
    )
    assert [answer.status_code for answer in answers] == [503, 200, 200, 200, 429, 200]
    assert "注册可能繁忙" in answers[0].json()["error"]["message"]
    assert answers[0].headers["x-should-retry"] == "false"
    assert 30 <= int(answers[0].headers["retry-after"]) <= 45  # `brake.hold`, spread
    assert read == []
    assert [error.code for error in rejected] == ["registration_busy", "login_rate_exceeded"]


def sign_up_door(clock: Clock) -> tuple[RegistrationBrake, LaneDoor]:
    brake, lanes = RegistrationBrake(BrakeSettings(), clock), Lanes(LanesSettings(), clock)
    return brake, LaneDoor(echo_app(), lanes, brake, {"/sign-up": "registration"})


async def sign_up_from(door: LaneDoor, address: str) -> int:
    transport = httpx.ASGITransport(ErrorBoundary(door), client=(address, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return (await client.post("/sign-up")).status_code


def test_one_address_alone_turns_nobody_else_away() -> None:
    clock = Clock()
    brake, door = sign_up_door(clock)

    async def main() -> None:
        statuses = []
        for _ in range(1000):  # for a hundred seconds
            clock.now += 0.1
            statuses.append(await sign_up_from(door, "192.0.2.66"))
            brake.update()
            assert not brake.on
        assert set(statuses) == {200, 429}
        assert await sign_up_from(door, "192.0.2.7") == 200

    asyncio.run(main())


def test_many_addresses_set_the_brake_and_one_alone_does_not_hold_it() -> None:
    clock = Clock()
    brake, door = sign_up_door(clock)

    async def main() -> None:
        for number in range(100):
            clock.now += 0.02
            await sign_up_from(door, f"198.51.100.{number}")
        assert brake.on
        began = clock.now
        while brake.on:
            clock.now += 0.1
            assert await sign_up_from(door, "192.0.2.66") in (429, 503)
            brake.update()
            assert clock.now < began + 35
        assert clock.now - began >= 30

    asyncio.run(main())


@pytest.mark.parametrize(
    "make",
    [
        lambda: LaneSettings(running=0),
        lambda: LaneSettings(per_minute=0),
        lambda: BrakeSettings(off_rate=9.0),
        lambda: BrakeSettings(hold=0.0),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()
