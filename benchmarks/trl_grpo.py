"""A GRPO step side by side with TRL 1.16: seconds and peak memory.

    python -m benchmarks.trl_grpo                       # the embedded model (15 minutes)
    python -m benchmarks.trl_grpo --model FOLDER        # and a checkpoint, such as SmolLM2-135M

    times faster = median over repeats of  step seconds (TRL) / step seconds (ours), in turn

The same checkpoint, prompts, samples a prompt, token limit, adapter (LoRA of rank 16 on all linear
maps), float32, reference term, threads and one gradient step a batch of samples. Sampling, reward,
reference and update are all inside. Each arm runs in a process of its own; loading is outside.
TRL's reward is a classifier of the same checkpoint, as RewardTrainer would make it; beside it, once
each: micro-batches of 32, and our reward inside TRL. TRL's micro-batches are of 8, its default;
ours are what fits into memory. Ours reads the trunk once for the reward and the reference; TRL
makes a pass for each.

Samples end where the model ends them or at the token limit; an answer that was cut is learned from
in both arms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Cells, Measured, Options, Row, median_ratio, run
from benchmarks.material import embedded, labelled_pairs
from trueline.rng import stream
from trueline.worlds.sums import trunk_path

__all__ = ["Steps", "child", "measure"]

EMBEDDED = {"prompts": 16, "samples": 8, "max_new_tokens": 80, "num_pairs": 300}
CHECKPOINT = {"prompts": 8, "samples": 8, "max_new_tokens": 48, "num_pairs": 60}
TINY = {"prompts": 2, "samples": 2, "max_new_tokens": 12, "num_pairs": 40}
# What TRL is tried with besides, once each: the arm as compared has micro-batches of 8.
VARIANTS = {
    "micro-batches of 32": {"micro": 32},
    "our reward": {"reward": "ours"},
}


@dataclass(frozen=True, kw_only=True)
class Steps(Options):
    """Options of this benchmark."""

    seeds: tuple[int, ...] = (0,)
    threads: int = 2
    """Of each arm's process."""
    repeats: int = 3
    steps: int = 3
    """Steps of an arm, the first of which is left out."""
    embedded: bool = True
    """Whether to measure on the model that ships with the package."""
    variants: bool = True
    """Whether to try TRL's variants too, once each."""
    model: Path | None = None
    """A Hugging Face folder to measure on besides."""


def child(job: dict[str, Any]) -> dict[str, Any]:
    """Run one arm in a process of its own; return its steps' seconds and its peak memory."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(job["threads"]),
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "benchmarks.trl_arms", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{job['arm']} ended with {done.returncode}\n{done.stderr[-2_000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def compare(name: str, model: Path, sizes: dict[str, int], options: Steps, cells: Cells) -> Any:
    """Return the runs of both arms on one checkpoint, in turn, and TRL's variants."""
    shared = {"seed": options.seeds[0], "threads": options.threads, "steps": options.steps}
    shared |= {"micro": min(8, sizes["prompts"] * sizes["samples"]), "reward": "classifier"}
    shared |= {k: v for k, v in sizes.items() if k != "num_pairs"}
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.jsonl.gz"
        policy = embedded()[1]
        labelled_pairs(policy, sizes["num_pairs"], stream(0, "trl", "pairs")).save(pairs)

        def arm(arm: str, repeat: int, **more: Any) -> dict[str, Any]:
            job = {**shared, **more, "arm": arm}
            place = {"model": str(model), "pairs": str(pairs)}
            return cells.get(lambda: child(job | place), name=name, repeat=repeat, **job)

        runs: dict[str, list[Any]] = {"ours": [], "trl": []}
        for repeat in range(1 if options.quick else options.repeats):
            for who in ("ours", "trl"):
                runs[who].append(arm(who, repeat))
        variants = VARIANTS if options.variants and not options.quick else {}
        return runs | {v: [arm("trl", 0, **more)] for v, more in variants.items()}


def step_s(one: dict[str, Any]) -> float:
    """Return the median wall seconds of a run's steps."""
    return float(np.median([step["wall_s"] for step in one["steps"]]))


def rows_of(name: str, runs: dict[str, list[Any]]) -> list[Row]:
    """Return the rows of one checkpoint."""
    ours, trl = ([step_s(r) for r in runs[who]] for who in ("ours", "trl"))
    peaks = [np.median([r["peak_mb"] for r in runs[who]]) for who in ("ours", "trl")]
    seconds = f"{np.median(ours):.1f} s against {np.median(trl):.1f} s"
    what = f"{name}: GRPO step, times faster than TRL ({seconds})"
    rows = [Row.least(what, median_ratio(trl, ours), 2 if name == "embedded" else 4)]
    if variants := runs.keys() - {"ours", "trl"}:
        best = min(variants, key=lambda who: step_s(runs[who][0]))
        ratio = step_s(runs[best][0]) / float(np.median(ours))
        rows.append(Row(f"{name}: the same against TRL's fastest variant ({best}), once", ratio))
    share = float(peaks[0] / peaks[1])
    memory = f"{name}: peak memory, share of TRL's"
    return [*rows, Row(memory, share) if name == "embedded" else Row.most(memory, share, 0.6)]


def measure(options: Steps, cells: Cells) -> Measured:
    """Compare on the embedded model and on the checkpoint, if one is given."""
    asked = [("embedded", Path(trunk_path()), EMBEDDED)] if options.embedded else []
    if options.model is not None:
        asked.append((options.model.name, options.model, CHECKPOINT))
    rows, numbers = [], {}
    for name, model, sizes in asked:
        sizes = TINY if options.quick else sizes
        numbers[name] = {"sizes": sizes, "runs": compare(name, model, sizes, options, cells)}
        rows += rows_of(name, numbers[name]["runs"])
    return Measured(rows, numbers)


if __name__ == "__main__":
    run(measure, Steps)
