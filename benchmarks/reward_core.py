"""The reward core part by part, beside twelve lines of scikit-learn: what pays, with true labels
and with a quarter of them flipped.

    python -m benchmarks.reward_core --readings FILE --seeds 0     (each fit a few seconds)

On hh_harmless (MiniLM, 5 folds by dialogue, one shuffle a seed) and on the embedded model's sums
(1,000 pairs fitted on and 400 tested a seed), each arm is fitted on the same pairs and ranks the
same held-out ones, whose labels are never flipped:

    bayesian          the default head
    one layer         without reading layers together
    fixed clipping    features clipped at 2 standard deviations, without a search
    no hyperprior     the evidence alone chooses the strength of the prior
    twelve lines      the mean of the layers' logistic regressions, each penalty by inner folds

Accuracies and log losses are compared pair by pair with the default; intervals resample prompts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.common import Cells, Measured, Options, Row, run, timed
from benchmarks.hh_harmless import read
from benchmarks.material import MINILM, embedded, hh_harmless, labelled_pairs
from trueline import stats
from trueline.data.comparisons import Comparisons, make_folds
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.records import Estimate
from trueline.rewards import evidence
from trueline.rewards.bayesian import Bayesian
from trueline.rng import stream

__all__ = ["Core", "flip", "measure", "twelve_lines"]

PENALTIES = (1e-4, 5e-4, 2e-3, 1e-2, 5e-2, 0.25)
DEFAULT = "bayesian"
Held = tuple[np.ndarray, np.ndarray]
"""Margin and probability of each held-out pair, chosen over rejected, [M] each."""


@dataclass(frozen=True, kw_only=True)
class Core(Options):
    """Options of this benchmark."""

    only: tuple[Literal["hh", "sums"], ...] = ("hh", "sums")
    flipped: float = 0.25
    pairs: int = 1400
    """Of sums; the last 400 are tested."""
    readings: Path | None = None
    """Where hh_harmless' readings are kept between calls; read anew if not given."""


def flip(pairs: Comparisons, share: float, rng: np.random.Generator) -> Comparisons:
    """Return the pairs with a random share of their labels the wrong way round."""
    turn = rng.random(len(pairs)) < share
    rows = (
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if wrong else pair
        for pair, wrong in zip(pairs, turn, strict=True)
    )
    return Comparisons(tuple(rows))


def by_head(head: Bayesian) -> Callable[[Readings, Comparisons, Comparisons], Held]:
    """Return how a head judges held-out pairs."""

    def judge(readings: Readings, train: Comparisons, test: Comparisons) -> Held:
        fitted = head.fit(readings, train, rng=stream(0, "reward core"))
        ends = readings.rows(test.chosen_keys), readings.rows(test.rejected_keys)
        margin, std = fitted.margin(readings, *ends)
        return margin, fitted.win_probability(margin, std)

    return judge


def without_hyperprior(readings: Readings, train: Comparisons, test: Comparisons) -> Held:
    """Judge held-out pairs by the default head under an evidence without its hyperprior."""
    kept = evidence.HYPERPRIOR_SD, evidence.LARGE_VARIANCE
    evidence.HYPERPRIOR_SD = evidence.LARGE_VARIANCE = 1e9
    try:
        return by_head(Bayesian())(readings, train, test)
    finally:
        evidence.HYPERPRIOR_SD, evidence.LARGE_VARIANCE = kept


def twelve_lines(readings: Readings, train: Comparisons, test: Comparisons) -> Held:
    """Judge held-out pairs by the mean of the layers' logistic regressions."""
    sides = [readings.rows(k) for p in (train, test) for k in (p.chosen_keys, p.rejected_keys)]
    seen, layers = np.unique(np.concatenate(sides[:2])), [at for at in readings.layers if at]
    inner, margin = make_folds(train.groups, 3, np.random.default_rng(0)), np.zeros(len(test))
    for layer in layers:
        x = readings.features(layer, "both").astype(float)
        z = np.clip((x - x[seen].mean(0)) / (x[seen].std(0) + 1e-9), -2, 2)
        known, new = z[sides[0]] - z[sides[1]], z[sides[2]] - z[sides[3]]
        losses: list[float] = []
        for penalty in PENALTIES:
            fits = ((known[q] @ logistic(known[p], penalty)) for p, q in inner)
            losses.append(float(sum(np.logaddexp(0, -margins).sum() for margins in fits)))
            if len(losses) > 1 and losses[-1] > losses[-2]:
                break
        margin += new @ logistic(known, PENALTIES[int(np.argmin(losses))]) / len(layers)
    return margin, 1 / (1 + np.exp(-margin))


def logistic(rows: np.ndarray, penalty: float) -> np.ndarray:
    """Return the weights [F] of a logistic regression on differences [N, F]."""
    from sklearn.linear_model import LogisticRegression

    signs = np.where(np.arange(len(rows)) % 2, 1.0, -1.0)
    model = LogisticRegression(
        C=penalty, fit_intercept=False, solver="newton-cholesky", max_iter=30, tol=1e-3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights: np.ndarray = model.fit(rows * signs[:, None], signs).coef_[0]
    return weights


ARMS: dict[str, Callable[[Readings, Comparisons, Comparisons], Held]] = {
    DEFAULT: by_head(Bayesian()),
    "one layer": by_head(Bayesian(num_layers=1)),
    "fixed clipping": by_head(Bayesian(winsor=2.0)),
    "no hyperprior": without_hyperprior,
    "twelve lines": twelve_lines,
}


def hh_splits(options: Core, seed: int) -> Iterator[tuple[Readings, Comparisons, Comparisons]]:
    """Yield readings, training and test pairs of each fold of people's preferences."""
    pairs = hh_harmless()
    if options.quick:
        pairs = pairs.take(np.arange(60))
    readings, _ = read(Trunk.load(MINILM), pairs, options.readings)
    num = 2 if options.quick else 5
    for train, test in make_folds(pairs.groups, num, stream(seed, "hh", "folds")):
        yield readings, pairs.take(train), pairs.take(test)


def sums_splits(options: Core, seed: int) -> Iterator[tuple[Readings, Comparisons, Comparisons]]:
    """Yield readings, training and test pairs of the embedded model's answers."""
    trunk, policy = embedded()
    num = 80 if options.quick else options.pairs
    pairs = labelled_pairs(policy, num, stream(seed, "reward core"))
    held = np.arange(num - min(400, num // 2), num)
    yield trunk.read(pairs.responses), pairs.take(np.arange(held[0])), pairs.take(held)


SPLITS = {"hh": hh_splits, "sums": sums_splits}


def one_seed(options: Core, data: str, seed: int) -> dict[str, Any]:
    """Return, with true and with flipped labels, every arm's verdicts on all held-out pairs."""
    found: dict[str, Any] = {"groups": [], "true": {}, "flipped": {}}
    for i, (readings, train, test) in enumerate(SPLITS[data](options, seed)):
        found["groups"] += [f"{seed} {group}" for group in test.groups]
        noisy = flip(train, options.flipped, stream(seed, "reward core", "flips", str(i)))
        for labels, given in (("true", train), ("flipped", noisy)):
            for name, arm in ARMS.items():
                (margin, prob), spent = timed(partial(arm, readings, given, test))
                row = found[labels].setdefault(name, {"right": [], "loss": [], "cpu_s": 0.0})
                row["right"] += ((np.sign(margin) + 1) / 2).tolist()
                row["loss"] += (-np.log(np.clip(prob, 1e-12, 1))).tolist()
                row["cpu_s"] += spent["cpu_s"]
        print(data, seed, i, flush=True)
    return found


def summary(parts: list[dict[str, Any]], labels: str) -> dict[str, dict[str, Any]]:
    """Return each arm's accuracy and log loss, and the default's less its own, pair by pair."""
    groups = [group for part in parts for group in part["groups"]]
    rng = stream(0, "reward core", "intervals")

    def joined(name: str, what: str) -> np.ndarray:
        return np.concatenate([part[labels][name][what] for part in parts])

    def row(name: str) -> dict[str, Any]:
        values: dict[str, Any] = {"cpu_s": sum(part[labels][name]["cpu_s"] for part in parts)}
        for what in ("right", "loss"):
            mine, default = joined(name, what), joined(DEFAULT, what)
            values[what] = stats.mean(mine, clusters=groups, rng=rng)
            values[f"{what}: default less this"] = stats.difference(
                default, mine, clusters=groups, rng=rng
            )
        return values

    return {name: row(name) for name in ARMS}


def measure(options: Core, cells: Cells) -> Measured:
    """Fit all arms on all data and compare them with the default."""
    rows, numbers = [], {}
    for data in options.only:
        parts = [
            cells.get(lambda s=seed, d=data: one_seed(options, d, s), data=data, seed=seed)
            for seed in options.seeds
        ]
        for labels in ("true", "flipped"):
            table = summary(parts, labels)
            where = f"{data}, {labels} labels"
            rows.append(Row(f"{where}: held-out pairs ranked right", table[DEFAULT]["right"]))
            rows += [
                Row(f"{where}: ahead of {name}", table[name]["right: default less this"])
                for name in ARMS
                if name != DEFAULT
            ]
            numbers[where] = {
                name: {k: v.as_dict() if isinstance(v, Estimate) else v for k, v in arm.items()}
                for name, arm in table.items()
            }
    return Measured(rows, numbers)


if __name__ == "__main__":
    run(measure, Core)
