"""Clients that connect and then take their time, by the hundred: others are served meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from trueline.records import Scores
from trueline.serving import app
from trueline.serving.formats import Splitter

HEAD = b"POST /slime HTTP/1.1\r\nHost: localhost\r\n"
GOOD = HEAD + b'Content-Length: 31\r\n\r\n{"prompt":"a","response":"bcd"}'
SLOW = {
    "nothing": b"",
    "half a head": HEAD,
    "a head without an end": HEAD + b"X: " + b"y" * 100,
    "no body": HEAD + b"Content-Length: 9\r\n\r\n",
    "half a body": HEAD + b"Content-Length: 99\r\n\r\n{",
    "a chunk of many": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "half of a second request": GOOD + HEAD,
}


class Zeros:
    """Scores everything 0."""

    def score(self, prompts: Any, responses: Any) -> Scores:
        none = np.zeros(len(responses))
        return Scores(none, none, none, none, np.ones(len(responses), bool))


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with little patience, and room for twenty."""
    monkeypatch.setattr(app, "ARRIVAL_S", 0.3)
    monkeypatch.setattr(app, "CONNECTIONS", 20)
    place = app.bind("127.0.0.1", 0)
    served = app.Service(scorer=Zeros(), splitter=Splitter(None))
    server = uvicorn.Server(app.configure(served, log_level="critical"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[place])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield place.getsockname()[1]
    server.should_exit = True
    thread.join(10)


def healthy(port: int) -> int:
    return httpx.get(f"http://localhost:{port}/health").status_code


def ended(line: socket.socket) -> bool:
    """Whether the server hangs up within some seconds."""
    line.settimeout(5)
    try:
        while line.recv(65_536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_who_does_not_finish_a_request_is_hung_up_on(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(sent)
        assert ended(line)
    assert healthy(port) == 200


def test_a_byte_now_and_then_buys_no_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line, pytest.raises(ConnectionError):
        for byte in GOOD * 2:
            line.sendall(bytes([byte]))
            time.sleep(0.1)


@pytest.mark.parametrize("sent", [HEAD, GOOD])
def test_half_open_and_idle_connections_keep_nobody_out(port: int, sent: bytes) -> None:
    with ExitStack() as lines:
        for i in range(220):
            line = lines.enter_context(socket.create_connection(("127.0.0.1", port)))
            line.sendall(sent)
            if i % 20 == 0:
                assert healthy(port) == 200
        assert healthy(port) == 200


def test_an_honest_client_may_rest_between_requests(port: int) -> None:
    with httpx.Client(base_url=f"http://localhost:{port}") as http:
        ours = set()
        for pause in (0.0, 1.0, 1.0):
            time.sleep(pause)
            found = http.get("/health")
            ours.add(found.extensions["network_stream"].get_extra_info("client_addr"))
            assert found.status_code == 200
    assert len(ours) == 1


@pytest.mark.parametrize(
    "host", ["localhost:1@evil.example", "localhost.evil.example", "127.0.0.1:x", "[::1", "127.1"]
)
def test_a_host_is_one_of_ours_or_refused(port: int, host: str) -> None:
    found = httpx.get(f"http://127.0.0.1:{port}/health", headers={"Host": host})
    assert found.status_code == 400 and "host must be" in found.json()["detail"]
