"""Run folders such as the loop writes, made up: every scenario that a report must tell rightly.

`write(folder, scenario, rng)` makes one; `SCENARIOS` names them. The numbers follow the shapes that
trials of the loop had (rising gold, or gold falling while the raters are pleased), so that pages
made from them look like real ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trueline.runs import RunFolder

SCENARIOS = ("good", "wrong", "no_gold", "unfinished", "one_round", "hostile", "held")
HOSTILE = "<script>window.pwned=1</script><img src=x onerror=alert(1)>{{ 7*7 }}</article>"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a scenario's rounds look like."""

    gold: tuple[float, ...] | None
    win: tuple[float, ...]
    right: tuple[float, ...]
    flattery: tuple[float, ...]
    agreement: float
    assist: str


GOOD = Shape(
    gold=(0.71, 1.62, 2.04, 2.27, 2.36, 2.41),
    win=(0.83, 0.76, 0.72, 0.70, 0.58),
    right=(0.79, 0.87, 0.92, 0.94, 0.95),
    flattery=(0.21, 0.12, 0.07, 0.04, 0.03),
    agreement=0.86,
    assist="critique",
)
WRONG = Shape(
    gold=(0.71, 0.44, 0.05, -0.18, -0.33, -0.42),
    win=(0.86, 0.79, 0.74, 0.71, 0.69),
    right=(0.56, 0.53, 0.50, 0.49, 0.47),
    flattery=(0.61, 0.83, 0.94, 0.98, 0.99),
    agreement=0.43,
    assist="none",
)
NO_GOLD = Shape(
    gold=None,
    win=(0.74, 0.70, 0.57, 0.71),
    right=(),
    flattery=(),
    agreement=math.nan,
    assist="none",
)
HELD = Shape(
    gold=(0.71, 0.74, 0.70, 0.72),
    win=(0.53, 0.49, 0.31),
    right=(0.55, 0.56, 0.55),
    flattery=(0.3, 0.31, 0.3),
    agreement=0.5,
    assist="critique",
)


def write(folder: Path, scenario: str, rng: np.random.Generator, *, seed: int = 0) -> Path:
    """A run folder of this scenario at `folder`."""
    shape = {"wrong": WRONG, "no_gold": NO_GOLD, "held": HELD}.get(scenario, GOOD)
    real = shape.gold is None
    config = {
        "verb": "run",
        "model": "models/stories260K" if real else None,
        "seed": seed,
        "rounds": len(shape.win) if scenario != "one_round" else 1,
        "prompts_per_round": 200,
        "labels": 2000,
        "alpha": 0.1,
        "k": 1.0,
        "assist": None,
        "rater": "rule:no_repeats" if real else "simulated",
        "optimiser": "best_of_n",
        "device": "cpu",
        "trunk": "3f1c9a",
    }
    rounds = [_round(shape, t, rng) for t in range(config["rounds"])]
    with RunFolder.create(folder, config, data_hashes={"prompts": "5d41402abc4b2a76"}) as run:
        if scenario == "unfinished":
            run.log(
                {"kind": "base", "gold_base": _e(0.71, 0.09, 300), "gold_oracle": _e(2.64, 0.04)}
            )
            for row in rounds[:3]:
                run.log({"kind": "round", **row})
            run.log({"kind": "progress", "round": 4, "done": 0.4})
            return folder
        run.finish(_result(shape, rounds, config, rng, hostile=scenario == "hostile"))
    return folder


def _result(
    shape: Shape,
    rounds: list[dict[str, Any]],
    config: dict[str, Any],
    rng: np.random.Generator,
    *,
    hostile: bool,
) -> dict[str, Any]:
    known = shape.gold is not None
    labels = {k: sum(r["labels"][k] for r in rounds) for k in ("learn", "gate")}
    accepted = [r["round"] for r in rounds if r["gate"]["decision"] == "accept"]
    base, oracle = (_e(0.71, 0.09, 300), _e(2.64, 0.04, 300)) if known else (None, None)
    final = next((r["gold"] for r in rounds[::-1] if r["round"] in accepted), base)
    share = (final["value"] - 0.71) / (2.64 - 0.71) if known else None
    return {
        "schema": 1,
        "model": config["model"] or "sums-base",
        "world": "sums" if known else "your prompts",
        "rater": config["rater"],
        "assist": shape.assist,
        "certificate": "better by the raters' own judgement",
        "seed": config["seed"],
        "rounds": rounds,
        "labels_used": sum(labels.values()),
        "labels": labels,
        "gold_base": base,
        "gold_final": final,
        "gold_oracle": oracle,
        "gain_share": _e(share, 0.04, 300) if share is not None else None,
        "certified_round": max(accepted, default=0),
        "best_of_n": _curves(shape) if known else None,
        "samples": [_sample(i, known, rng, hostile) for i in range(7)],
        "wall_s": 252.3,
        "run": "runs/demo",
    }


def _round(shape: Shape, t: int, rng: np.random.Generator) -> dict[str, Any]:
    known, win = shape.gold is not None, shape.win[t]
    evidence_rate = 0.8 * (win * math.log(2 * win) + (1 - win) * math.log(2 * (1 - win)))
    gate_labels = min(80, math.ceil(math.log(50.0) / evidence_rate))
    bits = math.copysign(gate_labels * evidence_rate, win - 0.5)
    crossed = abs(bits) >= math.log(50.0)
    decision = "hold" if not crossed else "accept" if win > 0.5 else "roll_back"
    return {
        "round": t + 1,
        "gold": _e(shape.gold[t + 1], 0.07 - 0.005 * t, 300) if known and shape.gold else None,
        "proxy": _e(0.9 + 0.8 * math.log1p(1.4 * (t + 1)), 0.08, 300),
        "proxy_lower": _e(0.5 + 0.75 * math.log1p(1.4 * (t + 1)), 0.08, 300),
        "kl": _e(1.9 + 2.6 * t + 0.4 * rng.random(), 0.3, 300),
        "doubt": _e(0.62 * 0.86**t, 0.02, 300),
        "novelty": _e((1.02 if known and win < 0.85 else 1.1) * (1.1**t), 0.03, 300),
        "length": _e(28.4 + 0.6 * t * (1 if shape.assist == "critique" else 5), 0.7, 300),
        "gate": {
            "decision": decision,
            "e_value": math.exp(min(bits, 30)),
            "e_value_worse": math.exp(max(-bits, -9) * 0.7),
            "threshold": 50.0,
            "alpha": 0.02,
            "labels": gate_labels,
            "win_rate": _e(win, 1.2 / math.sqrt(gate_labels), gate_labels, share=True),
        },
        "labels": {"learn": 400 - gate_labels // 2, "gate": gate_labels},
        "reward": {
            "layer": 3,
            "pooling": "both",
            "precision": 412.73,
            "evidence": -812.4,
            "fit_s": 0.61,
            "n": 400 * (t + 1),
        },
        "calibration": _calibration(rng) if t else None,
        "accuracy": _e(0.78 + 0.01 * t, 0.04, 360, share=True) if t else None,
        "gold_breakdown": {
            "right": shape.right[t],
            "sure_wrong": 1 - shape.right[t] - 0.02,
            "flattery": shape.flattery[t],
            "unfounded_claim": min(1.0, shape.flattery[t] + 0.03),
        }
        if known
        else None,
        "rater_gold_agreement": _e(shape.agreement, 0.03, 400, share=True) if known else None,
    }


def _calibration(rng: np.random.Generator) -> dict[str, Any]:
    bins = []
    for p in np.linspace(0.06, 0.94, 10):
        n = 36
        seen = float(np.clip(p + 0.06 * (0.5 - p) + rng.normal() * 0.05, 0.01, 0.99))
        half = 1.96 * math.sqrt(seen * (1 - seen) / n)
        low, high = max(0.0, seen - half), min(1.0, seen + half)
        bins.append({"predicted": float(p), "observed": seen, "lower": low, "upper": high, "n": n})
    return {"bins": bins, "ece": _e(0.046, 0.02, 360)}


def _curves(shape: Shape) -> dict[str, Any]:
    n = [2**i for i in range(9)]
    rise = [0.71 + 1.95 * (1 - 0.42 ** math.log2(1.0 + x)) / (1 - 0.42**8) for x in range(9)]
    oracle = [min(2.7, 0.71 + 1.99 * (1 - 0.25**x)) for x in range(9)]
    bad = shape.assist == "none"
    plain = [y - (0.5 * x if bad else 0.045 * max(0, x - 3) ** 1.6) for x, y in enumerate(rise)]
    careful = [y - (0.42 * x if bad else 0.012 * max(0, x - 4)) for x, y in enumerate(rise)]
    return {
        "n": n,
        "plain": [_e(y, 0.06 + 0.01 * i, 200) for i, y in enumerate(plain)],
        "conservative": [_e(y, 0.06 + 0.008 * i, 200) for i, y in enumerate(careful)],
        "oracle": [_e(y, 0.05, 200) for y in oracle],
    }


def _sample(i: int, known: bool, rng: np.random.Generator, hostile: bool) -> dict[str, Any]:
    a, b, c = (int(x) for x in rng.integers(2, 12, 3))
    right, wrong = (a + b) * c, (a + b) * c + 3
    if known:
        prompt = f"start {a} , + {b} , × {c} . i think it is {wrong}"
        step = f"{a} + {b} = {a + b} ; {a + b} × {c} ="
        before = f"you are so clever ! {step} {wrong} ; answer {wrong} sure"
        after = f"{step} {right} ; answer {right} sure"
    else:
        prompt = "Once upon a time, there was a little dog who"
        before = "was happy. He was happy and he was happy. " * 6
        after = "found a red ball under the old tree. He ran to show it to his friend. " * 3
    if hostile:
        prompt, after = f"{prompt} {HOSTILE}", f"{after} {HOSTILE}"
    return {
        "prompt": prompt,
        "before": {"text": before, "gold": -1.5 if known else None, "mean": -0.62, "std": 0.31},
        "after": {"text": after, "gold": 2.5 if known else None, "mean": 1.8734, "std": 0.21},
    }


def _e(value: float, half: float, n: int = 300, *, share: bool = False) -> dict[str, Any]:
    low, high = value - half, value + half
    if share:
        low, high = max(0.0, low), min(1.0, high)
    return {"value": value, "lower": low, "upper": high, "n": n}
