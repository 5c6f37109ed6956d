"""How a reward does on a bench, beside what it must beat, each number with its interval.

    reward          the scorer's mean
    longer          the longer answer is better
    bag_of_words    a linear reward on words, fitted on the reward's own training data
    chance          the mean over random orders

What is counted on RewardBench 1 and 2 and on RM-Bench, and where that differs, says `marks`.

Where we differ from the benches: (1) items with an unscored answer are left out of all columns and
counted, and `bounds` says what the reward's figure would be were they all wrong, or all right;
(2) items whose dialogue was trained on are left out and counted; (3) intervals come from resampled
dialogues, the same resamples for every column; what is alike on all items of a part widens them by
3 / dialogues of that part (the rule of three). Too narrow below some 10 dialogues.

Fails where a bench's prompts are near copies of the training's: only equal ones are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trueline.data.baselines import word_reward
from trueline.data.benches import Bench, BenchItem
from trueline.data.comparisons import Comparisons, group_of
from trueline.errors import InvalidExperiment
from trueline.protocols import Scorer
from trueline.records import Estimate, Response
from trueline.rewards.marks import Blend, Mark, ScoredItem, blends
from trueline.stats.resampling import from_replicates

__all__ = ["BenchResult", "Figure", "run_bench"]

_NUM_RESAMPLES, _CHUNK, _BATCH, _NUM_ORDERS = 1_000, 2_000_000, 256, 256


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a bench, for the reward and for what it must beat."""

    name: str
    columns: Mapping[str, Estimate]
    """reward, longer, bag_of_words (where there is training data), chance."""
    bounds: tuple[float, float]
    """The reward's figure if all unscored items were wrong, and if all were right."""


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """What `run_bench` found."""

    kind: str
    figures: tuple[Figure, ...]
    num_items: int
    num_unscored: int
    """Of them."""
    num_trained_on: int
    """Items beside them, left out because their dialogue is in the training data."""

    def __getitem__(self, name: str) -> Figure:
        return {figure.name: figure for figure in self.figures}[name]

    def as_dict(self) -> dict[str, Any]:
        counts = {n: getattr(self, n) for n in ("num_items", "num_unscored", "num_trained_on")}
        figures = {
            figure.name: {
                **{column: e.as_dict() for column, e in figure.columns.items()},
                "bounds": list(figure.bounds),
            }
            for figure in self.figures
        }
        return {"kind": self.kind, **counts, "figures": figures}


def run_bench(
    scorer: Scorer,
    bench: Bench,
    *,
    rng: np.random.Generator,
    train: Comparisons | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """The figures of a bench; `train`: what the scorer was fitted on."""
    known = set() if train is None else {group_of(r.prompt) for r in train.responses}
    items = [item for item in bench.items if group_of(item.prompt) not in known]
    if not items:
        raise InvalidExperiment(
            "a bench must hold prompts that were not trained on",
            got=f"{len(bench.items)} items, all of which were",
            do="give another file",
        )
    answers = list({r.key: r for item in items for r in (*item.chosen, *item.rejected)}.values())
    texts = [answer.text for answer in answers]
    scores, scored = _scores(scorer, answers, progress)
    columns = {"reward": scores, "longer": np.array([float(len(text)) for text in texts])}
    if train is not None:
        columns["bag_of_words"] = word_reward(train, rng=rng)(texts)
    table = np.column_stack([*columns.values(), rng.random((len(answers), _NUM_ORDERS))])
    places = {answer.key: i for i, answer in enumerate(answers)}
    rows = [_scored_item(item, places, table, scored) for item in items]
    groups = np.array([group_of(item.prompt) for item in items])
    return BenchResult(
        kind=bench.kind,
        figures=_figures(blends(bench.kind, rows), (*columns, "chance"), groups, rng),
        num_items=len(items),
        num_unscored=sum(not row.scored for row in rows),
        num_trained_on=len(bench.items) - len(items),
    )


def _scores(
    scorer: Scorer, answers: Sequence[Response], progress: Callable[[int, int], None] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (0 where unscored) and whether there is one, each [N]."""
    means, scored = [], []
    for start in range(0, len(answers), _BATCH):
        batch = answers[start : start + _BATCH]
        found = scorer.score([r.prompt for r in batch], [r.text for r in batch])
        means.append(np.where(found.scored, found.mean, 0.0))
        scored.append(found.scored)
        if progress is not None:
            progress(start + len(batch), len(answers))
    return np.concatenate(means), np.concatenate(scored)


def _scored_item(
    item: BenchItem, places: Mapping[str, int], table: np.ndarray, scored: np.ndarray
) -> ScoredItem:
    rows = [places[answer.key] for answer in (*item.chosen, *item.rejected)]
    chosen, rejected = np.split(table[rows], [len(item.chosen)])
    return ScoredItem(item=item, chosen=chosen, rejected=rejected, scored=bool(scored[rows].all()))


def _figures(
    found: Mapping[str, Blend], names: Sequence[str], groups: np.ndarray, rng: np.random.Generator
) -> tuple[Figure, ...]:
    """Every blend with its intervals, all from one set of resamples."""
    marks = list({id(mark): mark for blend in found.values() for _, mark in blend}.values())
    values = [_columns(mark, len(names)) for mark in marks]
    codes = np.unique(groups, return_inverse=True)[1]
    means = np.full((len(marks), len(names)), np.nan)
    for i, (mark, value) in enumerate(zip(marks, values, strict=True)):
        if mark.scored.any():
            means[i] = value[mark.scored].mean(0)
    resampled = _resampled(marks, values, codes, rng)
    ends = np.array([_ends(mark, v) for mark, v in zip(marks, values, strict=True)])
    limits = np.array([(mark.low, mark.high) for mark in marks])
    alike = np.array([_unseen(mark, v, codes) for mark, v in zip(marks, values, strict=True)])
    numbers = {id(mark): i for i, mark in enumerate(marks)}
    figures = []
    for name, blend in found.items():
        at, weights = [numbers[id(mark)] for _, mark in blend], np.array([w for w, _ in blend])
        used = np.unique(np.concatenate([mark.items[mark.scored] for _, mark in blend]))
        draws = np.einsum("rps,p->rs", resampled[:, at], weights)
        columns = {
            column: _estimate(
                float(weights @ means[at, s]),
                draws[:, s],
                unseen=float(np.linalg.norm(weights * alike[at, s])),
                limits=_span(weights, limits[at]),
                num_clusters=len(np.unique(codes[used])),
                n=len(used),
            )
            for s, column in enumerate(names)
        }
        figures.append(Figure(name=name, columns=columns, bounds=_span(weights, ends[at])))
    return tuple(figures)


def _columns(mark: Mark, num_columns: int) -> np.ndarray:
    """Values with the random orders brought down to one column, [n, columns]."""
    named = num_columns - 1
    return np.column_stack([mark.values[:, :named], mark.values[:, named:].mean(1)])


def _ends(mark: Mark, values: np.ndarray) -> tuple[float, float]:
    """The reward's mean were all unscored items at their lowest, and at their highest."""
    known = float(values[mark.scored, 0].sum())
    missing = int((~mark.scored).sum())
    return tuple((known + missing * end) / len(values) for end in (mark.low, mark.high))  # type: ignore[return-value]


def _span(weights: np.ndarray, ends: np.ndarray) -> tuple[float, float]:
    """From least to most of a weighted sum of parts that each lie in ends [parts, 2]."""
    both = weights[:, None] * ends
    return float(both.min(1).sum()), float(both.max(1).sum())


def _resampled(
    marks: Sequence[Mark], values: Sequence[np.ndarray], codes: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Means of every mark under resampled dialogues, [resamples, marks, columns]."""
    num_groups, num_columns = int(codes.max()) + 1, values[0].shape[1]
    sums = np.zeros((num_groups, len(marks), num_columns))
    sizes = np.zeros((num_groups, len(marks)))
    for i, (mark, value) in enumerate(zip(marks, values, strict=True)):
        owners = codes[mark.items[mark.scored]]
        np.add.at(sums[:, i], owners, value[mark.scored])
        np.add.at(sizes[:, i], owners, 1.0)
    flat, parts = sums.reshape(num_groups, -1), []
    for start in range(0, _NUM_RESAMPLES, batch := max(1, _CHUNK // num_groups)):
        rows = min(batch, _NUM_RESAMPLES - start)
        drawn = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=rows) * 1.0
        with np.errstate(invalid="ignore"):
            parts.append((drawn @ flat).reshape(rows, *sums.shape[1:]) / (drawn @ sizes)[..., None])
    return np.concatenate(parts)


def _unseen(mark: Mark, values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """What a mark that is alike on all its items may hide, [columns]: 3 / dialogues; else 0."""
    known = values[mark.scored]
    if not len(known):
        return np.zeros(values.shape[1])
    num_dialogues = len(np.unique(codes[mark.items[mark.scored]]))
    return np.where(np.ptp(known, axis=0) < 1e-9, 3 / num_dialogues, 0.0)


def _estimate(
    value: float,
    draws: np.ndarray,
    *,
    unseen: float,
    limits: tuple[float, float],
    num_clusters: int,
    n: int,
) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, None, None, n)
    found = from_replicates(value, draws, num_clusters=num_clusters, n=n)
    if found.lower is None or found.upper is None:
        return found
    lower, upper = max(limits[0], found.lower - unseen), min(limits[1], found.upper + unseen)
    # Sums of weights may pass a limit by rounding.
    return replace(found, lower=min(lower, value), upper=max(upper, value))
