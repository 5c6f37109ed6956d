"""What serving costs: the server's throughput on loopback against the trunk's own.

    python -m benchmarks.serving                       (10 minutes)

    kept = (items / second through the server) / (items / second of `trunk.read` of the same texts)

A reward fitted on the embedded world is served by the real command in a process of its own; 64
clients, connections of one asyncio process that speaks plain HTTP/1.1, post requests to `/score`
until every text is scored once. The bare reading takes all the texts in one call, without the
reward and without a cache, on one thread. Server and bare reading take turns, so that a busy
machine disturbs both; each ratio takes the mean of the two bare readings beside it. Clients and
server share the machine's cores. Every reply's numbers are compared with those of scoring directly:
a request is lost if its reply is not 200, or if a number differs by more than float32 rounding.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Cells, Measured, Options, Row, run, timed
from benchmarks.material import answers, embedded, labelled_pairs
from trueline import stats
from trueline.models.trunk import Trunk
from trueline.records import Response, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rng import stream
from trueline.worlds.sums import trunk_path

__all__ = ["Server", "Serving", "measure"]


@dataclass(frozen=True, kw_only=True)
class Serving(Options):
    """Options of this benchmark."""

    seeds: tuple[int, ...] = (0,)
    texts: int = 1_536
    items: tuple[int, ...] = (8, 16, 1)
    """Texts of a request; the first has the bar."""
    clients: int = 64
    repeats: int = 8
    pairs: int = 300
    """Comparisons that the reward is fitted on."""


class Server:
    """`trueline serve` in a process of its own, as a context."""

    def __init__(self, reward: Path) -> None:
        command = [sys.executable, "-m", "trueline", "serve", str(reward)]
        command += ["--port", "0", "--no-token", "--json"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if "listening" not in line:
            raise SystemExit(line + self.process.stderr.read())
        self.port = int(line.split(":")[-1].strip("/ \n"))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)


async def one_client(port: int, bodies: list[tuple[int, bytes]], replies: list[bytes]) -> None:
    """Post bodies of the shared list until none is left, over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while bodies:
        number, body = bodies.pop()
        head = (
            f"POST /score HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(answer.split("content-length:")[1].split("\r\n")[0])
        content = await reader.readexactly(length)
        replies[number] = content if " 200 " in answer.split("\r\n")[0] else b""
    writer.close()


def serve(port: int, texts: Sequence[Response], items: int, clients: int) -> list[Any]:
    """Have all texts scored once; return the rows of each reply, none where it failed."""
    parts = [texts[i : i + items] for i in range(0, len(texts), items)]
    bodies = [
        json.dumps(
            {"prompts": [r.prompt.text for r in part], "responses": [r.text for r in part]}
        ).encode()
        for part in parts
    ]
    replies, waiting = [b""] * len(bodies), list(enumerate(bodies))[::-1]

    async def everybody() -> None:
        await asyncio.gather(*(one_client(port, waiting, replies) for _ in range(clients)))

    asyncio.run(everybody())
    return [json.loads(reply)["rows"] if reply else [] for reply in replies]


def lost(replies: list[Any], direct: Scores, items: int) -> int:
    """Count the requests without a right answer."""
    count, spread = 0, float(direct.column("mean").std())
    for i, rows in enumerate(replies):
        here = slice(i * items, (i + 1) * items)
        expected = {name: direct.column(name)[here] for name in ("mean", "std", "lower")}
        count += not (
            len(rows) == len(expected["mean"])
            and all(
                np.allclose([row[name] for row in rows], values, atol=1e-3 * spread)
                for name, values in expected.items()
            )
        )
    return count


def compare(
    trunk: Trunk, port: int, texts: list[Response], direct: Scores, options: Serving, items: int
) -> dict[str, Any]:
    """Read bare and through the server in turn; return seconds and requests lost."""

    def bare() -> float:
        return timed(lambda: trunk.read(texts))[1]["wall_s"]

    serve(port, texts[:256], items, options.clients)
    before, served, missing = [bare()], [], 0
    repeats = options.repeats if items == options.items[0] else (options.repeats + 1) // 2
    for _ in range(repeats):
        replies, spent = timed(lambda: serve(port, texts, items, options.clients))
        served.append(spent["wall_s"])
        missing += lost(replies, direct, items)
        before.append(bare())
    requests = repeats * len(replies)
    return {"items": items, "bare_s": before, "served_s": served, "lost": missing,
            "requests": requests}  # fmt: skip


def measure(options: Serving, cells: Cells) -> Measured:
    """Fit a reward, serve it, and compare."""
    if options.quick:
        options = Serving(texts=64, items=(8,), clients=4, repeats=1, pairs=60)
    (trunk, policy), seed = embedded(), options.seeds[0]
    pairs = labelled_pairs(policy, options.pairs, stream(seed, "serving", "pairs"))
    readings, rng = trunk.read(pairs.responses), stream(seed, "serving", "fit")
    reward = Conservative(head=Bayesian(), k=1.0).fit(readings, pairs, rng=rng)
    texts = answers(policy, options.texts, stream(seed, "serving", "texts"))
    direct = reward.on(trunk).score([r.prompt for r in texts], [r.text for r in texts])
    with tempfile.TemporaryDirectory() as folder:
        reward.save(Path(folder) / "reward", model=str(trunk_path()))
        with Server(Path(folder) / "reward") as server:
            found = [compare(trunk, server.port, texts, direct, options, n) for n in options.items]
    rows = []
    for run_ in found:
        before = np.array(run_["bare_s"])
        kept = (before[:-1] + before[1:]) / 2 / np.array(run_["served_s"])
        value = stats.bootstrap(np.median, kept, rng=stream(seed, "serving", run_["items"]))
        what = f"{options.clients} clients, {run_['items']} texts a request: share of the trunk's "
        what += "own throughput that the server keeps"
        first = run_["items"] == options.items[0]
        rows.append(Row.least(what, value, 0.85) if first else Row(what, value))
    missing, asked = (sum(run_[name] for run_ in found) for name in ("lost", "requests"))
    rows.append(Row("requests lost or answered wrongly", f"{missing} of {asked}", "0", not missing))
    return Measured(rows, {"runs": found, "texts": len(texts)})


if __name__ == "__main__":
    run(measure, Serving)
