"""Read comparisons at the layers that a first sample of them calls for.

    readings, seen = read_for(head, trunk, pairs, rng=tl.rng(0));   reward = head.fit(readings, ...)

All layers of a large model are a megabyte a response, and a head reads few. So the first `FIRST`
comparisons, whole prompts at random, are read at all layers; the head is fitted on each of
`PARTS` samples of half of them, and the layers that it takes most often are read for the rest (what
it takes each time, such as one named in its configuration, is always kept): stability selection,
Meinshausen and Bühlmann 2010, 0809.2932. Nothing is chosen where there are `FEW` layers or fewer.

Layers are chosen by labels: whoever measures a fit does so on other comparisons than those it was
chosen on (`held_out`). Fails where 160 comparisons say little of what thousands would.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from trueline.data.comparisons import Comparisons
from trueline.data.principles import principle_of
from trueline.models.reading import Readings
from trueline.rewards.protocols import Head, Reader
from trueline.rng import Rng

__all__ = ["choose_layers", "held_out", "read_for"]

FEW, FIRST, KEPT, PARTS = 8, 160, 3, 8

Folds = list[tuple[np.ndarray, np.ndarray]]


def read_for(
    head: Head, trunk: Reader, comparisons: Comparisons, *, rng: Rng
) -> tuple[Readings, np.ndarray]:
    """Return readings of all responses at the layers that `head` needs, and the rows [S] of the
    comparisons that these were chosen on; none where all layers were kept."""
    if len(trunk.layers) <= FEW or len(comparisons) < 2 * FIRST:
        return trunk.read(comparisons.responses), np.zeros(0, np.int64)
    rows = np.union1d(_whole_prompts(comparisons, rng), _contrasts(comparisons))
    sample = comparisons.take(rows)
    first = trunk.read(sample.responses)
    layers = choose_layers(head, first, sample, rng=rng)
    rest = [r for r in comparisons.responses if r.key not in set(first.keys)]
    parts = [first.at(layers)]
    if rest:
        parts.append(trunk.read(rest, layers=layers))
    return Readings.concat(parts), rows


def choose_layers(
    head: Head, readings: Readings, comparisons: Comparisons, *, rng: Rng
) -> tuple[int, ...]:
    """Return the layers that fits on halves of these comparisons take most often; all where there
    are few layers or too few comparisons."""
    if len(readings.layers) <= FEW or len(comparisons) < FIRST:
        return readings.layers
    taken: Counter[int] = Counter()
    for _ in range(PARTS):
        rows = np.union1d(rng.permutation(len(comparisons))[::2], _contrasts(comparisons))
        half = comparisons.take(rows)
        taken.update(head.fit(readings, half, rng=rng).layers)
    number = max(KEPT, sum(times == PARTS for times in taken.values()))
    return tuple(sorted(layer for layer, _ in taken.most_common(number)))


def held_out(folds: Folds, seen: np.ndarray) -> Folds:
    """Return folds (train, test) in which the rows `seen` are trained on, and never tested."""
    moved = [(np.union1d(a, np.intersect1d(b, seen)), np.setdiff1d(b, seen)) for a, b in folds]
    return [fold for fold in moved if len(fold[1])]


def _contrasts(comparisons: Comparisons) -> np.ndarray:
    """Return the rows that are contrasts of principles, which every fit has."""
    return np.flatnonzero([principle_of(pair.rater) is not None for pair in comparisons])


def _whole_prompts(comparisons: Comparisons, rng: Rng) -> np.ndarray:
    """Return the rows of so many groups, drawn at random, as make `FIRST` comparisons."""
    names, of = np.unique(np.asarray(comparisons.groups), return_inverse=True)
    place = rng.permutation(len(names))[of]
    return np.flatnonzero(place <= np.sort(place)[FIRST - 1])
