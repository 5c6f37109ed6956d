"""The main job over several seeds: assisted raters, and beside them unassisted, impressed ones.

    python -m benchmarks.main_job --seeds 0 1 2

Each run is the command a newcomer types, in a process of its own: `trueline run --json`, with 2,000
comparisons of which a tenth are coin flips. Reported: how far gold came of the way from the base
policy to the oracle's best of 16, what the gate decided, wall time and peak memory.
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
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import ROOT, headline, write_result
from trueline import stats

ARMS = {
    "assisted": [],
    "unassisted": ["--rater", "impressed", "--assist", "none"],
    "dpo": ["--optimiser", "dpo"],
}
KEPT = ("gold_base", "gold_final", "gold_oracle", "gain_share", "certified_round", "labels_used")


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[str, ...] = ("assisted", "unassisted")
    """Also dpo: assisted raters, the policy improved by DPO instead of distilled best-of-n."""
    again: bool = False
    """Make the headlines again from the runs already in `out`, without running anything."""
    out: Path = Path("results/main_job.json")


def run(arm: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run of the command line; its result, wall seconds and peak memory in MB."""
    command = [sys.executable, "-m", "trueline", "run", "--json", "--seed", str(seed)]
    command += [*ARMS[arm], "--out", str(folder / f"{arm}-{seed}")]
    output = folder / f"{arm}-{seed}.json"
    start = time.monotonic()
    with output.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    result = json.loads(output.read_text())
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
                "answers": row["gold_breakdown"],
            }
            for row in result["rounds"]
        ],
    }


def measure(arguments: Arguments) -> list[dict[str, Any]]:
    """All runs, two at a time: as in the demo, two processes of one thread each."""
    if arguments.again:
        return list(json.loads(arguments.out.read_text())["runs"])
    with tempfile.TemporaryDirectory() as folder:
        runs: list[dict[str, Any]] = []
        for seed in arguments.seeds:
            with ThreadPoolExecutor(2) as pool:
                runs += pool.map(run, arguments.arms, repeat(seed), repeat(Path(folder)))
            print(json.dumps(runs[-len(arguments.arms) :]), flush=True)
    return runs


def main(arguments: Arguments) -> None:
    runs = measure(arguments)
    lines = []
    for arm in arguments.arms:
        own = [r for r in runs if r["arm"] == arm]
        share = np.array([r["gain_share"]["value"] for r in own])
        bar, met = (
            ("≥ 0.8", bool(share.min() >= 0.8)) if arm == "assisted" else ("(beside it)", None)
        )
        lines.append(
            headline(
                f"main job, {arm} arm: share of the way to oracle best-of-16 "
                f"(each seed: {', '.join(f'{s:.2f}' for s in share)})",
                stats.mean(share).as_dict(),
                bar=bar,
                met=met,
            )
        )
    slowest = max(r["wall_s"] for r in runs)
    peak = max(r["peak_mb"] for r in runs)
    lines += [
        headline(
            "main job, slowest of all runs, two at a time",
            f"{slowest:.0f} s",
            bar="≤ 300 s on two cores",
            met=slowest <= 300,
        ),
        headline(
            "main job, peak memory of a run at the full budget",
            f"{peak} MB",
            bar="≤ 2048 MB",
            met=peak <= 2048,
        ),
    ]
    write_result(arguments.out, {"runs": runs}, seeds=arguments.seeds, headlines=lines)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
