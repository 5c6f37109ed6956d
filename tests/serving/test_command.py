"""The real server process, and what cannot be served."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from rich.console import Console

from trueline.cli.serve import ServeVerb
from trueline.errors import InputError, SetupError
from trueline.models.trunk import Trunk
from trueline.worlds.sums import trunk_path

from .conftest import sums_reward


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """A reward's folder, and its lower bounds of "answer 0" … "answer 19" to "start 7"."""
    trunk = Trunk.load(trunk_path())
    fitted = sums_reward(trunk).with_lower_bound(1.0)
    folder = tmp_path_factory.mktemp("served") / "reward"
    fitted.save(folder, model=str(trunk_path()))
    scores = fitted.on(trunk).score(["start 7"] * 20, [f"answer {i}" for i in range(20)])
    return folder, scores.column("lower").tolist()


def test_the_command_serves_and_stops(saved: tuple[Path, list[float]]) -> None:
    folder, expected = saved
    command = [sys.executable, "-m", "trueline", "serve", str(folder), "--port", "0", "--json"]
    pipe, env = subprocess.PIPE, {**os.environ, "TRUELINE_TOKEN": "sesame"}
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("listening on http://127.0.0.1:") and "sesame" not in line
        port = int(line.strip().rstrip("/").split(":")[-1])

        async def ask() -> tuple[list[float], int]:
            address = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=address, timeout=60) as http:
                asked = [{"prompt": "start 7", "response": f"answer {i}"} for i in range(20)]
                posts = (http.post("/slime?token=sesame", json=body) for body in asked)
                replies = await asyncio.gather(*posts)
                return [reply.json() for reply in replies], (await http.get("/health")).status_code

        values, code = asyncio.run(ask())
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    np.testing.assert_allclose(values, expected, atol=1e-4)
    assert code == 401 and process.returncode == 0
    assert json.loads(out)["scored"] == 20


def test_what_cannot_be_served(saved: tuple[Path, list[float]], tmp_path: Path) -> None:
    folder, _ = saved
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for verb, kind, says in (
            (ServeVerb(reward=folder, host="0.0.0.0", no_token=True), InputError, "token"),
            (ServeVerb(reward=folder, port=port), SetupError, "free"),
            (ServeVerb(reward=tmp_path, port=0), SetupError, "card.json"),
            (ServeVerb(reward=folder, unscored=math.nan), InputError, "finite"),
        ):
            with pytest.raises(kind, match=says):
                verb.execute(Console(stderr=True))
