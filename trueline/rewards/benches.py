"""How a reward does on RewardBench 1 and 2 and RM-Bench, beside what it must beat.

    reward          the scorer's mean
    longer          the longer answer is better
    bag_of_words    a linear reward on words, fitted on the reward's own training data
    chance          the mean over random orders

RewardBench (Lambert et al. 2024, arXiv 2403.13787): share of pairs ranked right, by subset; a
section is the mean of its subsets weighted by the example counts of the authors' repository, and
`average` the mean of the sections. RewardBench 2 (Malik et al. 2025, 2506.01937): the right one of
four must score highest, m equals share 1; `Ties`, with gap = worst right above best wrong answer,
spread = best above worst right one, least gap = the smaller of the prompt's and its reference's
(ids `tied:7`, `ref:7`), is 0.3 tied accuracy + 0.3 reference accuracy + 0.2 P(gap > spread)
+ 0.2 P(least gap > spread) + 0.01 mean tanh(least gap / spread - 1). RM-Bench (Liu et al. 2024,
2410.16184): of the matrix chosen x rejected style the diagonal is `normal`, chosen fancier `easy`,
plainer `hard`; domains weigh alike, safety's halves as one; style sensitivity = easy - hard.

Where we differ: (1) a tie of a pair counts one half; (2) items with an unscored answer, or whose
dialogue was trained on, are left out of all columns and counted; `bounds` says what the reward's
figure would be were the unscored all wrong, or all right; (3) intervals resample dialogues, the
same for every column, and where all items of a part are alike widen by 3 / dialogues (the rule of
three). Too narrow below some 10 dialogues; near copies of training prompts are not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from trueline.data.baselines import word_reward
from trueline.data.benches import Bench, BenchItem
from trueline.data.comparisons import Comparisons, group_of
from trueline.errors import InvalidExperiment
from trueline.protocols import Scorer
from trueline.records import Estimate, Response
from trueline.stats.resampling import from_replicates

__all__ = ["BenchResult", "Figure", "run_bench"]

_RESAMPLES, _BATCH, _ORDERS = 1_000, 256, 256
_SECTIONS: Mapping[str, Mapping[str, int]] = {
    "Chat": {"alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95,
             "mt-bench-easy": 28, "mt-bench-med": 40},
    "Chat Hard": {"mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134,
                  "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46},
    "Safety": {"refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154,
               "xstest-should-respond": 250, "donotanswer": 136},
    "Reasoning": {"math-prm": 984, "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164,
                  "hep-python": 164, "hep-rust": 164},
}  # fmt: skip
"""Section to subset to its weight."""


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
    """What `run_bench` measured."""

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
        """Return everything as JSON holds it."""
        figures = {
            f.name: {**{c: e.as_dict() for c, e in f.columns.items()}, "bounds": list(f.bounds)}
            for f in self.figures
        }
        return {**asdict(replace(self, figures=())), "figures": figures}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mark:
    """What is averaged: n values of S columns, each of which counts for one item."""

    items: np.ndarray
    values: np.ndarray
    scored: np.ndarray
    low: float = 0.0


_Blend = list[tuple[float, _Mark]]
"""A figure: the weighted sum of the means of marks."""


def run_bench(
    scorer: Scorer,
    bench: Bench,
    *,
    rng: np.random.Generator,
    train: Comparisons | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """Return the figures of a bench; `train`: what the scorer was fitted on."""
    trained_on = set() if train is None else {group_of(r.prompt) for r in train.responses}
    items = [item for item in bench.items if group_of(item.prompt) not in trained_on]
    if not items:
        raise InvalidExperiment(
            "a bench must hold prompts that were not trained on",
            got=f"{len(bench.items)} items, all of which were",
            do="give another file",
        )
    answers = list({r.key: r for item in items for r in (*item.chosen, *item.rejected)}.values())
    texts = [answer.text for answer in answers]
    means, scored = _scores(scorer, answers, progress)
    columns = {"reward": means, "longer": np.array([float(len(text)) for text in texts])}
    if train is not None:
        columns["bag_of_words"] = word_reward(train, rng=rng)(texts)
    table = np.column_stack([*columns.values(), rng.random((len(answers), _ORDERS))])
    places = {answer.key: i for i, answer in enumerate(answers)}
    scores = _Scored(items, places, table, scored)
    blends = {
        "rewardbench": _rewardbench, "rewardbench-2": _rewardbench_2, "rm-bench": _rm_bench,
    }[bench.kind](scores)  # fmt: skip
    groups = np.unique([group_of(item.prompt) for item in items], return_inverse=True)[1]
    num = int(groups.max()) + 1
    drawn = np.vstack([np.ones(num), rng.multinomial(num, np.full(num, 1 / num), _RESAMPLES)])
    names = (*columns, "chance")
    return BenchResult(
        kind=bench.kind,
        figures=tuple(_figure(name, blend, names, groups, drawn) for name, blend in blends),
        num_items=len(items),
        num_unscored=int((~scores.known).sum()),
        num_trained_on=len(bench.items) - len(items),
    )


def _scores(
    scorer: Scorer, answers: Sequence[Response], progress: Callable[[int, int], None] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (0 where unscored) and whether there is one, each [N]."""
    parts = []
    for start in range(0, len(answers), _BATCH):
        batch = answers[start : start + _BATCH]
        scores = scorer.score([r.prompt for r in batch], [r.text for r in batch])
        parts.append((np.where(scores.scored, scores.mean, 0.0), scores.scored))
        if progress is not None:
            progress(start + len(batch), len(answers))
    means, scored = zip(*parts, strict=True)
    return np.concatenate(means), np.concatenate(scored)


class _Scored:
    """The items with the scores of their answers, [answers, S] each."""

    def __init__(
        self,
        items: Sequence[BenchItem],
        places: Mapping[str, int],
        table: np.ndarray,
        scored: np.ndarray,
    ) -> None:
        right = [[places[r.key] for r in item.chosen] for item in items]
        wrong = [[places[r.key] for r in item.rejected] for item in items]
        self.items, self.num_columns = items, table.shape[1]
        self.chosen, self.rejected = [table[at] for at in right], [table[at] for at in wrong]
        self.known = np.array([scored[[*a, *b]].all() for a, b in zip(right, wrong, strict=True)])

    def mark(
        self, rests_on: Sequence[tuple[int, ...]], values: Sequence[Any], *, low: float = 0.0
    ) -> _Mark:
        """Return values that rest on one or more items each, and count for the first of them."""
        return _Mark(
            items=np.array([at[0] for at in rests_on], dtype=int),
            values=np.array(values, dtype=np.float64).reshape(-1, self.num_columns),
            scored=np.array([self.known[list(at)].all() for at in rests_on], dtype=bool),
            low=low,
        )

    def by_subset(self, values: Sequence[np.ndarray]) -> dict[str, _Mark]:
        """Return one mark a subset."""
        rows: dict[str, list[int]] = {}
        for i, item in enumerate(self.items):
            rows.setdefault(item.subset, []).append(i)
        return {
            name: self.mark([(i,) for i in at], [values[i] for i in at])
            for name, at in rows.items()
        }

    def wins(self) -> list[np.ndarray]:
        """Return whether each right answer beats each wrong one, a tie one half: [right, wrong, S]
        an item."""
        pairs = zip(self.chosen, self.rejected, strict=True)
        return [(np.sign(a[:, None] - b[None]) + 1.0) / 2.0 for a, b in pairs]


def _rewardbench(scores: _Scored) -> Iterator[tuple[str, _Blend]]:
    values = [wins[0, 0] for wins in scores.wins()]
    marks = scores.by_subset(values)
    yield from ((name, [(1.0, mark)]) for name, mark in marks.items())
    sections: list[_Blend] = []
    for section, counts in _SECTIONS.items():
        present = [name for name in counts if name in marks]
        if present:
            total = sum(counts[name] for name in present)
            sections.append([(counts[name] / total, marks[name]) for name in present])
            yield section, sections[-1]
    if sections:
        yield "average", _mean_of(sections)
    elif len(marks) > 1:
        yield "all items", [(1.0, scores.mark([(i,) for i in range(len(values))], values))]


def _rewardbench_2(scores: _Scored) -> Iterator[tuple[str, _Blend]]:
    values = []
    for chosen, rejected in zip(scores.chosen, scores.rejected, strict=True):
        highest = np.maximum(chosen.max(0), rejected.max(0))
        right, wrong = (chosen == highest).sum(0), (rejected == highest).sum(0)
        values.append(right / (right + wrong))
    marks = scores.by_subset(values)
    subsets = {name: [(1.0, mark)] for name, mark in marks.items() if name.lower() != "ties"}
    parts = _ties(scores)
    if all(mark.items.size for mark in parts.values()):
        subsets["Ties"] = list(zip((0.3, 0.3, 0.2, 0.2, 0.01), parts.values(), strict=True))
    yield from subsets.items()
    yield from ((name, [(1.0, mark)]) for name, mark in parts.items() if mark.items.size)
    if len(subsets) > 1:
        yield "average", _mean_of(list(subsets.values()))


def _ties(scores: _Scored) -> dict[str, _Mark]:
    """Return the five terms of the score, in the order of its weights."""
    rows = [i for i, item in enumerate(scores.items) if item.subset.lower() == "ties"]
    ids = {i: scores.items[i].id.partition(":") for i in rows}
    reference = {number: i for i, (kind, _, number) in ids.items() if kind == "ref"}
    tied = [i for i in rows if ids[i][0] != "ref"]
    both = [(i, reference[ids[i][2]]) for i in tied if ids[i][2] in reference]
    gap = {i: scores.chosen[i].min(0) - scores.rejected[i].max(0) for i in rows}
    spread = {i: np.ptp(scores.chosen[i], axis=0) for i in rows}
    least = {i: np.minimum(gap[i], gap[j]) for i, j in both}
    # 0 / 0: all its answers score alike, which is no margin and no lack of one.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = [np.nan_to_num(np.tanh(least[i] / spread[i] - 1)) for i, _ in both]
    refs = list(reference.values())
    return {
        "Ties: tied accuracy": scores.mark([(i,) for i in tied], [gap[i] > 0 for i in tied]),
        "Ties: reference accuracy": scores.mark([(i,) for i in refs], [gap[i] > 0 for i in refs]),
        "Ties: gap > spread": scores.mark(both, [gap[i] > spread[i] for i, _ in both]),
        "Ties: least gap > spread": scores.mark(both, [least[i] > spread[i] for i, _ in both]),
        "Ties: margin": scores.mark(both, ratio, low=-1.0),
    }


def _rm_bench(scores: _Scored) -> Iterator[tuple[str, _Blend]]:
    wins = scores.wins()
    levels = {
        "easy": [m[np.tril_indices(len(m), -1)].mean(0) for m in wins],
        "normal": [m[np.diag_indices(len(m))].mean(0) for m in wins],
        "hard": [m[np.triu_indices(len(m), 1)].mean(0) for m in wins],
    }
    marks = {level: scores.by_subset(values) for level, values in levels.items()}
    areas: dict[str, list[str]] = {}
    for domain in marks["easy"]:
        areas.setdefault("safety" if domain.startswith("safety") else domain, []).append(domain)

    def level_of(name: str, only: Sequence[list[str]]) -> _Blend:
        return _mean_of([_mean_of([[(1.0, marks[name][d])] for d in area]) for area in only])

    everywhere = list(areas.values())
    yield from ((name, level_of(name, everywhere)) for name in marks)
    yield "average", _mean_of([level_of(name, everywhere) for name in marks])
    harder = [(-weight, mark) for weight, mark in level_of("hard", everywhere)]
    yield "style sensitivity", [*level_of("easy", everywhere), *harder]
    for area, halves in areas.items() if len(areas) > 1 else ():
        yield area, _mean_of([level_of(name, [halves]) for name in marks])
        yield f"{area}: hard", level_of("hard", [halves])


def _mean_of(parts: Sequence[_Blend]) -> _Blend:
    return [(weight / len(parts), mark) for part in parts for weight, mark in part]


def _figure(
    name: str, blend: _Blend, names: Sequence[str], groups: np.ndarray, drawn: np.ndarray
) -> Figure:
    """Return a blend with its intervals; `drawn`: how often each dialogue is in each resample, all
    of them once in the first."""
    weights, marks = np.array([weight for weight, _ in blend]), [mark for _, mark in blend]
    used = np.unique(np.concatenate([mark.items[mark.scored] for mark in marks]))
    parts = [_part(mark, len(names) - 1, groups, drawn) for mark in marks]
    means, alike, ends = (np.stack(part) for part in zip(*parts, strict=True))
    limits = _span(weights, np.array([(mark.low, 1.0) for mark in marks]))
    columns = {}
    for s, column in enumerate(names):
        draws = weights @ means[:, :, s]
        columns[column] = Estimate(None, None, None, len(used))
        if np.isfinite(draws[0]):
            hidden = float(np.linalg.norm(weights * alike[:, s]))
            clusters = len(np.unique(groups[used]))
            plain = from_replicates(float(draws[0]), draws[1:], num_clusters=clusters, n=len(used))
            columns[column] = _widened(plain, hidden, limits)
    return Figure(name=name, columns=columns, bounds=_span(weights, ends))


def _part(
    mark: _Mark, num_named: int, groups: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a mark's means [resamples, S], what may hide where all its values are alike [S], and
    the reward's mean were all unscored values at their lowest, and at their highest [2]."""
    values = np.column_stack([mark.values[:, :num_named], mark.values[:, num_named:].mean(1)])
    known, owners = values[mark.scored], groups[mark.items[mark.scored]]
    sums = np.zeros((drawn.shape[1], values.shape[1]))
    np.add.at(sums, owners, known)
    with np.errstate(invalid="ignore"):
        means = (drawn @ sums) / (drawn @ np.bincount(owners, minlength=len(sums)))[:, None]
    alike = np.zeros(values.shape[1])
    if len(known):
        alike = np.where(np.ptp(known, axis=0) < 1e-9, 3 / len(np.unique(owners)), 0.0)
    missing = len(values) - len(known)
    ends = np.array([known[:, 0].sum() + missing * end for end in (mark.low, 1.0)])
    return means, alike, ends / len(values)


def _span(weights: np.ndarray, ends: np.ndarray) -> tuple[float, float]:
    """Return the least and the most of a weighted sum of parts that each lie in ends [P, 2]."""
    both = weights[:, None] * ends
    return float(both.min(1).sum()), float(both.max(1).sum())


def _widened(plain: Estimate, hidden: float, limits: tuple[float, float]) -> Estimate:
    if plain.value is None or plain.lower is None or plain.upper is None:
        return plain
    lower, upper = max(limits[0], plain.lower - hidden), min(limits[1], plain.upper + hidden)
    # Sums of weights may pass a limit by rounding.
    return replace(plain, lower=min(lower, plain.value), upper=max(upper, plain.value))
