"""Malformed requests by the thousand: never a 5xx, never a crash, and right scores afterwards."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from typing import Any

import httpx
import numpy as np
import pytest

from trueline.protocols import Scorer
from trueline.serving.app import create_app

from .conftest import Moody, service, texts

VALID: dict[str, Any] = {
    "/score": {"prompts": ["a", [{"role": "user", "content": "b"}]], "responses": ["c", "d"]},
    "/openrlhf": {"query": ["a b", "c d"], "prompts": ["a", "c"], "labels": ["x", None]},
    "/classify": {"model": "m", "input": ["\n\nHuman: a\n\nAssistant: b"], "use_activation": False},
    "/slime": {"prompt": "a", "response": "b", "label": {"k": [1]}},
}
RAW = "@raw@"
JUNK = [
    *(None, True, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 10**400),
    *("", "\x00", "\ud800", "\U0001f600" * 9, "x" * 6_000, "<|im_start|>user\nq", "\n\nHuman:"),
    *([], {}, [[]], [None], ["a", 1], {"role": "user"}, [{"role": "", "content": ""}]),
    *([{"role": "user", "content": None}], [{"role": "\udfff", "content": "a"}], ["a"] * 100),
]
LITERALS = ["9" * 5_000, "1e999999", "-", "[" * 50_000, '{"a":' * 50_000, "nan", "0x1", '"\\u12"']


def mutated(value: Any, rng: random.Random) -> Any:
    """The value with one part of it replaced, dropped, doubled or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key, how = rng.choice(list(value)), rng.random()
        rest = {k: v for k, v in value.items() if k != key}
        if how < 0.2:
            return rest
        if how < 0.3:
            return {**rest, rng.choice(["", "PROMPTS", "\ud800", "x" * 500]): value[key]}
        return {**rest, key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        if rng.random() < 0.3:
            return value[:at] + value[at + 1 :] + value[:at] * rng.randrange(3)
        return [*value[:at], mutated(value[at], rng), *value[at + 1 :]]
    return RAW if rng.random() < 0.25 else rng.choice(JUNK)


def body(path: str, rng: random.Random) -> bytes:
    text = json.dumps(mutated(VALID[path], rng)).replace(f'"{RAW}"', rng.choice(LITERALS))
    how, raw = rng.random(), text.encode("utf-8", "surrogatepass")
    if how < 0.5:
        return raw
    at = rng.randrange(len(raw) + 1)
    junk = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 6)))
    ways = [raw[:at], raw[:at] + junk + raw[at:], raw[:at] + junk, b"\xef\xbb\xbf" + raw]
    ways += [text.encode("utf-16", "surrogatepass"), raw * 2, b"", raw + b" " * 30_000, junk]
    return rng.choice(ways)


KINDS = ["application/json"] * 9 + ["", "text/plain", "application/json; charset=\xff", "a/b" * 99]
METHODS = ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "NOPE"]
PATHS = ["/", "/score/", "/%00", "/../etc", "/health", "/é", "/" + "a" * 3_000, "/slime?=&&=%ff"]
NAMES = [b"Content-Length", b"Accept", b"Authorization", b"Content-Encoding", b"X"]
VALUES = [b"", b"-1", b"nan", b"\xff\xfe", b"9" * 30, b"gzip", b"Bearer " * 9]


def request(rng: random.Random) -> tuple[str, str, dict[str, Any]]:
    """Method, address and the rest of a request that is wrong in some way, or in none."""
    path, method = rng.choice(list(VALID)), "POST"
    headers = {b"Content-Type": rng.choice(KINDS).encode("latin-1")}
    content = body(path, rng)
    if rng.random() < 0.1:
        method = rng.choice(METHODS)
    if rng.random() < 0.1:
        path = rng.choice(PATHS)
    if rng.random() < 0.1:
        headers[rng.choice(NAMES)] = rng.choice(VALUES)
    return method, path, {"headers": headers, "content": content}


def test_a_thousand_malformed_requests(reward: Scorer) -> None:
    rng, codes = random.Random(7), Counter[int]()
    app = create_app(service(Moody(reward), body_bytes=20_000, items=50, chars=5_000))
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)

    async def fuzz() -> None:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            for start in range(0, 1_200, 40):
                asked = [request(rng) for _ in range(40)]
                replies = await asyncio.gather(*(http.request(m, p, **a) for m, p, a in asked))
                for reply in replies:
                    codes[reply.status_code] += 1
                    assert reply.status_code < 500, (start, reply.request, reply.text)
                    if reply.status_code >= 400:
                        assert b"\n" not in reply.content
            prompts, responses = texts(40, 5)
            asked_now = {"prompts": prompts, "responses": responses}
            rows = (await http.post("/score", json=asked_now)).json()["rows"]
            direct = reward.score(prompts, responses)
            np.testing.assert_allclose([row["mean"] for row in rows], direct.mean, atol=1e-9)

    asyncio.run(fuzz())
    assert sum(codes.values()) == 1_200 and {200, 404, 405, 413, 422} <= set(codes)
    assert codes[200] < 300, codes


GOOD = json.dumps({"prompt": "a", "response": "b"}).encode()
HEAD = b"POST /slime HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
WIRES = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\r\n\r\n",
    "a huge header": HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    "a length of a terabyte": HEAD + b"Content-Length: 1099511627776\r\n\r\n{",
    "less than promised": HEAD + b"Content-Length: 500\r\n\r\n" + GOOD,
    "an endless chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + GOOD,
    "bytes in the path": b"GET /\xff\xfe\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a giant": HEAD + b"Content-Length: 300000\r\n\r\n" + b"[" * 300_000,
}


def wire(port: int, data: bytes, patience_s: float = 0.25) -> bytes:
    """The first of what comes back for these bytes; nothing if the server closes or waits."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        try:
            line.sendall(data)
            line.settimeout(patience_s)
            return line.recv(65_536)
        except (ConnectionError, TimeoutError):
            return b""


@pytest.mark.parametrize("name", WIRES)
def test_malformed_on_the_wire(live: Any, name: str) -> None:
    answer = wire(live.port, WIRES[name])
    if answer:
        assert answer.startswith(b"HTTP/1.1 ") and answer[9:10] in b"1234", answer[:200]
    with httpx.Client(base_url=f"http://localhost:{live.port}") as http:
        right = http.post("/slime", json=json.loads(GOOD)).json()
    assert right == pytest.approx(live.scorer.inner.score(["a"], ["b"]).lower[0], abs=1e-9)
    assert live.service.batcher.alive and live.service.batcher.trouble is None
