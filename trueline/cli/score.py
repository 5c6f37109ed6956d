"""`trueline score`: a saved reward on a file, one row of scores a row of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from trueline import stats
from trueline.cli.bench import measure
from trueline.cli.common import Place, cache_dir, load_scored, reading_bar
from trueline.data.benches import load_bench
from trueline.data.comparisons import group_of
from trueline.data.files import write_jsonl
from trueline.data.formats import Row, load_rows
from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.records import Estimate, Outcome, Score
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["ScoreVerb"]


@dataclass(frozen=True, kw_only=True)
class ScoreVerb(Place):
    """Score responses or preference pairs with a saved reward, or measure it on a bench.

    trueline score rewards/helpful answers.jsonl --out scores.jsonl
    trueline score rewards/helpful rm_bench.json --bench
    """

    reward: tyro.conf.Positional[Path]
    """Reward folder, as `trueline fit` wrote it."""
    file: tyro.conf.Positional[Path]
    """Responses, preferences or a bench: .jsonl, .jsonl.gz, .json, .csv or .parquet."""
    out: Path | None = None
    """Scores, one JSON line a row of the file, in its order; needed unless --bench is given."""
    bench: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The file is a bench (RewardBench, RewardBench 2, RM-Bench): print the reward's figures."""
    model: str | None = None
    """The trunk, if it has moved since the fit."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Score every row, or measure on the bench; return the numbers."""
        if self.bench == (self.out is not None):
            raise InputError(
                "one of --out and --bench must be given",
                got="both" if self.bench else "neither",
                do="--out FILE writes scores, --bench prints figures",
            )
        session = self.session(console, cache=cache_dir())
        if self.out is None:
            bench = load_bench(self.file)
            trunk, reward = load_scored(self.reward, self.model, session)
            rng = stream(self.seed, "bench")
            return measure(console, reward.on(trunk), bench, self.file, rng=rng)
        rows = load_rows(self.file)
        trunk, reward = load_scored(self.reward, self.model, session)
        return self._score(console, rows, trunk, reward, self.out)

    def _score(
        self, console: Console, rows: Sequence[Row], trunk: Trunk, reward: Fitted, out: Path
    ) -> dict[str, Any]:
        distinct = {r.key: r for row in rows for r in row.responses}
        with reading_bar("reading") as progress:
            readings = trunk.read(list(distinct.values()), progress=progress)
        scores = dict(zip(readings.keys, reward.score(readings), strict=True))
        written = [_describe(row, scores, reward, readings) for row in rows]
        write_jsonl(out, written)
        accuracy = _accuracy(rows, scores, reward, readings, stream(self.seed, "accuracy"))
        unscored = sum(score.outcome is Outcome.UNSCORED for score in scores.values())
        if accuracy is not None:
            without = f", without {unscored} unscored responses" if unscored else ""
            console.print(f"accuracy {accuracy}{without}")
        console.print(f"{len(written)} rows written to {out}")
        return {
            "rows": len(written),
            "out": str(out),
            "accuracy": None if accuracy is None else accuracy.as_dict(),
            "unscored": unscored,
        }


def _describe(
    row: Row, scores: dict[str, Score], reward: Fitted, readings: Readings
) -> dict[str, Any]:
    if row.kind == "several":
        return {"responses": [_numbers(scores[answer.key]) for answer in row.responses]}
    if row.kind == "pair":
        chosen, rejected = row.responses
        both = [scores[chosen.key], scores[rejected.key]]
        margin = None
        if all(score.outcome is Outcome.SCORED for score in both):
            first, second = readings.rows([chosen.key]), readings.rows([rejected.key])
            mean, std = reward.margin(readings, first, second)
            margin = {"mean": float(mean[0]), "std": float(std[0])}
        return {"chosen": _numbers(both[0]), "rejected": _numbers(both[1]), "margin": margin}
    if row.kind == "single":
        return _numbers(scores[row.responses[0].key])
    return _numbers(Score(outcome=Outcome.UNSCORED, reason=next(iter(row.skipped))))


def _numbers(score: Score) -> dict[str, Any]:
    return {
        "mean": score.mean,
        "std": score.std,
        "lower": score.lower,
        "novelty": score.novelty,
        # Of a calibrated reward.
        **({"interval": [_finite(end) for end in score.interval]} if score.interval else {}),
        "outcome": str(score.outcome),
        **({"reason": score.reason} if score.reason else {}),
    }


def _finite(end: float) -> float | None:
    return end if np.isfinite(end) else None


def _accuracy(
    rows: Sequence[Row],
    scores: dict[str, Score],
    reward: Fitted,
    readings: Readings,
    rng: np.random.Generator,
) -> Estimate | None:
    """Share of preferences ranked right, equal margins half, of those with both sides scored;
    clustered by dialogue."""
    pairs = [
        pair
        for row in rows
        for pair in row.comparisons
        if all(scores[r.key].outcome is Outcome.SCORED for r in (pair.chosen, pair.rejected))
    ]
    if not pairs:
        return None
    chosen, rejected = (
        readings.rows(keys)
        for keys in ([p.chosen.key for p in pairs], [p.rejected.key for p in pairs])
    )
    mean, _ = reward.margin(readings, chosen, rejected)
    groups = np.array([group_of(pair.prompt) for pair in pairs])
    return stats.accuracy((np.sign(mean) + 1) / 2, clusters=groups, rng=rng)
