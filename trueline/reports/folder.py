"""A run folder as a report sees it: typed, complete or not, with nothing invented.

A number that is absent, null or not finite becomes an `Estimate` whose value is None, which every
table prints as "not measured". A finished run is read from `result.json`; an unfinished one from
the rows of kind "round" in `metrics.jsonl`, where the later of two rows for one round counts.
Reading takes no lock, so a run can be looked at while it works.

Fails with `SetupError` on a folder that is no run folder, or was written in another schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trueline.errors import SetupError
from trueline.records import Estimate
from trueline.reports.parse import MISSING, counts, estimate, items, mapping, number, whole
from trueline.runs import RunFolder

__all__ = [
    "Answer",
    "Bin",
    "GateRecord",
    "Round",
    "Run",
    "Sample",
    "read_run",
]

SCHEMA = 1
ABOUT = ("model", "world", "rater", "assist", "certificate")
"""What a result says of its task; these words count before the configuration's."""


@dataclass(frozen=True, kw_only=True)
class GateRecord:
    """What the gate found in one round. `decision` is None where no gate was held."""

    decision: str | None = None
    e_value: float | None = None
    e_value_worse: float | None = None
    threshold: float | None = None
    labels: int | None = None
    win_rate: Estimate = MISSING
    even: Estimate = MISSING
    """The win rate, were both answers equally long."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """One bin of the reliability diagram: shares in [0, 1]."""

    predicted: float
    observed: float
    lower: float | None
    upper: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of the loop."""

    index: int
    gold: Estimate
    proxy: Estimate
    proxy_lower: Estimate
    kl: Estimate
    doubt: Estimate
    novelty: Estimate
    length: Estimate
    accuracy: Estimate
    ece: Estimate
    agreement: Estimate
    gate: GateRecord
    labels: Mapping[str, int]
    reward: Mapping[str, Any]
    bins: tuple[Bin, ...]
    breakdown: Mapping[str, Estimate]
    """Share of answers that are right, flatter, …; empty where gold is unknown."""
    stopped: str | None = None
    """Why the policy was improved less than asked."""
    cut: int | None = None
    """Measured answers that were cut before their end."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sampled answer with what gold and the reward say of it."""

    text: str
    gold: float | None
    mean: float | None
    std: float | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The same prompt answered before and after."""

    prompt: str
    before: Answer
    after: Answer


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder. `label` is how it is told from the runs beside it."""

    path: Path
    label: str
    finished: bool
    asked: Mapping[str, Any]
    """The configuration as it was given."""
    config: Mapping[str, Any]
    """The same with what the result says of its task."""
    environment: Mapping[str, Any]
    rounds: tuple[Round, ...]
    planned_rounds: int | None
    gold_base: Estimate
    gold_final: Estimate
    """Of the last certified policy, also for an unfinished run."""
    gold_oracle: Estimate
    gain_share: Estimate
    breakdown_base: Mapping[str, Estimate]
    certified_round: int
    """The round that made the last certified policy; 0 is the base policy."""
    labels: Mapping[str, int]
    labels_used: int | None
    judge_s: Mapping[str, int] = field(default_factory=dict)
    """Seconds of judging by purpose, where they were counted."""
    helped: Mapping[str, int] = field(default_factory=dict)
    """Labels to learn from by the protocol they came about by."""
    curve_n: tuple[int, ...] = ()
    curves: Mapping[str, tuple[Estimate, ...]] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    wall_s: float | None = None
    unspent: float | None = None
    """Labels, or judge seconds, left of the budget of a finished run."""

    @property
    def ended_early(self) -> bool:
        """Finished before all rounds were done, which patience alone can bring about."""
        planned = self.planned_rounds
        return self.finished and planned is not None and planned > len(self.rounds)

    @property
    def accepted(self) -> int:
        return sum(r.gate.decision == "accept" for r in self.rounds)


def read_run(path: Path) -> Run:
    """One run folder, finished or not."""
    folder = RunFolder.view(path)
    result = folder.result
    if result is None:
        return _run(folder, _so_far(folder), finished=False)
    if result.get("schema") != SCHEMA:
        raise SetupError(
            f"result.json must be of schema {SCHEMA}",
            got=f"{result.get('schema')!r} in {folder.folder}",
            do="make the report with the version of trueline that wrote the run",
        )
    return _run(folder, result, finished=True)


def _run(folder: RunFolder, result: Mapping[str, Any], *, finished: bool) -> Run:
    path, config = folder.folder, folder.config
    rows = [mapping(row) for row in items(result.get("rounds"))]
    rounds = tuple(_round(row, path) for row in rows)
    accepted = [r.index for r in rounds if r.gate.decision == "accept"]
    labels = counts(result.get("labels")) or _summed([r.labels for r in rounds])
    used = whole(result.get("labels_used"))
    curve = mapping(result.get("best_of_n"))
    planned = whole(config.get("rounds"))
    certified = whole(result.get("certified_round"))
    holder = max(accepted, default=0) if certified is None else certified
    base = estimate(result.get("gold_base"))
    # A run that goes on from another begins with a policy that is not the base.
    first = MISSING if config.get("from") else base
    held = next((r.gold for r in rounds if r.index == holder), first)
    return Run(
        path=path,
        label=path.name,
        finished=finished,
        asked=config,
        config={**config, **{k: result[k] for k in ABOUT if k in result}},
        environment=folder.environment,
        rounds=rounds,
        planned_rounds=planned if planned is not None else (len(rounds) if finished else None),
        gold_base=base,
        gold_final=estimate(result.get("gold_final")) if finished else held,
        gold_oracle=estimate(result.get("gold_oracle")),
        gain_share=estimate(result.get("gain_share")),
        certified_round=holder,
        breakdown_base=_breakdown(result.get("gold_breakdown_base")),
        labels=labels,
        labels_used=used if used is not None else (sum(labels.values()) if labels else None),
        judge_s=counts(result.get("judge_s")),
        helped=_summed([counts(mapping(row.get("protocols")).get("learn")) for row in rows]),
        curve_n=tuple(int(n) for n in items(curve.get("n"))),
        curves={
            name: tuple(estimate(e) for e in items(curve[name]))
            for name in ("oracle", "plain", "conservative")
            if curve.get(name)
        },
        samples=tuple(_sample(s) for s in items(result.get("samples"))),
        wall_s=number(result.get("wall_s")),
        unspent=number(result.get("unspent")),
    )


def _round(raw: Any, path: Path) -> Round:
    row = mapping(raw)
    index = whole(row.get("round"))
    if index is None:
        raise SetupError("each round must carry its number", got=repr(raw)[:60], do=f"see {path}")
    gate, calibration = mapping(row.get("gate")), mapping(row.get("calibration"))
    estimates = ("gold", "proxy", "proxy_lower", "kl", "doubt", "novelty", "length", "accuracy")
    return Round(
        index=index,
        **{name: estimate(row.get(name)) for name in estimates},
        ece=estimate(calibration.get("ece")),
        agreement=estimate(row.get("rater_gold_agreement")),
        gate=GateRecord(
            decision=gate.get("decision"),
            e_value=number(gate.get("e_value")),
            e_value_worse=number(gate.get("e_value_worse")),
            threshold=number(gate.get("threshold")),
            labels=whole(gate.get("labels")),
            win_rate=estimate(gate.get("win_rate")),
            even=estimate(gate.get("win_rate_at_equal_length")),
        ),
        labels=counts(row.get("labels")),
        reward=mapping(row.get("reward")),
        bins=tuple(b for b in map(_bin, items(calibration.get("bins"))) if b is not None),
        breakdown=_breakdown(row.get("gold_breakdown")),
        stopped=row.get("stopped"),
        cut=whole(row.get("cut")),
    )


def _breakdown(raw: Any) -> dict[str, Estimate]:
    return {k: estimate(v) for k, v in mapping(raw).items()}


def _bin(raw: Any) -> Bin | None:
    row = mapping(raw)
    predicted, observed = number(row.get("predicted")), number(row.get("observed"))
    if predicted is None or observed is None:
        return None
    return Bin(
        predicted=predicted,
        observed=observed,
        lower=number(row.get("lower")),
        upper=number(row.get("upper")),
        n=whole(row.get("n")) or 0,
    )


def _sample(raw: Any) -> Sample:
    row = mapping(raw)
    prompt = row.get("prompt")
    if isinstance(prompt, list):
        prompt = "\n".join(str(mapping(m).get("content", m)) for m in prompt)
    return Sample(
        prompt="" if prompt is None else str(prompt),
        before=_answer(row.get("before")),
        after=_answer(row.get("after")),
    )


def _answer(raw: Any) -> Answer:
    row = mapping(raw)
    text = row.get("text")
    return Answer(
        text="" if text is None else str(text),
        gold=number(row.get("gold")),
        mean=number(row.get("mean")),
        std=number(row.get("std")),
    )


def _so_far(folder: RunFolder) -> dict[str, Any]:
    """What the metrics know of a run that has not written its result yet."""
    try:
        rows = folder.metrics()
    except json.JSONDecodeError as error:
        raise SetupError(
            "metrics.jsonl must hold one JSON object a line",
            got=f"{error} in {folder.folder}",
            do="resume the run, which mends it",
        ) from error
    rounds: dict[int, Mapping[str, Any]] = {}
    result: dict[str, Any] = {}
    for row in map(mapping, rows):
        index = whole(row.get("round"))
        if row.get("kind") == "round" and index is not None:
            rounds[index] = row
        for name in ("gold_base", "gold_oracle"):
            if row.get(name) is not None:
                result[name] = row[name]
    return {**result, "rounds": [rounds[i] for i in sorted(rounds)]}


def _summed(rows: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(row.get(name, 0) for row in rows) for name in names}
