"""A GRPO step and an online round, side by side with TRL 1.16: seconds, processor seconds, memory.

    speed-up = median over repeats of  seconds(TRL) / seconds(ours),  one after the other
    round    = fit the reward on the pairs + the GRPO steps of a round;  peak = ours / TRL

The same checkpoints, prompts, pairs, samples a prompt, token limit, adapter (LoRA of rank 16 on all
linear maps), reference term and number of gradient steps; one gradient step a batch of samples.
Sampling, reward, reference and update are all inside. Each arm runs in a process of its own, ours
and TRL's in turn; models are loaded, TRL's data tokenised and its trainers made before its clock
starts, ours encodes within it; first steps are left out of the step times. The first repeat tries
one and two threads, the others take what was faster for each arm. TRL runs with checkpointing,
logging and saving off and no worker processes. Its reward is a plain classifier that RewardTrainer
trained on the pairs; variants, once each: all weights instead of an adapter, no reference
term, our head as exported for its reward, bfloat16, larger and smaller micro-batches. "random": see
`trl_setting`; nearly every one of its answers holds a special token in mid-text, so that ours
pays a pass for the reference there, which a trained model's answers do not need.

    python -m benchmarks.trl_grpo [--repeats 3] [--device cuda] [--out results/trl_grpo.json]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import ROOT, headline, write_result
from benchmarks.trl_clock import PHASES
from benchmarks.trl_setting import SETTINGS

__all__ = ["compare", "ratio", "where"]

VARIANTS: dict[str, dict[str, Any]] = {
    "all weights": {"lora": False},
    "no reference": {"beta": 0.0},
    "our head exported": {"exported": True},
    "bfloat16": {"bf16": True},
    "micro-batches of 16": {"micro": 16},
    "micro-batches of 4": {"micro": 4},
}


@dataclass
class Arguments:
    repeats: int = 3
    settings: tuple[str, ...] = ("embedded", "random")
    threads: tuple[int, ...] = (1, 2)
    variants: tuple[str, ...] = tuple(VARIANTS)
    steps: int = 3
    """Steps of a variant, the first of which is left out."""
    device: str = "cpu"
    """cuda: the random Llama gets 154 M parameters, in bfloat16."""
    out: Path = Path("results/trl_grpo.json")


def child(folder: Path, setting: str, arm: str, what: str, **rest: Any) -> dict[str, Any]:
    """One arm in a process of its own."""
    job = {"folder": str(folder), "setting": setting, "arm": arm, "what": what, **rest}
    threads = str(job["threads"])
    outside = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.trl_arm", json.dumps(job)],
        cwd=ROOT,
        env=outside,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{job} ended with status {done.returncode}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {"arm": arm, "what": what, "threads": int(threads), **found}


def compare(folder: Path, name: str, arguments: Arguments) -> dict[str, Any]:
    """All runs of one checkpoint."""
    setting, runs = SETTINGS[name], []
    given: dict[str, Any] = {"device": arguments.device, "choice": {}}

    def both(threads: dict[str, int]) -> None:
        for arm in ("ours", "trl"):
            rest = {**given, "threads": threads[arm], "steps": setting.round_steps}
            runs.append(child(folder, name, arm, "round", **rest))
            print(name, arm, f"{round_s(runs[-1]):.1f} s", flush=True)

    for threads in arguments.threads:
        both({"ours": threads, "trl": threads})
    best = {
        arm: min((r for r in runs if r["arm"] == arm), key=round_s)["threads"]
        for arm in ("ours", "trl")
    }
    for _ in range(arguments.repeats - 1):
        both(best)
    alone = {"steps": arguments.steps, **given}
    runs.append(child(folder, name, "ours", "steps", **{**alone, "threads": best["ours"]}))
    for variant in ("as compared", *arguments.variants):
        rest = {**alone, "threads": best["trl"], "choice": VARIANTS.get(variant, {})}
        runs.append({"variant": variant, **child(folder, name, "trl", "steps", **rest)})
    return {"threads": best, "runs": runs, **summary(runs, best)}


def summary(runs: Sequence[dict[str, Any]], best: dict[str, int]) -> dict[str, Any]:
    """The ratios of one checkpoint, and where each arm's seconds go."""
    chosen = {
        arm: [
            r
            for r in runs
            if r["arm"] == arm and r["what"] == "round" and r["threads"] == best[arm]
        ]
        for arm in best
    }
    alone = [r for r in runs if r["what"] == "steps"]
    mine = next(r for r in alone if r["arm"] == "ours")
    other = next(r for r in alone if r.get("variant") == "as compared")
    fits = {arm: float(np.median([r["fit"]["wall_s"] for r in chosen[arm]])) for arm in best}
    return {
        "step": ratio([step_s(r) for r in chosen["trl"]], [step_s(r) for r in chosen["ours"]]),
        "step_cpu": ratio(
            [step_s(r, "cpu_s") for r in chosen["trl"]],
            [step_s(r, "cpu_s") for r in chosen["ours"]],
        ),
        "round": ratio([round_s(r) for r in chosen["trl"]], [round_s(r) for r in chosen["ours"]]),
        "peak": mine["memory"]["peak"] / other["memory"]["peak"],
        "peak_above_imports": above(mine) / above(other),
        "where_s": {arm: {"fit": fits[arm], **where(chosen[arm])} for arm in best},
        "tokens_a_step": {
            arm: float(np.mean([s["tokens"] for r in chosen[arm] for s in r["grpo_steps"]]))
            for arm in best
        },
        "held_out_right": {arm: chosen[arm][0]["accuracy"] for arm in best},
        "variants": {
            r["variant"]: {"step_s": step_s(r), "peak_mb": r["memory"]["peak"]}
            for r in alone
            if "variant" in r
        },
    }


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    """Median of the ratios of neighbours, with their range."""
    each = [a / b for a, b in zip(theirs, ours, strict=False)]
    return {
        "value": float(np.median(each)),
        "lower": min(each),
        "upper": max(each),
        "n": len(each),
    }


def where(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Median seconds of a step, and of its parts."""
    steps = [step for run in runs for step in run["grpo_steps"]]
    names = ("wall_s", "cpu_s", *PHASES, "update")
    return {name: float(np.median([step[name] for step in steps])) for name in names}


def step_s(run: dict[str, Any], key: str = "wall_s") -> float:
    return float(np.median([step[key] for step in run["grpo_steps"]]))


def round_s(run: dict[str, Any]) -> float:
    return float(run["fit"]["wall_s"] + run["improve"]["wall_s"])


def above(run: dict[str, Any]) -> float:
    """Peak memory above what the arm's imports take."""
    return float(run["memory"]["peak"] - run["imported"])


def headlines(name: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    fastest = min(
        (v["step_s"], k) for k, v in found["variants"].items() if k not in ("no reference",)
    )
    named = f"{name} Llama against TRL"
    step, whole = found["step"], found["round"]
    gained = fastest[0] / found["where_s"]["ours"]["wall_s"]
    return [
        headline(f"{named}: GRPO step, times faster", step, bar="≥ 2", met=step["value"] >= 2),
        headline(
            f"{named}: GRPO step, times faster than its fastest variant ({fastest[1]}), once",
            round(gained, 2),
            bar="≥ 2",
            met=gained >= 2,
        ),
        headline(
            f"{named}: peak memory, share of TRL's",
            round(found["peak"], 3),
            bar="≤ 0.6",
            met=found["peak"] <= 0.6,
        ),
        headline(
            f"{named}: peak memory above imports, share of TRL's",
            round(found["peak_above_imports"], 3),
            bar="(beside it)",
            met=None,
        ),
        headline(f"{named}: online round, times faster", whole, bar="≥ 5", met=whole["value"] >= 5),
    ]


def main(arguments: Arguments) -> None:
    found, lines = {}, []
    wide = {"width": 1_024, "layers": 12} if arguments.device == "cuda" else {}
    for name in arguments.settings:
        with tempfile.TemporaryDirectory() as scratch:
            folder = SETTINGS[name].make(Path(scratch), **wide)
            found[name] = compare(folder, name, arguments)
        lines += headlines(name, found[name])
    numbers = {"device": arguments.device, "settings": found}
    write_result(arguments.out, numbers, seeds=[0], headlines=lines)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
