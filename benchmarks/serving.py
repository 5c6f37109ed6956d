"""What serving costs: the server's throughput on loopback against the trunk's own.

    kept = (items / second through the server) / (items / second of `trunk.read` of the same texts)

A reward fitted on the embedded world is served by the real command in a process of its own; 64
clients, connections of one asyncio process that speaks plain HTTP/1.1, post requests of
`--items` pairs to `/score` until every text is scored once. The bare reading takes all the texts
in one call, in the trunk's best batches, without the reward and without a cache, on one thread.
Server and bare reading take turns, bare readings on both sides of every served one, so that a busy
machine disturbs both; each ratio takes the mean of its two neighbours. Clients, event loop and
scoring share the machine's cores: the clients' processor time is measured and reported, not
subtracted. Every reply's numbers are compared with those of scoring the texts directly; a request
is lost if its reply is not 200, or if a number differs by more than float32 rounding (1e-3 of a
reward's spread).

    python -m benchmarks.serving [--repeats 8] [--items 8 16 1]
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import headline, write_result
from benchmarks.flipped_labels import Arguments as Labels
from benchmarks.flipped_labels import labelled
from trueline import stats
from trueline.cli.common import set_threads
from trueline.models.adapters import BasePolicy
from trueline.models.trunk import Trunk
from trueline.records import Response, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rng import stream
from trueline.serving.listening import keep_memory
from trueline.worlds.sums import Sums, trunk_path


@dataclass
class Arguments:
    texts: int = 1_536
    items: tuple[int, ...] = (8, 16, 1)
    """Pairs of a request; the first has the bar, and twice the repeats of the others."""
    clients: int = 64
    repeats: int = 8
    pairs: int = 300
    """Comparisons that the reward is fitted on."""
    seed: int = 0
    out: Path = Path("results/serving.json")


class Server:
    """`trueline serve` in a process of its own."""

    def __init__(self, reward: Path) -> None:
        command = [sys.executable, "-m", "trueline", "serve", str(reward)]
        command += ["--port", "0", "--no-token", "--json"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if "listening" not in line:
            raise RuntimeError(line + self.process.stderr.read())
        self.port = int(line.split(":")[-1].strip("/ \n"))

    def cpu_s(self) -> float:
        """Processor seconds it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def batches(self) -> int:
        """Batches it has scored."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health") as reply:
            return int(json.load(reply)["batches"])

    def stop(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=60)
        if self.process.returncode:
            raise RuntimeError(f"the server ended with code {self.process.returncode}")
        result: dict[str, Any] = json.loads(out)
        return result


async def one_client(port: int, bodies: list[tuple[int, bytes]], replies: list[bytes]) -> None:
    """Take bodies from the shared list until none is left, over one connection."""
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


def served(port: int, texts: Sequence[Response], items: int, clients: int) -> dict[str, Any]:
    """Seconds, the clients' processor seconds, and the replies' rows, for all texts once."""
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

    cpu, start = time.process_time(), time.perf_counter()
    asyncio.run(everybody())
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    rows = [json.loads(reply)["rows"] if reply else [] for reply in replies]
    return {"wall_s": wall, "client_cpu_s": cpu, "rows": rows, "sizes": [len(p) for p in parts]}


def lost(run: dict[str, Any], direct: Scores) -> int:
    """Requests without a right answer."""
    count, at, spread = 0, 0, float(direct.mean.std())
    for rows, size in zip(run["rows"], run["sizes"], strict=True):
        there = slice(at, at + size)
        at += size
        right = len(rows) == size and all(
            np.allclose([row[name] for row in rows], getattr(direct, name)[there], atol=1e-3 * s)
            for name, s in (("mean", spread), ("std", spread), ("lower", spread), ("novelty", 1.0))
        )
        count += not right
    return count


def measure(
    trunk: Trunk, server: Server, texts: list[Response], direct: Scores, o: Arguments, items: int
) -> dict[str, Any]:
    """Bare and served readings in turn."""
    bare_cpu = []

    def bare() -> float:
        cpu, start = time.process_time(), time.perf_counter()
        trunk.read(texts)
        wall = time.perf_counter() - start
        bare_cpu.append(time.process_time() - cpu)
        return wall

    served(server.port, texts[:256], items, o.clients)
    before, runs, missing, requests = [bare()], [], 0, 0
    for _ in range(o.repeats if items == o.items[0] else o.repeats // 2):
        cpu, batches = server.cpu_s(), server.batches()
        run = served(server.port, texts, items, o.clients)
        run["server_cpu_s"] = server.cpu_s() - cpu
        run["items_per_batch"] = len(texts) / (server.batches() - batches)
        missing += lost(run, direct)
        requests += len(run["sizes"])
        runs.append(run)
        before.append(bare())
    neighbours = (np.array(before[:-1]) + np.array(before[1:])) / 2
    kept = neighbours / np.array([run["wall_s"] for run in runs])
    rng = stream(o.seed, "serving", "bootstrap", items)
    found = {
        "items_per_request": items,
        "kept": stats.bootstrap(np.median, kept, rng=rng).as_dict(),
        "kept_range": [float(kept.min()), float(kept.max())],
        "bare_items_per_s": len(texts) / float(np.median(before)),
        "served_items_per_s": len(texts) / float(np.median([run["wall_s"] for run in runs])),
        "requests": requests,
        "lost": missing,
        **{
            name: float(np.median([run[name] for run in runs]))
            for name in ("wall_s", "client_cpu_s", "server_cpu_s", "items_per_batch")
        },
        "bare_cpu_s": float(np.median(bare_cpu)),
        "kept_of_processor_time": float(np.median(bare_cpu))
        / float(np.median([run["server_cpu_s"] for run in runs])),
        "bare_s": [round(x, 3) for x in before],
        "served_s": [round(run["wall_s"], 3) for run in runs],
    }
    print(json.dumps(found))
    return found


def main(arguments: Arguments) -> None:
    set_threads(1)
    keep_memory()  # as the server does, for the bare reading too
    trunk, world = Trunk.load(trunk_path()), Sums()
    policy = BasePolicy(trunk, max_new_tokens=80)
    pairs = labelled(policy, world, Labels(pairs=arguments.pairs), arguments.seed)
    head = Conservative(head=Bayesian(), k=1.0)
    reward = head.fit(
        trunk.read(pairs.responses), pairs, rng=stream(arguments.seed, "serving", "fit")
    )
    rng = stream(arguments.seed, "serving", "texts")
    texts: dict[str, Response] = {}
    while len(texts) < arguments.texts:
        for row in policy.sample(world.prompts(128, rng, split="eval"), num_samples=8, rng=rng):
            texts.update({r.key: r for r in row})
    asked = list(texts.values())[: arguments.texts]
    direct = reward.on(trunk).score([r.prompt for r in asked], [r.text for r in asked])
    with tempfile.TemporaryDirectory() as folder:
        reward.save(Path(folder) / "reward", model=str(trunk_path()))
        server = Server(Path(folder) / "reward")
        try:
            found = [measure(trunk, server, asked, direct, arguments, n) for n in arguments.items]
        finally:
            summary = server.stop()
    write_result(
        arguments.out,
        {
            "trunk": trunk.fingerprint()[:16],
            "texts": len(asked),
            "clients": arguments.clients,
            "runs": found,
            "server": {name: summary[name] for name in ("answers", "batches", "scored", "failed")},
        },
        seeds=[arguments.seed],
        headlines=headlines(found, arguments),
    )


def headlines(found: list[dict[str, Any]], arguments: Arguments) -> list[dict[str, Any]]:
    kept, missing = found[0]["kept"], sum(run["lost"] for run in found)
    what = f"{arguments.clients} clients on loopback"
    return [
        headline(
            f"{what}, {arguments.items[0]} items a request: share of the trunk's bare "
            "throughput that the server keeps",
            kept,
            bar="≥ 0.85",
            met=kept["value"] >= 0.85,
        ),
        *(
            headline(
                f"the same, {run['items_per_request']} items a request",
                run["kept"],
                bar="",
                met=None,
            )
            for run in found[1:]
        ),
        headline(
            f"{what}: requests lost or answered wrongly",
            f"{missing} of {sum(run['requests'] for run in found)}",
            bar="0",
            met=missing == 0,
        ),
    ]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
