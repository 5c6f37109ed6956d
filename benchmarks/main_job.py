"""The main job over several seeds, with helped raters and beside them with easily impressed ones.

    python -m benchmarks.main_job --seeds 0 1 2        (4 minutes a seed on two idle cores)

Each run is the command that a newcomer types, in a process of its own: 2,000 comparisons, of which
a tenth are coin flips. "helped" raters see critiques; "impressed" raters like form and see none.

    share = (gold(final policy) - gold(base)) / (gold(oracle's best of 16) - gold(base))
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Cells, Measured, Options, Row, run
from trueline import stats

__all__ = ["ARMS", "Job", "measure", "one_run"]

ARMS = {"helped": [], "impressed": ["--rater", "simulated:impressed", "--protocol", "direct"]}
QUICK = ["--rounds", "1", "--labels", "60", "--set", "budget.prompts_per_round=8"]
QUICK += ["--set", "evaluate.prompts=6"]
KEPT = ("gold_base", "gold_final", "gold_oracle", "gain_share", "certified_round", "labels_used")


@dataclass(frozen=True, kw_only=True)
class Job(Options):
    """Options of this benchmark."""

    arms: tuple[str, ...] = tuple(ARMS)
    flags: tuple[str, ...] = ()
    """More flags of `trueline run`."""


def one_run(arm: str, seed: int, flags: list[str]) -> dict[str, Any]:
    """Run the command; return its result by round, wall seconds and peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "trueline", "run", "--json", "--seed", str(seed)]
        command += [*ARMS[arm], *flags, "--out", f"{folder}/run"]
        start = time.monotonic()
        with open(f"{folder}/result.json", "w") as file, open(f"{folder}/log", "w") as log:
            process = subprocess.Popen(command, stdout=file, stderr=log, cwd=ROOT)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            log_end = Path(f"{folder}/log").read_text()[-2_000:]
            raise SystemExit(f"{' '.join(command)} ended with status {status}\n{log_end}")
        result = json.loads(Path(f"{folder}/result.json").read_text())
    return {
        "arm": arm,
        "seed": seed,
        "wall_s": round(time.monotonic() - start, 1),
        "peak_mb": usage.ru_maxrss // 1024,
        **{name: result[name] for name in KEPT},
        "rounds": [
            {
                "gold": row["gold"]["value"],
                "reward": row["proxy"]["value"],
                "kl": row["kl"]["value"],
                "gate": row["gate"]["decision"],
                "win_rate": row["gate"]["win_rate"]["value"],
                "labels_agree_with_gold": row["rater_gold_agreement"]["value"],
            }
            for row in result["rounds"]
        ],
    }


def measure(options: Job, cells: Cells) -> Measured:
    """Run every arm and seed, two at a time: two processes of one thread each, as in the demo."""
    flags = [*options.flags, *(QUICK if options.quick else ())]
    seeds = options.seeds[:1] if options.quick else options.seeds
    asked = [(seed, arm) for seed in seeds for arm in options.arms]

    def cell(seed_arm: tuple[int, str]) -> dict[str, Any]:
        seed, arm = seed_arm
        return cells.get(lambda: one_run(arm, seed, flags), arm=arm, seed=seed, flags=flags)

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(cell, asked))
    rows = []
    for arm in options.arms:
        shares = np.array([r["gain_share"]["value"] for r in runs if r["arm"] == arm])
        each = ", ".join(f"{share:.2f}" for share in shares)
        what = f"{arm} raters: share of the way to the oracle's best of 16 (each seed: {each})"
        value = stats.mean(shares)
        helped = arm == "helped"
        bar, met = ("each ≥ 0.8", bool(shares.min() >= 0.8)) if helped else (None, None)
        rows.append(Row(what, value, bar, met))
    slowest, peak = max(r["wall_s"] for r in runs), max(r["peak_mb"] for r in runs)
    rows.append(Row.most("slowest run in seconds, two at a time", float(slowest), 300))
    rows.append(Row.most("peak memory of a run in MB", float(peak), 2048))
    return Measured(rows, {"runs": runs})


if __name__ == "__main__":
    run(measure, Job)
