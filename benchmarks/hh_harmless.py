"""Real people's preferences: how well a head on a small sentence encoder ranks pairs it never saw.

    python -m benchmarks.hh_harmless --readings FILE     (encoding 4 minutes, each fold seconds)
    python -m benchmarks.hh_harmless --model FOLDER --dtype bfloat16 --readings FILE
                                     (SmolLM2-135M: encoding 20 minutes on a quiet core)

1,500 pairs of hh-rlhf harmless-base (Bai et al. 2022, arXiv 2204.05862), 5 folds split by dialogue,
several shuffles; MiniLM is the trunk unless another is named. Layer, pooling and prior are chosen
by the evidence inside the training folds; of many layers, as in `trueline fit`, a first sample of
the training pairs says which the rest is read at. Beside it, on the same folds: a bag of words, the
longer answer, our head on the last layer alone, and twelve lines of scikit-learn, a logistic
regression on the differences of the last layer's means whose penalty is chosen by cross-validation.

Accuracies are averaged over shuffles per pair; intervals resample dialogues. Encoding is timed on
the first dialogues against a plain padded pass of the same rows, each in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Cells, Measured, Options, Row, median_ratio, run, timed
from benchmarks.material import MINILM, hh_harmless
from trueline import stats
from trueline.data.baselines import bag_of_words, longer_wins
from trueline.data.comparisons import Comparisons, make_folds
from trueline.loop.layers import read_for
from trueline.models.chat_format import batches
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.records import Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.evaluate import cross_validate
from trueline.rewards.protocols import Fitted, Head, Pairs
from trueline.rng import Rng, stream

__all__ = ["People", "measure", "read", "twelve_lines"]

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class People(Options):
    """Options of this benchmark."""

    folds: int = 5
    readings: Path | None = None
    """Where readings are kept between calls; read anew if not given."""
    model: Path = MINILM
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What has been read, as a reader of it."""

    readings: Readings

    @property
    def layers(self) -> tuple[int, ...]:
        return self.readings.layers

    def fingerprint(self) -> str:
        return self.readings.trunk or ""

    def read(self, responses: Sequence[Response], **how: Any) -> Readings:
        rows = self.readings.rows([r.key for r in responses])
        return self.readings.take(rows).at(how.get("layers") or self.layers)


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A head on the layers that a first sample of its comparisons calls for."""

    head: Head

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> Fitted:
        """Return what the head learns of the layers that `trueline fit` would have read."""
        pairs = Comparisons(tuple(comparisons))
        kept, _ = read_for(self.head, Kept(readings=readings), pairs, rng=rng)
        return self.head.fit(kept, pairs, rng=rng)


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
    readings: Readings, pairs: Comparisons, heads: dict[str, Head], num_folds: int, seed: int
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


def encoding(trunk: Trunk, pairs: Comparisons) -> dict[str, list[float]]:
    """Return seconds of this process for reading pairs and for a plain pass of their rows."""
    rows = trunk.codec.encode(pairs.responses)

    def plain() -> None:
        for group in batches([len(row.ids) for row in rows], max_tokens=trunk.batch_tokens):
            ids = [torch.tensor(rows[i].ids) for i in group]
            padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(trunk.device)
            lengths = torch.tensor([len(each) for each in ids])[:, None]
            mask = (torch.arange(padded.shape[1])[None] < lengths).long().to(trunk.device)
            with torch.inference_mode():
                trunk.model(input_ids=padded, attention_mask=mask)

    trunk.read(pairs.take(np.arange(2)))
    spent = [(timed(lambda: trunk.read(pairs))[1], timed(plain)[1]) for _ in range(3)]
    return {"ours": [a["cpu_s"] for a, _ in spent], "plain": [b["cpu_s"] for _, b in spent]}


def kept(readings: Readings, pairs: Comparisons) -> dict[str, float]:
    """Return kB a response of all layers, of those a fit keeps in memory, and in its cache."""
    less, seen = read_for(Bayesian(), Kept(readings=readings), pairs, rng=stream(0, "layers"))
    every, few = (r.latents.nbytes / len(r) / 1e3 for r in (readings, less))
    share = len(pairs.take(seen).responses) / len(readings) if len(seen) else 0.0
    return {"all": every, "memory": few, "cache": share * every + (1 - share) * few}


def measure(options: People, cells: Cells) -> Measured:
    """Cross-validate every head on every shuffle and compare them pair by pair."""
    pairs, seeds = hh_harmless(), options.seeds[:1] if options.quick else options.seeds
    if options.quick:
        pairs = pairs.take(np.arange(60))
    trunk = Trunk.load(options.model, dtype=options.dtype)
    readings, encode_s = read(trunk, pairs, options.readings)
    spent = cells.get(lambda: encoding(trunk, pairs.take(np.arange(24))), what="encoding")
    size = kept(readings, pairs)
    last = Bayesian(layer=max(readings.layers))
    heads: dict[str, Head] = {"default": Sampled(head=Bayesian()), "last layer": last}
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
    ratio = median_ratio(spent["ours"], spent["plain"])
    bar = 0.63 if options.model == MINILM else 0.65
    rows = [
        Row.least("held-out pairs ranked right", accuracy["default"], bar),
        Row.positive("ahead of a bag of words, same folds", ahead["bag of words"]),
        Row("ahead of twelve lines of scikit-learn, same folds", ahead["twelve lines"]),
        Row.most(f"slowest fit of {len(fits)}, seconds", round(slowest, 2), 5),
        Row.most("encoding over a plain padded pass of the same rows", ratio, 1.3),
    ]
    if size["memory"] < size["all"]:
        fifth = round(size["all"] / 5, 1)
        rows += [
            Row.most(f"kB a response in {n}", round(size[n], 1), fifth) for n in ("memory", "cache")
        ]
    numbers = {
        "pairs": len(pairs),
        "dialogues": len(set(pairs.groups)),
        "model": options.model.name,
        "dtype": trunk.dtype,
        "encode_s": encode_s,
        "encoding_cpu_s": spent,
        "kb_a_response": size,
        "accuracy": {name: value.as_dict() for name, value in accuracy.items()},
        "ahead": {name: value.as_dict() for name, value in ahead.items()},
        "layers": dict(Counter(fit["layers"] for fit in fits).most_common()),
    }
    return Measured(rows, numbers)


if __name__ == "__main__":
    run(measure, People)
