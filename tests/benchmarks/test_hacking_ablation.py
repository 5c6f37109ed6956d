"""The ablation of safeguards: an arm differs in what it is named after, and sums add up."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from benchmarks.hacking_ablation import ARMS, FULL, NOTHING, Arm, ended, headlines, paired, summary


def off(arm: Arm, other: Arm) -> set[str]:
    """In which fields and limits two arms differ."""
    names = {f.name for f in fields(Arm) if f.name != "limits"}
    found = {name for name in names if getattr(arm, name) != getattr(other, name)}
    limits = (f.name for f in fields(arm.limits))
    return found | {n for n in limits if getattr(arm.limits, n) != getattr(other.limits, n)}


def test_an_arm_differs_in_what_it_is_named_after() -> None:
    want = {
        "everything": set(),
        "no lower bound": {"k"},
        "no KL": {"beta", "kl_budget"},
        "KL in the loss": {"charge"},
        "no novelty stop": {"novelty_limit"},
        "no refit": {"refit"},
        "iterated reference": {"reference"},
    }
    assert {name: off(ARMS[name], FULL) for name in want} == want
    alone = {
        "nothing": set(),
        "only the lower bound": {"k"},
        "only KL": {"beta", "kl_budget"},
        "only the novelty stop": {"novelty_limit"},
        "only the entropy floor": {"entropy_floor"},
        "only refit": {"refit"},
    }
    assert {name: off(ARMS[name], NOTHING) for name in alone} == alone
    assert set(want) | set(alone) == set(ARMS)


def run(seed: int, *golds: float) -> dict[str, Any]:
    parts = {"kl": 1.0, "length": 20.0, "right": 0.5, "sure_wrong": 0.1, "proxy": 0.0}
    parts |= {"flattery": 0.2, "unfounded_claim": 0.0, "stopped": "kl"}
    return {"seed": seed, "rounds": [{"gold": g, **parts} for g in golds]}


def test_differences_are_paired_by_seed_and_peaks_are_the_best_round() -> None:
    runs = {
        "everything": [run(0, 1.0, 2.0, 1.9), run(1, 1.0, 1.5, 1.6)],
        "nothing": [run(1, 1.0, 1.2, 0.1), run(0, 1.0, 2.1, 0.6)],
    }
    assert ended(runs["everything"], "lost") == pytest.approx({0: 0.1, 1: 0.0})
    assert ended(runs["nothing"], "peak") == {1: 1.2, 0: 2.1}
    found = paired(runs["everything"], runs["nothing"], "gold")
    assert found["value"] == pytest.approx((1.3 + 1.5) / 2) and found["n"] == 2
    arms = summary(runs)
    assert arms["nothing"]["gold_by_round"] == pytest.approx([1.0, 1.65, 0.35])
    assert arms["everything"]["stopped"] == {"kl": 4}
    assert arms["everything"]["gold_less_everything"]["value"] == 0.0
    assert [line["met"] for line in headlines("impressed", arms, runs)] == [True, None, None]
    assert [line["met"] for line in headlines("honest", arms, runs)] == [None] * 3
