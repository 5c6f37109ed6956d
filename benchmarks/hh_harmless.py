"""Real people's preferences: how well a head on a small sentence encoder ranks pairs it never saw.

    python -m benchmarks.hh_harmless --readings FILE     (encoding 4 minutes, each fold seconds)

1,500 pairs of hh-rlhf harmless-base (Bai et al. 2022, arXiv 2204.05862), 5 folds split by dialogue,
several shuffles; MiniLM is the trunk. Layer, pooling and prior are chosen by the evidence inside
the training folds. Beside it, on the same folds: a bag of words, the longer answer, our head on
the last layer alone, and twelve lines of scikit-learn, a logistic regression on the differences of
the last layer's means whose penalty is chosen by cross-validation.

Accuracies are averaged over shuffles per pair; intervals resample dialogues.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Cells, Measured, Options, Row, run, timed
from benchmarks.material import MINILM, hh_harmless
from trueline import stats
from trueline.data.baselines import bag_of_words, longer_wins
from trueline.data.comparisons import Comparisons, make_folds
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.evaluate import cross_validate
from trueline.rng import stream

__all__ = ["People", "measure", "read", "twelve_lines"]

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class People(Options):
    """Options of this benchmark."""

    folds: int = 5
    readings: Path | None = None
    """Where readings are kept between calls; read anew if not given."""


def read(trunk: Trunk, pairs: Comparisons, kept: Path | None) -> tuple[Readings, float | None]:
    """Return all responses' readings, and the seconds it took (None if they were kept)."""
    if kept is not None and kept.is_file():
        readings = Readings.load(kept)
        if readings.trunk == trunk.fingerprint():
            return readings, None
    readings, spent = timed(lambda: trunk.read(pairs))
    if kept is not None:
        readings.save(kept)
    return readings, spent["wall_s"]


def twelve_lines(readings: Readings, pairs: Comparisons, folds: Folds) -> np.ndarray:
    """Return whether a plain logistic regression ranks each held-out pair right, [N]."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import StandardScaler

    mean = readings.poolings.index("mean")
    last = readings.latents[:, -1, mean].astype(float)
    diff = last[readings.rows(pairs.chosen_keys)] - last[readings.rows(pairs.rejected_keys)]
    right = np.zeros(len(pairs))
    for train, test in folds:
        scale = StandardScaler(with_mean=False).fit(diff[train])
        x = scale.transform(diff[train])
        x, y = np.concatenate([x, -x]), np.repeat([1, 0], len(x))
        model = LogisticRegressionCV(Cs=np.logspace(-5, 0, 6), fit_intercept=False, max_iter=2000)
        right[test] = model.fit(x, y).predict(scale.transform(diff[test]))
    return right


def by_words(pairs: Comparisons, folds: Folds, seed: int) -> np.ndarray:
    """Return whether a bag of words ranks each held-out pair right, [N]."""
    right, rng = np.zeros(len(pairs)), stream(seed, "hh", "words")
    for train, test in folds:
        right[test] = bag_of_words(pairs.take(train), pairs.take(test), rng=rng)
    return right


def one_shuffle(
    readings: Readings, pairs: Comparisons, heads: dict[str, Bayesian], num_folds: int, seed: int
) -> dict[str, Any]:
    """Return whether each head and floor ranks each pair right, and what the fits chose."""
    folds = make_folds(pairs.groups, num_folds, stream(seed, "hh", "folds"))
    shuffle: dict[str, Any] = {"right": {}, "fits": {}}
    for name, head in heads.items():
        validation = cross_validate(
            head, readings, pairs, folds=folds, rng=stream(seed, "hh", "validate")
        )
        shuffle["right"][name] = np.asarray(validation.correct, float).tolist()
        shuffle["fits"][name] = [
            {"layers": "+".join(map(str, sorted(fold["layers"]))), "fit_s": fold["fit_s"]}
            for fold in validation.folds
        ]
    shuffle["right"]["twelve lines"] = twelve_lines(readings, pairs, folds).tolist()
    shuffle["right"]["bag of words"] = by_words(pairs, folds, seed).tolist()
    return shuffle


def measure(options: People, cells: Cells) -> Measured:
    """Cross-validate every head on every shuffle and compare them pair by pair."""
    pairs, seeds = hh_harmless(), options.seeds[:1] if options.quick else options.seeds
    if options.quick:
        pairs = pairs.take(np.arange(60))
    readings, encode_s = read(Trunk.load(MINILM), pairs, options.readings)
    heads = {"default": Bayesian(), "last layer": Bayesian(layer=max(readings.layers))}
    folds = 2 if options.quick else options.folds
    shuffles = [
        cells.get(lambda s=seed: one_shuffle(readings, pairs, heads, folds, s), seed=seed)
        for seed in seeds
    ]
    right = {n: np.mean([s["right"][n] for s in shuffles], 0) for n in shuffles[0]["right"]}
    rng, groups = stream(0, "hh", "intervals"), pairs.groups
    accuracy = {n: stats.mean(values, clusters=groups, rng=rng) for n, values in right.items()}
    accuracy["longer answer"] = stats.mean(longer_wins(pairs), clusters=groups, rng=rng)
    ahead = {
        name: stats.difference(right["default"], right[name], clusters=groups, rng=rng)
        for name in right
        if name != "default"
    }
    fits = [fit for s in shuffles for fit in s["fits"]["default"]]
    slowest = max(fit["fit_s"] for fit in fits)
    rows = [
        Row.least("held-out pairs ranked right", accuracy["default"], 0.63),
        Row.positive("ahead of a bag of words, same folds", ahead["bag of words"]),
        Row("ahead of twelve lines of scikit-learn, same folds", ahead["twelve lines"]),
        Row.most(f"slowest fit of {len(fits)}, seconds", round(slowest, 2), 5),
    ]
    numbers = {
        "pairs": len(pairs),
        "dialogues": len(set(pairs.groups)),
        "encode_s": encode_s,
        "accuracy": {name: value.as_dict() for name, value in accuracy.items()},
        "ahead": {name: value.as_dict() for name, value in ahead.items()},
        "layers": dict(Counter(fit["layers"] for fit in fits).most_common()),
    }
    return Measured(rows, numbers)


if __name__ == "__main__":
    run(measure, People)
