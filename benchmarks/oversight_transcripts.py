"""Recorded debates and consultancies of people and of GPT-4: what the judges got out of them.

    python -m benchmarks.oversight_transcripts                      (5 seconds)

The 207 transcripts of nyu_debate that the shared data hold, about half of those of Michael et al.
2023 (arXiv 2311.08702): who judges has not read the story, states a belief before the first
speeches and after each round, and ends when it likes. Accuracy, belief by round, calibration, the
agent score difference and how long it took, of debates and consultancies by people and by GPT-4,
and all differences; every interval resamples stories. Beside them what the paper's abstract says of
its whole set; "within" asks whether our interval holds that number.

Not taken account of: that 17 people judged many transcripts each, and that questions were not
given to the four kinds by one lot.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import ROOT, headline, shared, write_result
from trueline import stats
from trueline.atomic import to_json
from trueline.audits.recorded import beliefs, by_arm, contrasts, measure
from trueline.data.transcripts import RecordedVerdict, load_transcripts
from trueline.records import Estimate
from trueline.rng import stream

__all__ = ["main"]

PUBLISHED = {"human debate": 0.84, "human consultancy": 0.74}
LENGTH = 0.68
"""Of human consultancies' length, published for human debates."""


@dataclass
class Arguments:
    seed: int = 0
    """Of the resampling; nothing else is random."""
    out: Path = ROOT / "results" / "oversight_transcripts.json"


def calibration_by_round(
    rows: Sequence[RecordedVerdict], *, bins: int = 5, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return n, calibration error and Brier score by round in which a belief was stated."""
    stated = [
        (turn.round, turn.belief, float(row.correct == 0), row.group)
        for row in rows
        if row.correct is not None
        for turn in row.verdict.transcript
        if turn.side is None and turn.belief is not None
    ]
    table = []
    for round in sorted({entry[0] for entry in stated}):
        here = [entry[1:] for entry in stated if entry[0] == round]
        beliefs, first, groups = ([entry[k] for entry in here] for k in range(3))
        table.append(
            {
                "round": round,
                "n": len(here),
                "ece": stats.calibration_error(beliefs, first, bins, clusters=groups, rng=rng),
                "brier": stats.brier(beliefs, first, clusters=groups, rng=rng),
            }
        )
    return table


def lengths(rows: Sequence[RecordedVerdict], seed: int) -> dict[str, Estimate]:
    """Human debates' mean letters and rounds as a share of human consultancies'."""
    some = [row for row in rows if row.speakers == "human"]
    debate = np.array([row.protocol == "debate" for row in some])
    letters = [
        sum(
            len("".join(turn.text.split()))
            for turn in row.verdict.transcript
            if turn.side is not None
        )
        for row in some
    ]
    rounds = [row.verdict.transcript[-1].round for row in some]

    def ratio(values: np.ndarray, debate: np.ndarray) -> float:
        if debate.all() or not debate.any():
            return float("nan")
        return float(values[debate].mean() / values[~debate].mean())

    return {
        name: stats.bootstrap(
            ratio,
            np.array(values, dtype=float),
            debate,
            clusters=[row.group for row in some],
            rng=stream(seed, "length", name),
        )
        for name, values in (("letters", letters), ("rounds", rounds))
    }


def stopped_at(rows: Sequence[RecordedVerdict], last: int, seed: int) -> list[dict[str, Any]]:
    """Accuracy had every judgement ended after r rounds at the latest; an even belief is half."""
    table = []
    for r in range(1, last + 1):
        held = [[p for p in beliefs(row)[: r + 1] if p is not None][-1] for row in rows]
        right = [0.5 if p == 0.5 else float(p > 0.5) for p in held]
        rng = stream(seed, "stopped", r)
        found = stats.accuracy(right, clusters=[row.group for row in rows], rng=rng)
        table.append({"rounds": r, **found.as_dict()})
    return table


def main() -> None:
    asked = tyro.cli(Arguments)
    rows = load_transcripts(shared() / "data" / "nyu_debate" / "transcripts.jsonl.gz")
    arms = by_arm(rows)
    measured = {arm: measure(some, seed=asked.seed) for arm, some in arms.items()}
    for arm, some in arms.items():
        rng = stream(asked.seed, "rounds", arm)
        measured[arm]["calibration_by_round"] = calibration_by_round(some, rng=rng)[:6]
        measured[arm]["stopped_at"] = stopped_at(some, 4, asked.seed)
    compared = contrasts(rows, seed=asked.seed)
    length = lengths(rows, asked.seed)
    found = {
        "transcripts": len(rows),
        "stories": len({row.group for row in rows}),
        "judges": len({row.verdict.rater for row in rows}),
        "published": {**PUBLISHED, "length of debates": LENGTH},
        "arms": measured,
        "accuracy_contrasts": compared,
        "length_of_human_debates": length,
    }
    numbers: dict[str, Any] = json.loads(to_json(found))
    write_result(asked.out, numbers, seeds=[asked.seed], headlines=_headlines(found))


def _headlines(found: dict[str, Any]) -> list[dict[str, Any]]:
    arms, compared = found["arms"], found["accuracy_contrasts"]
    lines = [
        headline(
            f"recorded judgements: {arm}, judge right",
            arms[arm]["accuracy"].as_dict(),
            bar=f"published {PUBLISHED[arm]:.2f} within" if arm in PUBLISHED else "none",
            met=_holds(arms[arm]["accuracy"], PUBLISHED.get(arm)),
        )
        for arm in arms
    ]
    lines.append(
        headline(
            "recorded judgements: debate's lead over consultancy, by people less by GPT-4",
            compared["debate over consultancy, human - AI"].as_dict(),
            bar="> 0, as published",
            met=bool((compared["debate over consultancy, human - AI"].lower or 0) > 0),
        )
    )
    lines.append(
        headline(
            "recorded judgements: debate's lead over consultancy, by people",
            compared["human debate - human consultancy"].as_dict(),
            bar="> 0, as published",
            met=bool((compared["human debate - human consultancy"].lower or 0) > 0),
        )
    )
    lines += [
        headline(
            f"recorded judgements: {arm}, {what}",
            arms[arm][key].as_dict(),
            bar="none",
            met=None,
        )
        for what, key in (
            ("calibration error", "calibration_error"),
            ("what the truth earns (agent score difference)", "asd"),
        )
        for arm in arms
    ]
    return lines


def _holds(found: Estimate, number: float | None) -> bool | None:
    if number is None or found.lower is None or found.upper is None:
        return None
    return found.lower <= number <= found.upper


if __name__ == "__main__":
    main()
