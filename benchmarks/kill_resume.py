"""Kill `trueline run` at random moments, resume it, and compare its result with an untouched run's.

    python -m benchmarks.kill_resume --kills 10

Every killed run is started again with the same command until it ends. Times and paths aside, the
final JSON must be the same, byte for byte.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common import headline, write_result

SMALL = [
    "--rounds",
    "3",
    "--labels",
    "240",
    "--prompts-per-round",
    "24",
    "--measured-prompts",
    "24",
    "--threads",
    "1",
    "--json",
]


@dataclass
class Arguments:
    kills: int = 10
    """Random moments at which the process gets SIGKILL."""
    seed: int = 0
    out: Path = Path("results/kill_resume.json")


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "trueline", "run", "--out", str(out), *SMALL]


def comparable(text: str) -> dict[str, Any]:
    """The result without times and paths."""
    result: dict[str, Any] = json.loads(text)
    for name in ("wall_s", "run"):
        result.pop(name)
    for row in result["rounds"]:
        row["reward"].pop("fit_s")
    return result


def finish(out: Path) -> dict[str, Any]:
    done = subprocess.run(command(out), capture_output=True, text=True, check=True)
    return comparable(done.stdout)


def main(arguments: Arguments) -> None:
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        expected = finish(Path(folder) / "whole")
        whole_s = time.monotonic() - start
        kills: list[dict[str, Any]] = []
        number = 0
        while len(kills) < arguments.kills:
            out = Path(folder) / f"killed-{number}"
            number += 1
            moments = []
            while len(kills) + len(moments) < arguments.kills and len(moments) < 3:
                process = subprocess.Popen(
                    command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                wait = draw.uniform(0.2, 0.95) * whole_s
                try:
                    process.wait(timeout=wait)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    moments.append(round(wait, 2))
                else:
                    break
            same = finish(out) == expected
            kills += [{"run": number, "after_s": m, "same": same} for m in moments]
            print(f"run {number}: killed after {moments} s, same result: {same}", flush=True)
    identical = all(kill["same"] for kill in kills)
    write_result(
        arguments.out,
        {"whole_s": round(whole_s, 1), "kills": kills, "identical": identical},
        seeds=[arguments.seed],
        headlines=[
            headline(
                "killed at random moments and resumed: results equal to the untouched run's",
                f"{sum(kill['same'] for kill in kills)} of {len(kills)} kills",
                bar="all",
                met=identical,
            )
        ],
    )
    if not identical:
        sys.exit("a resumed run came to another result")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
