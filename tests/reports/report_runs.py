"""Run folders such as the loop writes, made up: every scenario that a report must tell rightly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from trueline.runs import FORMAT

HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror=alert(1)>{{ 7*7 }}</svg>"
GOLD = {
    "good": (0.71, 1.62, 2.04, 2.27, 2.36, 2.41),
    "wrong": (0.71, 0.44, 0.05, -0.18, -0.33, -0.42),
    "held": (0.71, 0.74, 0.70, 0.72),
    "no_gold": (None,) * 5,
    "unfinished": (0.71, 1.62, 2.04, 2.27),
}
"""True worth of the base policy and of each round's; the raters' win rates below."""
WIN = {
    "good": (0.83, 0.76, 0.72, 0.70, 0.58),
    "wrong": (0.86, 0.79, 0.74, 0.71, 0.69),
    "held": (0.53, 0.49, 0.31),
    "no_gold": (0.74, 0.70, 0.57, 0.71),
    "unfinished": (0.83, 0.76, 0.72),
}
SCENARIOS = tuple(GOLD)


def write(folder: Path, scenario: str, *, seed: int = 0, more: str = "", **changes: Any) -> Path:
    """A run folder of this scenario; `more` goes into its recipe, `changes` into its result."""
    gold = GOLD[scenario]
    recipe = "[budget]\nrounds = 5\n[policy]\nkind = 'dpo'\n"
    config = {"verb": "run", "seed": seed, "recipe": recipe + more}
    rounds = [_round(t, gold[t + 1], win) for t, win in enumerate(WIN[scenario])]
    if scenario != "unfinished":
        return save(folder, config, {**_result(gold, rounds), **changes})
    save(folder, config, None)
    base = {"kind": "base", "gold_base": e(0.71, 0.09), "gold_oracle": e(2.64, 0.04)}
    lines = [json.dumps(row) for row in (base, *({"kind": "round", **row} for row in rounds))]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def save(folder: Path, config: dict[str, Any], result: dict[str, Any] | None) -> Path:
    """A run folder's files; no result: an unfinished run."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"format": FORMAT, **config}))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11"}))
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def _result(gold: tuple[float | None, ...], rounds: list[dict[str, Any]]) -> dict[str, Any]:
    known = gold[0] is not None
    accepted = [r["round"] for r in rounds if r["gate"]["decision"] == "accept"]
    base = e(0.71, 0.09) if known else None
    final = next((r["gold"] for r in rounds[::-1] if r["round"] in accepted), base)
    curve = [e(0.7 + 0.2 * i, 0.06, 200) for i in range(5)]
    curves = {"n": [1, 2, 4, 8, 16], **dict.fromkeys(("plain", "conservative", "oracle"), curve)}
    answer = {"text": "7 + 5 = 13 ; answer 13", "gold": -1.5, "mean": -0.62, "std": 0.31}
    after = {"text": "7 + 5 = 12 ; answer 12", "gold": 2.5, "mean": 1.87, "std": None}
    names = {"model": "sums-base", "world": "sums", "rater": "simulated", "assist": "critique"}
    return {
        **names,
        "schema": 1,
        "certificate": "better by the raters' own judgement",
        "rounds": rounds,
        "labels_used": 2000,
        "labels": {"learn": 1800, "gate": 200},
        "gold_base": base,
        "gold_final": final,
        "gold_oracle": e(2.64, 0.04) if known else None,
        "gain_share": e((final["value"] - 0.71) / 1.93, 0.04) if known else None,
        "certified_round": max(accepted, default=0),
        "best_of_n": curves if known else None,
        "samples": [{"prompt": "start 7 , + 5", "before": answer, "after": after}] * 6,
        "unspent": 1200,
        "wall_s": 252.3,
    }


def _round(t: int, gold: float | None, win: float) -> dict[str, Any]:
    decision = "accept" if win > 0.6 else "roll_back" if win < 0.4 else "hold"
    labels = 80 if decision == "hold" else 40
    e_value = {"accept": 60.0, "roll_back": 0.01, "hold": 1.2}[decision]
    bins = [{"predicted": p, "observed": p, "lower": 0, "upper": 1, "n": 36} for p in (0.1, 0.9)]
    return {
        "round": t + 1,
        "gold": e(gold, 0.06) if gold is not None else None,
        "proxy": e(0.9 + 0.8 * math.log1p(1.4 * (t + 1)), 0.08),
        "kl": e(1.9 + 2.6 * t, 0.3),
        "uncertainty": e(0.62 * 0.86**t, 0.02),
        "novelty": e(1.02 * 1.1**t, 0.03),
        "length": e(28.4 + 3 * t, 0.7),
        "gate": {
            "decision": decision,
            "e_value": e_value,
            "e_value_worse": 0.6 / e_value,
            "threshold": 50.0,
            "labels": labels,
            "win_rate": e(win, 1.2 / math.sqrt(labels), labels),
        },
        "labels": {"learn": 360, "gate": labels},
        "reward": {"layer": 3, "precision": {"layer 3 last": 412.73}, "n": 400},
        "calibration": {"bins": bins, "ece": e(0.046, 0.02)} if t else None,
        "accuracy": e(0.8, 0.04, 360) if t else None,
        "gold_breakdown": {"right": 0.8, "flattery": 0.1 + 0.1 * t} if gold is not None else None,
        "rater_gold_agreement": e(0.86, 0.03, 400) if gold is not None else None,
    }


def e(value: float, half: float, n: int = 300) -> dict[str, Any]:
    """An estimate with a symmetric interval, as a record holds it."""
    return {"value": value, "lower": value - half, "upper": value + half, "n": n}
