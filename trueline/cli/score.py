"""`trueline score`: a saved reward on a file, one row of scores a row of the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from trueline import stats
from trueline.cli.bench import beside_floors, measure, same_as_read, tell_cuts
from trueline.cli.common import Place, cache_dir
from trueline.data.baselines import baseline_accuracy
from trueline.data.comparisons import Comparisons, make_folds
from trueline.data.files import FileRecord, read_records, write_jsonl
from trueline.data.formats import IDS, Row, load_rows
from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.progress import tell_left_out
from trueline.records import Estimate, Outcome, Response, Score
from trueline.rewards.benches import load_bench
from trueline.rewards.calibrated import CalibratedReward
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["ScoreVerb"]

_ALIKE = "the answers differ only past the model's limit"
_95 = 1.959964
"""Standard deviations on either side of a mean that hold 95 %."""


@dataclass(frozen=True, kw_only=True)
class ScoreVerb(Place):
    """Score responses or preference pairs with a saved reward, or measure it on a bench.

    trueline score rewards/helpful answers.jsonl --out scores.jsonl

    trueline score rewards/helpful rm_bench.json --bench
    """

    reward: tyro.conf.Positional[Path]
    """Reward folder, as `trueline fit` wrote it."""
    file: tyro.conf.Positional[Path]
    """Responses, preferences or a bench: .jsonl, .json, .csv, .parquet (.gz), or a data set."""
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
        trunk, reward = session.reward(self.reward, self.model)
        if self.out is None:
            bench = load_bench(self.file, check=trunk.codec.check)
            rng = stream(self.seed, "bench")
            return measure(console, reward.on(trunk), bench, self.file, rng=rng)
        rows = load_rows(self.file, strict=self.strict, check=trunk.codec.check)
        ids = [_id_of(record) for record in read_records(self.file, strict=False)]
        answers = [r for row in rows for r in row.responses]
        readings = trunk.read(answers, layers=reward.layers)
        scored = _Scored(trunk, reward, readings)
        told = [{"id": name, **scored.row(row)} for name, row in zip(ids, rows, strict=True)]
        write_jsonl(self.out, told)
        pairs = [c for row in rows for c in row.comparisons]
        faults = [scored.fault((c.chosen, c.rejected)) for c in pairs]
        ranked = Comparisons(tuple(c for c, why in zip(pairs, faults, strict=True) if why is None))
        unscored = sum(score.outcome is Outcome.UNSCORED for score in scored.scores.values())
        cuts = tell_cuts(console, trunk, readings, faults.count(_ALIKE))
        accuracy, floors = self._accuracy(ranked, scored) if ranked else (None, {})
        if accuracy is not None:
            beside_floors(console, "pairs ranked right", accuracy, floors)
        skipped = dict(sum((Counter(row.skipped) for row in rows), Counter()))
        tell_left_out(console, self.file, {**skipped, "responses unscored": unscored})
        console.print(f"{len(rows)} rows written to {self.out}")
        return {
            "rows": len(rows),
            "out": str(self.out),
            "accuracy": None if accuracy is None else accuracy.as_dict(),
            "floors": {name: estimate.as_dict() for name, estimate in floors.items()},
            "unscored": unscored,
            "skipped": skipped,
            **cuts,
            "warning": reward.metadata.get("warning"),
        }

    def _accuracy(
        self, pairs: Comparisons, scored: _Scored
    ) -> tuple[Estimate, dict[str, Estimate]]:
        """Return the share of preferences ranked right, equal margins half, clustered by dialogue,
        and that of the longer answer and of words alone, fitted on this file out of fold."""
        mean, _ = scored.margins([(c.chosen, c.rejected) for c in pairs])
        groups = np.array(pairs.groups)
        accuracy = stats.accuracy((np.sign(mean) + 1) / 2, clusters=groups)
        num_groups = len(set(pairs.groups))
        if num_groups < 2:
            return accuracy, {}
        rng = stream(self.seed, "floors")
        folds = make_folds(pairs.groups, min(5, num_groups), rng)
        return accuracy, baseline_accuracy(pairs, folds, rng)


@dataclass(frozen=True)
class _Scored:
    """Rows of a file, read and scored."""

    trunk: Trunk
    reward: Fitted
    readings: Readings

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The score of each response, by its key."""
        return dict(zip(self.readings.keys, self.reward.score(self.readings), strict=True))

    def row(self, row: Row) -> dict[str, Any]:
        """Return what is written of a row."""
        if row.kind == "empty":
            return _numbers(Score(outcome=Outcome.UNSCORED, reason=next(iter(row.skipped))))
        prompt = {"prompt": row.responses[0].prompt.key}
        told = [self._of(response) for response in row.responses]
        if row.kind != "pair":
            return prompt | (told[0] if row.kind == "single" else {"responses": told})
        sides = {"chosen": told[0], "rejected": told[1]}
        if (fault := self.fault(row.responses)) is not None:
            return {**prompt, **sides, "win_probability": None, "margin": None, "reason": fault}
        mean, std = (column[0] for column in self.margins([row.responses]))
        won = self.reward.win_probability(np.array([mean]), np.array([std]))[0]
        interval = [mean - _95 * std, mean + _95 * std]
        margin = {"mean": mean, "std": std, "interval": interval}
        if isinstance(self.reward, CalibratedReward):
            places = [self.readings.rows([answer.key]) for answer in row.responses]
            ends = self.reward.margin_interval(self.readings, *places)
            margin["rater_interval"] = _finite(*(end[0] for end in ends))
        return {**prompt, **sides, "win_probability": won, "margin": margin}

    def fault(self, pair: Sequence[Response]) -> str | None:
        """Return why two answers cannot be compared; None if they can."""
        if any(self.scores[answer.key].outcome is Outcome.UNSCORED for answer in pair):
            return "an answer is unscored"
        return _ALIKE if same_as_read(self.trunk, self.readings, pair) else None

    def margins(self, pairs: Sequence[Sequence[Response]]) -> Any:
        """Return mean and std of how much better the first of each pair is, each [M]."""
        first, second = (self.readings.rows([pair[i].key for pair in pairs]) for i in (0, 1))
        return self.reward.margin(self.readings, first, second)

    def _of(self, response: Response) -> dict[str, Any]:
        (at,) = self.readings.rows([response.key])
        cut, lost = bool(self.readings.truncated[at]), bool(self.readings.prompt_cut[at])
        return {**_numbers(self.scores[response.key]), "answer_cut": cut, "prompt_cut": lost}


def _numbers(score: Score) -> dict[str, Any]:
    told = {name: getattr(score, name) for name in ("mean", "std", "lower", "novelty")}
    if score.rater_interval:
        # Of a calibrated reward.
        told["rater_interval"] = _finite(*score.rater_interval)
    told["outcome"] = str(score.outcome)
    return told | ({"reason": score.reason} if score.reason else {})


def _finite(*ends: float) -> list[float | None]:
    return [float(end) if np.isfinite(end) else None for end in ends]


def _id_of(record: FileRecord) -> Any:
    given = (record.fields.get(name) for name in IDS)
    return next((value for value in given if value is not None), record.where)
