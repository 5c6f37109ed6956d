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
from trueline.cli.common import Place, cache_dir
from trueline.data.comparisons import group_of
from trueline.data.files import write_jsonl
from trueline.data.formats import Row, load_rows
from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.records import Estimate, Outcome, Response, Score
from trueline.rewards.benches import load_bench
from trueline.rewards.protocols import Fitted
from trueline.rng import Rng, stream

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
    strict: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Stop at the first row that cannot be used, instead of leaving it unscored."""
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
            trunk, reward = session.reward(self.reward, self.model)
            rng = stream(self.seed, "bench")
            return measure(console, reward.on(trunk), bench, self.file, rng=rng)
        rows = load_rows(self.file, strict=self.strict)
        trunk, reward = session.reward(self.reward, self.model)
        readings = trunk.read([r for row in rows for r in row.responses])
        scores = dict(zip(readings.keys, reward.score(readings), strict=True))
        write_jsonl(self.out, [_describe(row, scores, reward, readings) for row in rows])
        accuracy = _accuracy(rows, scores, reward, readings, stream(self.seed, "accuracy"))
        unscored = sum(score.outcome is Outcome.UNSCORED for score in scores.values())
        if accuracy is not None:
            without = f", without {unscored} unscored responses" if unscored else ""
            console.print(f"accuracy {accuracy}{without}")
        console.print(f"{len(rows)} rows written to {self.out}")
        return {
            "rows": len(rows),
            "out": str(self.out),
            "accuracy": None if accuracy is None else accuracy.as_dict(),
            "unscored": unscored,
        }


def _describe(
    row: Row, scores: dict[str, Score], reward: Fitted, readings: Readings
) -> dict[str, Any]:
    if row.kind == "empty":
        return _numbers(Score(outcome=Outcome.UNSCORED, reason=next(iter(row.skipped))))
    told = [_numbers(scores[response.key]) for response in row.responses]
    if row.kind == "single":
        return told[0]
    if row.kind == "several":
        return {"responses": told}
    margin = None
    if _scored(row.responses, scores):
        mean, std = _margins([row.responses], reward, readings)
        margin = {"mean": float(mean[0]), "std": float(std[0])}
    return {"chosen": told[0], "rejected": told[1], "margin": margin}


def _numbers(score: Score) -> dict[str, Any]:
    told = {name: getattr(score, name) for name in ("mean", "std", "lower", "novelty")}
    if score.rater_interval:
        # Of a calibrated reward.
        told["rater_interval"] = [e if np.isfinite(e) else None for e in score.rater_interval]
    told["outcome"] = str(score.outcome)
    return told | ({"reason": score.reason} if score.reason else {})


def _scored(pair: Sequence[Response], scores: dict[str, Score]) -> bool:
    return all(scores[response.key].outcome is Outcome.SCORED for response in pair)


def _margins(pairs: Sequence[Sequence[Response]], reward: Fitted, readings: Readings) -> Any:
    chosen, rejected = (readings.rows([pair[side].key for pair in pairs]) for side in (0, 1))
    return reward.margin(readings, chosen, rejected)


def _accuracy(
    rows: Sequence[Row], scores: dict[str, Score], reward: Fitted, readings: Readings, rng: Rng
) -> Estimate | None:
    """Share of preferences ranked right, equal margins half, of those with both sides scored;
    clustered by dialogue."""
    pairs = [(c.chosen, c.rejected) for row in rows for c in row.comparisons]
    pairs = [pair for pair in pairs if _scored(pair, scores)]
    if not pairs:
        return None
    mean, _ = _margins(pairs, reward, readings)
    groups = np.array([group_of(chosen.prompt) for chosen, _ in pairs])
    return stats.accuracy((np.sign(mean) + 1) / 2, clusters=groups, rng=rng)
