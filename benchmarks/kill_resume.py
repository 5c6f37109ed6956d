"""Kill `trueline run` at random moments, resume it, and compare its result with an untouched run's.

    python -m benchmarks.kill_resume

Plainly, and under `accelerate launch` with two processes, which all get SIGKILL at once. Every
killed run is started again with the same command until it ends. Times and paths aside, the final
JSON must be the same, byte for byte; under the launcher it is compared with an untouched run under
the launcher, and that one with the plain run, where floats may differ in what sums' order changes.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tyro

from benchmarks.common import headline, write_result

SMALL = {
    "rounds": 3,
    "labels": 90,
    "prompts-per-round": 16,
    "measured-prompts": 6,
    "max-new-tokens": 60,
    "threads": 1,
}
# With --cpu, accelerate 1.15 starts one process whatever it is told.
LAUNCHER = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCHER += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
LAUNCHER += ["--main_process_port", "0"]


@dataclass
class Arguments:
    kills: int = 10
    """Random moments at which the plain run gets SIGKILL."""
    launch: int = 10
    """Random moments at which all processes under `accelerate launch` get it."""
    others: int = 2
    """The same for each of the other optimisers, plainly and under the launcher."""
    seed: int = 0
    out: Path = Path("results/kill_resume.json")


@dataclass
class Arm:
    """One command, the result it should come to, and what became of its kills."""

    optimiser: str
    launched: bool
    folder: Path
    draw: random.Random
    whole_s: float = 0.0
    expected: dict[str, Any] = field(default_factory=dict)
    kills: list[dict[str, Any]] = field(default_factory=list)

    def command(self, out: Path) -> list[str]:
        options = [f"--{name}={value}" for name, value in SMALL.items()]
        options += [f"--optimiser={self.optimiser}", f"--out={out}", "--json"]
        launcher = LAUNCHER if self.launched else []
        return [sys.executable, *launcher, "-m", "trueline", "run", *options]

    def finish(self, out: Path) -> dict[str, Any]:
        done = subprocess.run(self.command(out), capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        return comparable(done.stdout)

    def measure(self) -> None:
        start = time.monotonic()
        self.expected = self.finish(self.folder / "whole")
        self.whole_s = time.monotonic() - start
        assert self.expected["processes"] == 1 + self.launched, "the launcher must start two"

    def kill(self, num: int) -> None:
        """`num` kills in all, at most three of one run."""
        number = 0
        while len(self.kills) < num:
            number += 1
            out, moments = self.folder / f"killed-{number}", []
            while len(self.kills) + len(moments) < num and len(moments) < 3:
                wait = self.draw.uniform(0.2, 0.95) * self.whole_s
                if not self.killed(out, wait):
                    break
                rounds = len(list(out.glob("checkpoints/round-*")))
                moments.append({"after_s": round(wait, 2), "rounds_done": rounds})
            same = self.finish(out) == self.expected
            self.kills += [{"run": number, **moment, "same": same} for moment in moments]
            how = "launched" if self.launched else "plain"
            print(f"{self.optimiser}, {how}: {moments}, same result: {same}", flush=True)

    def killed(self, out: Path, wait: float) -> bool:
        """Whether it was still running then; no process of it is left."""
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(self.command(out), stdout=quiet, stderr=quiet)
        try:
            process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            # The launcher's workers sit in sessions of their own and would outlive it.
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for child in family:
                child.kill()
            process.wait()
            psutil.wait_procs(family)
            return True
        return False

    def record(self) -> dict[str, Any]:
        return {
            "optimiser": self.optimiser,
            "launched": self.launched,
            "whole_s": round(self.whole_s, 1),
            "kills": self.kills,
        }


def comparable(text: str) -> dict[str, Any]:
    """The result without times and paths."""
    result: dict[str, Any] = json.loads(text)
    for name in ("wall_s", "run"):
        result.pop(name)
    for row in result["rounds"]:
        row["reward"].pop("fit_s")
    return result


def decided(result: dict[str, Any]) -> list[Any]:
    """What a run did: labels, decisions, and which answers it measured, by their gold."""
    return [(r["labels"], r["gate"]["decision"], r["gold"]["value"]) for r in result["rounds"]]


def main(arguments: Arguments) -> None:
    draw = random.Random(arguments.seed)
    arms: list[Arm] = []
    with tempfile.TemporaryDirectory() as place:
        for optimiser, launched, kills in (
            ("best_of_n", False, arguments.kills),
            ("best_of_n", True, arguments.launch),
            *((o, la, arguments.others) for o in ("dpo", "grpo") for la in (False, True)),
        ):
            if kills:
                folder = Path(place) / f"{optimiser}-{launched}"
                arms.append(Arm(optimiser, launched, folder, draw))
                arms[-1].measure()
                arms[-1].kill(kills)
    conclude(arms, arguments)


def conclude(arms: list[Arm], arguments: Arguments) -> None:
    plain, launched = ([a for a in arms if a.launched == how] for how in (False, True))
    pairs = [(a, b) for a in plain for b in launched if a.optimiser == b.optimiser]
    alike = [decided(a.expected) == decided(b.expected) for a, b in pairs]
    lines = [
        headline(
            f"killed at random moments and resumed{how}: results equal to the untouched run's",
            f"{sum(k['same'] for k in kills)} of {len(kills)} kills",
            bar="all",
            met=all(k["same"] for k in kills),
        )
        for how, group in (("", plain), (" under accelerate launch, 2 processes", launched))
        if (kills := [kill for arm in group for kill in arm.kills])
    ]
    if pairs:
        lines.append(
            headline(
                "two processes do what one does: labels, decisions and answers",
                f"{sum(alike)} of {len(alike)} optimisers",
                bar="all",
                met=all(alike),
            )
        )
    numbers = {"arms": [arm.record() for arm in arms], "options": SMALL}
    write_result(arguments.out, numbers, seeds=[arguments.seed], headlines=lines)
    if not all(line["met"] for line in lines):
        sys.exit("a resumed run came to another result")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
