"""Bodies that are no strict JSON are told so, whatever they are; nothing of them comes back in the message."""

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.serve.errors import ApiError
from ponder.serve.scripted import ScriptedBackend
from ponder.serve.service import Service
from ponder.serve.wire.settings import WireSettings
from ponder.serve.wire.strict_json import MAX_DEPTH, parse_json, parse_object
from wire_server import chat, exchange, wire_app

JSON_TYPE = (("content-type", "application/json"),)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "EOF"),
        (b"{", "EOF"),
        (b"{'a': 1}", "key must be a string"),
        (b'{"a": 1,}', "trailing comma"),
        (b"[1] 2", "trailing characters"),
        (b"[NaN]", "expected value"),
        (b"[Infinity]", "expected value"),
        (b"[-Infinity]", "invalid number"),
        (b"[1e999]", "too large"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
        (b'{"x": [{"a": 1, "\\u0061": 2}]}', "'a' stands twice"),
        (b'["\xff"]', "invalid unicode"),
        (b'["\xed\xa0\x80"]', "invalid unicode"),
        (b'["\\ud800"]', "hex escape"),
        (b'["\\udc00 low first"]', "surrogate"),
        (b'["\\u0000"]', "NUL"),
        (b'{"a\\u0000": 1}', "NUL"),
        (b'["\x00"]', "control character"),
        (b"\xef\xbb\xbf{}", "expected value"),
        ("{}".encode("utf-16"), "expected value"),
        (b"[" * 10_000, "too deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too deeply"),
        (b"1" * 5000, "out of range"),
    ],
)
def test_what_is_no_strict_json_is_refused(body: bytes, told: str) -> None:
    with pytest.raises(ApiError, match=told) as caught:
        parse_json(body)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_a_key_that_stands_twice_among_very_many_is_found_in_one_pass() -> None:
    keys = [*map(str, range(100_000)), "99999"]
    body = ("{" + ",".join(f'"{key}":1' for key in keys) + "}").encode()
    began = time.process_time()
    with pytest.raises(ApiError, match="'99999' stands twice"):
        parse_json(body)
    assert time.process_time() - began < 3  # comparing each with all before it takes 40 s


@pytest.mark.parametrize(
    ("body", "found"), [(b"[]", "a list"), (b"null", "null"), (b'"x"', "a string"), (b"7", "an int")]
)
def test_only_an_object_is_a_request(body: bytes, found: str) -> None:
    with pytest.raises(ApiError, match=f"the body is {found}.*; expected a JSON object"):
        parse_object(body)


def test_what_looks_bad_inside_a_string_is_good() -> None:
    assert parse_json(rb'["\\u0000", "\ud83d\ude00", "' + b"[" * 5000 + rb'"]') == ["\\u0000", "😀", "[" * 5000]
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None


def test_a_number_with_a_point_and_nothing_behind_it_is_an_integer() -> None:
    value = parse_json(b"[100.0, 1e2, -2.50, 1e300]")
    assert isinstance(value, list)
    assert [(item, type(item)) for item in value] == [(100, int), (100, int), (-2.5, float), (1e300, float)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(VALUES)
def test_every_other_value_is_read_as_it_is(value: object) -> None:
    written = json.dumps(value)
    if "\\u0000" not in written:
        assert parse_json(written.encode()) == value


def status_of(body: bytes) -> int:
    try:
        parse_json(body)
    except ApiError as error:
        return error.status
    return 200


@given(st.binary(max_size=60) | st.text('[]{}",:0\\ue.-tn', max_size=30).map(str.encode))
def test_any_bytes_end_in_a_value_or_one_error(body: bytes) -> None:
    assert status_of(body) in (200, 400)


def answer_of(body: bytes, headers: tuple[tuple[str, str], ...] = JSON_TYPE, **options: object) -> tuple[int, dict]:
    app = wire_app(Service([ScriptedBackend()]), WireSettings(max_body_bytes=1000))
    answer = asyncio.run(exchange(app, "/v1/chat/completions", body, headers=headers, **options))
    return answer.status, {**answer.error, "headers": answer.headers}


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ((), "the content type is none"),
        ((("content-type", "text/plain"),), "the content type is text/plain"),
        ((("content-type", "application/x-www-form-urlencoded"),), "expected application/json"),
        ((("content-type", "application/json; charset=utf-16"),), "JSON is UTF-8"),
        ((*JSON_TYPE, ("content-encoding", "gzip")), "compressed"),
        ((*JSON_TYPE, ("content-encoding", "br")), "compressed"),
    ],
)
def test_only_plain_json_is_taken(headers: tuple[tuple[str, str], ...], told: str) -> None:
    status, error = answer_of(json.dumps(chat()).encode(), headers)
    assert status == 415
    assert told in error["message"]


def test_the_usual_charset_may_be_named() -> None:
    app = wire_app(Service([ScriptedBackend()]))
    headers = (("content-type", 'Application/JSON; charset="UTF-8"'), ("content-encoding", "identity"))
    answer = asyncio.run(exchange(app, "/v1/chat/completions", json.dumps(chat()).encode(), headers=headers))
    assert answer.status == 200


def test_a_body_over_the_limit_is_refused_announced_or_not() -> None:
    large = json.dumps(chat(user="x" * 1000)).encode()
    announced = answer_of(large, (*JSON_TYPE, ("content-length", str(len(large)))))
    in_pieces = answer_of(b"", pieces=[large[i : i + 100] for i in range(0, len(large), 100)])
    for status, error in (announced, in_pieces):
        assert (status, error["code"]) == (413, "body_too_large")
        assert error["headers"]["connection"] == "close"


def test_a_body_at_the_limit_is_read() -> None:
    app = wire_app(Service([ScriptedBackend()]), WireSettings(max_body_bytes=1000))
    fitting = json.dumps(chat()).encode().ljust(1000)
    pieces = [fitting[i : i + 100] for i in range(0, 1000, 100)]
    assert asyncio.run(exchange(app, "/v1/chat/completions", pieces=pieces)).status == 200
