"""A key, a password and a prompt that appear nowhere they should not: not in the log, figures, errors or the database.

    python benchmarks/serving/canary.py [--json FILE]

The log is at its most talkative. Requests are good and bad in many ways, each with the canary in it; then everything
that the server wrote or answered in error is searched, the database's files byte by byte.
"""

import asyncio
import json
import signal
from collections.abc import Iterator

from harness import Figure, Site, chat, parser_of, report, request, run, scripted_site, send
from scripted_site import PASSWORD

PROMPT = "canary-prompt-7f3a9c51e2"
WRONG_KEY = "sk-canarykey0123456789abcdef0123456789"
CHAT = "/v1/chat/completions"


def requests_of(key: str) -> Iterator[bytes]:
    good = chat(text=PROMPT, max_tokens=5)
    yield request(CHAT, good, key=key)
    yield request(CHAT, {**good, "stream": False}, key=key)
    yield request("/v1/completions", {"model": "scripted", "prompt": PROMPT, "max_tokens": 3}, key=key)
    yield request("/v1/responses", {"model": "scripted", "input": PROMPT}, key=key)
    yield request("/v1/messages", {"model": "scripted", "max_tokens": 3, "messages": good["messages"]}, x_api_key=key)
    yield request("/tokenize", {"model": "scripted", "prompt": PROMPT, "content": PROMPT, "text": PROMPT}, key=key)
    yield request(CHAT, good, key=WRONG_KEY)
    yield request("/v1/messages", good, x_api_key=WRONG_KEY)
    yield request(CHAT, {**good, "temperature": "hot", "n": PROMPT}, key=key)
    yield request(CHAT, {"model": "scripted", "messages": PROMPT}, key=key)
    yield request(CHAT, {"model": "scripted", "messages": [{"role": "nobody", "content": PROMPT}]}, key=key)
    yield request(CHAT, {"model": "scripted", "messages": [{"role": "user", "content": {"x": PROMPT}}]}, key=key)
    yield request(CHAT, {**good, "response_format": {"type": "poem"}}, key=key)
    yield request(CHAT, {**good, "stop": [PROMPT, ""]}, key=key)
    yield request(f"/v1/nothing?key={key}&q={PROMPT}", {}, key=WRONG_KEY)
    yield request("/app/api/login", {"name": "user0", "password": PROMPT})
    broken = json.dumps(good)[:-5].encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
    yield (head + f"authorization: Bearer {key}\r\ncontent-length: {len(broken)}\r\n\r\n").encode() + broken
    yield f"GET /{PROMPT} HTTP/1.1\r\nauthorization: Bearer {key}\r\n{PROMPT} x\r\n\r\n".encode()


def searched(site: Site, answers: list[bytes], figures: list[bytes]) -> dict[str, bytes]:
    database = b"".join(path.read_bytes() for path in site.folder.glob("ponder.db*"))
    return {
        "log": site.log.encode(),
        "errors": b"\n".join(answers),
        "metrics and status": b"\n".join(figures),
        "database": database,
    }


async def main() -> int:
    arguments = parser_of(__doc__).parse_args()
    with scripted_site("--users", 1, "--log-level", "debug", "--tokens-per-second", 0, "--answer", 3) as site:
        key = site.keys[0]
        errors, statuses = [], []
        for data in requests_of(key):
            outcome = await send(site.port, data)
            statuses.append(outcome.status)
            if outcome.status >= 400:
                errors.append(outcome.body)
        shown = [
            (await send(site.port, request(p, method="GET"))).body for p in ("/metrics", "/status", "/status.json")
        ]
        site.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(site.process.wait, 20)
        (site.folder / "keys.json").unlink()
        places = searched(site, errors, shown)
    canaries = {"prompt": PROMPT, "key": key, "wrong key": WRONG_KEY, "password": PASSWORD}
    figures = [
        Figure("requests", len(statuses)),
        Figure("refused", len(errors), "", at_least=9),
        Figure("server errors", sum(status >= 500 or status == 0 for status in statuses), at_most=0),
        Figure("lines of the log", places["log"].count(b"\n"), "", at_least=4),
        Figure("bytes of the database", len(places["database"]), "", at_least=1000),
        Figure("exit code", code, "", at_most=0),
    ]
    for place, text in places.items():
        for name, canary in canaries.items():
            figures.append(Figure(f"{name} in {place}", text.count(canary.encode()), "", at_most=0))
    return report("canary", figures, arguments)


if __name__ == "__main__":
    run(main)
