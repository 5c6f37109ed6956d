"""What a page of principles is worth in labels, on real people's preferences.

    python -m benchmarks.principles --readings FILE      (MiniLM: 15 minutes)
    python -m benchmarks.principles --model FOLDER --dtype bfloat16 --readings FILE
                                     (SmolLM2-135M: reading 10 minutes, then an hour)

1,500 pairs of hh-rlhf harmless-base (Bai et al. 2022, arXiv 2204.05862). Each split keeps a quarter
of the dialogues aside; of the others so many pairs are learned from by the default head ("plain"),
and by the same head around the shipped principle `harmless` ("both"). Beside them the principle
alone, which has seen no label, and a bag of the words of its contrasts. Layers are chosen on what
is learned from, as in `trueline fit`. What is right is averaged over splits per pair; intervals
resample dialogues. The principle's worth in labels is where the plain head's curve crosses it, by
the logarithm of the number of labels between two sizes; its range that of both ends' crossings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Cells, Measured, Options, Row, run
from benchmarks.hh_harmless import Sampled, read
from benchmarks.material import MINILM, hh_harmless
from trueline import stats
from trueline.data.baselines import bag_of_words
from trueline.data.comparisons import Comparisons
from trueline.data.principles import contrasts_of
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.records import Estimate
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.concept_prior import ConceptPrior, crossing
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["Worth", "measure"]

SIZES = (25, 50, 100, 200, 400, 800, 1_100)
PRINCIPLE = "harmless"


@dataclass(frozen=True, kw_only=True)
class Worth(Options):
    """Options of this benchmark."""

    splits: int = 20
    readings: Path | None = None
    """Where readings are kept between calls; read anew if not given."""
    model: Path = MINILM
    dtype: str = "float32"


def one_split(
    readings: Readings, pairs: Comparisons, sizes: Sequence[int], split: int
) -> dict[str, Any]:
    """Return which pairs were kept aside, and which of them each arm ranks right."""
    rng, contrasts = stream(split, "principles", "split"), contrasts_of([PRINCIPLE])
    names, of = np.unique(pairs.groups, return_inverse=True)
    aside = rng.permutation(len(names))[of] < len(names) / 4
    test, rest = pairs.take(np.flatnonzero(aside)), rng.permutation(np.flatnonzero(~aside))
    sides = [readings.rows(keys) for keys in (test.chosen_keys, test.rejected_keys)]

    def right(fitted: Fitted) -> list[float]:
        return ((np.sign(fitted.margin(readings, *sides)[0]) + 1) / 2).tolist()

    alone = ConceptPrior().fit(readings, contrasts, rng=rng)
    words = bag_of_words(contrasts, test, rng=rng).tolist()
    found: dict[str, Any] = {"alone": right(alone), "words": words}
    for size in sizes:
        some = pairs.take(rest[:size]).rows
        arms = {"plain": (Bayesian(), some), "both": (ConceptPrior(), (*some, *contrasts))}
        for name, (head, rows) in arms.items():
            fitted = Sampled(head=head).fit(readings, rows, rng=stream(split, "principles", name))
            found[f"{name} {size}"] = right(fitted)
    return {"aside": np.flatnonzero(aside).tolist(), "right": found}


def per_pair(splits: Sequence[Mapping[str, Any]], num: int) -> dict[str, np.ndarray]:
    """Return how often each pair was ranked right over the splits that kept it aside, [N]."""
    times, total = np.zeros(num), {name: np.zeros(num) for name in splits[0]["right"]}
    for split in splits:
        times[split["aside"]] += 1
        for name, right in split["right"].items():
            total[name][split["aside"]] += right
    with np.errstate(invalid="ignore"):
        return {name: values / times for name, values in total.items()}


def measure(options: Worth, cells: Cells) -> Measured:
    """Measure every split and compare the arms pair by pair."""
    pairs, sizes, num_splits = hh_harmless(), SIZES, options.splits
    if options.quick:
        pairs, sizes, num_splits = pairs.take(np.arange(80)), SIZES[:2], 2
    trunk = Trunk.load(options.model, dtype=options.dtype)
    everything = Comparisons((*pairs, *contrasts_of([PRINCIPLE])))
    readings, _ = read(trunk, everything, options.readings)
    splits = []
    for split in range(num_splits):
        act = partial(one_split, readings, pairs, sizes, split)
        splits.append(cells.get(act, split=split, model=options.model.name))
    right = per_pair(splits, len(pairs))
    known, rng = np.isfinite(right["alone"]), stream(0, "principles", "intervals")
    groups = np.asarray(pairs.groups)[known]

    def mean(name: str) -> Estimate:
        return stats.mean(right[name][known], clusters=groups, rng=rng)

    def ahead(ours: str, theirs: str) -> Estimate:
        both = (right[name][known] for name in (ours, theirs))
        return stats.difference(*both, clusters=groups, rng=rng)

    alone, curve = mean("alone"), [mean(f"plain {size}") for size in sizes]
    levels = (alone.value, alone.lower, alone.upper)
    worth = [crossing(float(x), [float(e.value) for e in curve], sizes) for x in levels]  # type: ignore[arg-type]
    over = {s: ahead(f"both {s}", f"plain {s}") for s in sizes}
    over_alone = {s: ahead(f"both {s}", "alone") for s in sizes}
    uppers = [e.upper for e in (*over.values(), *over_alone.values())]
    rows = [
        Row.positive(f"ahead of the plain head at {sizes[0]} labels", over[sizes[0]]),
        Row.least("the smallest upper end of what it is ahead by, of either, at any size",
                  min(x for x in uppers if x is not None), 0.0),
        Row("pairs ranked right by the principle alone, without a label", alone),
        Row("labels at which the plain head ranks as many right", worth[0]),
    ]  # fmt: skip
    numbers = {
        "model": options.model.name,
        "pairs": len(pairs),
        "splits": num_splits,
        "accuracy": {name: mean(name).as_dict() for name in right},
        "ahead_of_plain": {str(s): e.as_dict() for s, e in over.items()},
        "ahead_of_alone": {str(s): e.as_dict() for s, e in over_alone.items()},
        "worth_in_labels": worth,
    }
    return Measured(rows, numbers)


if __name__ == "__main__":
    run(measure, Worth)
