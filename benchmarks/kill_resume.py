"""Kill `trueline run` at random moments, resume it, and compare with a run that nobody touched.

    python -m benchmarks.kill_resume                   (12 minutes on two idle cores)

Plainly, and under `accelerate launch` with two processes, which all get SIGKILL at once; other
optimisers besides. A killed run is started again with the same command until it ends. Times and
paths aside, the final JSON must be the same, byte for byte. Under the launcher it is compared with
an untouched run under the launcher, and that one with the plain run in what it did: floats may
differ in what the order of a sum changes.
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

import psutil

from benchmarks.common import Cells, Measured, Options, Row, run

__all__ = ["Arm", "Kills", "comparable", "measure"]

CHANGES = ("budget.prompts_per_round=16", "evaluate.prompts=6", "model.max_new_tokens=60")
SMALL = ["--rounds=3", "--labels=90", "--threads=1", "--json", *(f"--set={c}" for c in CHANGES)]
# With --cpu, accelerate 1.15 starts one process whatever it is told.
LAUNCHER = [
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    *("--main_process_port", "0"),
]


@dataclass(frozen=True, kw_only=True)
class Kills(Options):
    """Options of this benchmark."""

    seeds: tuple[int, ...] = (0,)
    """Of the moments."""
    plain: int = 10
    """Kills of the plain run."""
    launched: int = 10
    """Kills of the run under the launcher."""
    others: int = 2
    """Kills for each other optimiser, plainly and under the launcher."""


@dataclass(frozen=True)
class Arm:
    """One command: an optimiser, plainly or under the launcher."""

    optimiser: str
    launched: bool

    def command(self, out: Path) -> list[str]:
        """Return the command that starts or resumes a run in the folder `out`."""
        launcher = LAUNCHER if self.launched else []
        options = [*SMALL, f"--optimiser={self.optimiser}", f"--out={out}"]
        return [sys.executable, *launcher, "-m", "trueline", "run", *options]

    def finish(self, out: Path) -> dict[str, Any]:
        """Run the command to its end; return the result without times and paths."""
        done = subprocess.run(self.command(out), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-2_000:])
        return comparable(done.stdout)

    def killed(self, out: Path, after_s: float) -> bool:
        """Start the command and kill all its processes; say whether it was still running."""
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(self.command(out), stdout=quiet, stderr=quiet)
        try:
            process.wait(timeout=after_s)
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


def comparable(text: str) -> dict[str, Any]:
    """Return the result without times and paths."""
    result: dict[str, Any] = json.loads(text)
    for name in ("wall_s", "run"):
        result.pop(name)
    for row in result["rounds"]:
        row["reward"].pop("fit_s")
    return result


def decided(result: dict[str, Any]) -> list[Any]:
    """Return what a run did: labels, decisions, and the gold of the answers it measured."""
    return [[r["labels"], r["gate"]["decision"], r["gold"]["value"]] for r in result["rounds"]]


def kill_often(arm: Arm, num: int, seed: int) -> dict[str, Any]:
    """Kill the arm's run `num` times, at most three times each run, and resume it to its end."""
    draw, kills = random.Random(f"{seed} {arm}"), []
    with tempfile.TemporaryDirectory() as place:
        start = time.monotonic()
        expected = arm.finish(Path(place) / "untouched")
        whole_s = time.monotonic() - start
        if expected["processes"] != 1 + arm.launched:
            raise SystemExit(f"the launcher must start two processes, got {expected['processes']}")
        number = 0
        while len(kills) < num:
            number += 1
            out, moments = Path(place) / f"killed-{number}", []
            while len(kills) + len(moments) < num and len(moments) < 3:
                wait = draw.uniform(0.2, 0.95) * whole_s
                if not arm.killed(out, wait):
                    break
                rounds = len(list(out.glob("checkpoints/round-*")))
                moments.append({"run": number, "after_s": round(wait, 2), "rounds_done": rounds})
            same = arm.finish(out) == expected
            kills += [moment | {"same": same} for moment in moments]
    return {"whole_s": round(whole_s, 1), "decided": decided(expected), "kills": kills}


def measure(options: Kills, cells: Cells) -> Measured:
    """Kill every arm's run and compare results."""
    plan = [(Arm("best_of_n", False), options.plain), (Arm("best_of_n", True), options.launched)]
    plan += [(Arm(o, how), options.others) for o in ("dpo", "grpo") for how in (False, True)]
    if options.quick:
        plan = [(Arm("best_of_n", False), 1)]
    seed, done = options.seeds[0], {}
    for arm, num in plan:
        if num:
            key = {"optimiser": arm.optimiser, "launched": arm.launched, "num": num, "seed": seed}
            done[arm] = cells.get(lambda arm=arm, num=num: kill_often(arm, num, seed), **key)
    rows = []
    for launched, how in ((False, ""), (True, " under accelerate launch, 2 processes")):
        same = [k["same"] for arm in done if arm.launched == launched for k in done[arm]["kills"]]
        if same:
            what = (
                f"killed at random moments and resumed{how}: results equal to the untouched run's"
            )
            rows.append(Row(what, f"{sum(same)} of {len(same)} kills", "all", all(same)))
    pairs = [(done[a], done[b]) for a in done for b in done
             if a.optimiser == b.optimiser and not a.launched and b.launched]  # fmt: skip
    if pairs:
        alike = [a["decided"] == b["decided"] for a, b in pairs]
        what = "two processes do what one does: labels, decisions and answers"
        rows.append(Row(what, f"{sum(alike)} of {len(alike)} optimisers", "all", all(alike)))
    arms = [{"optimiser": a.optimiser, "launched": a.launched, **done[a]} for a in done]
    return Measured(rows, {"arms": arms, "flags": SMALL})


if __name__ == "__main__":
    run(measure, Kills)
