"""Synthetic readings with a known linear reward, shared by the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueline.data.comparisons import Comparisons
from trueline.models.reading import Readings
from trueline.records import Comparison, Prompt, Response, Scores


@dataclass(frozen=True)
class Planted:
    """Readings, comparisons drawn from the Bradley–Terry model of `gold`, and `gold` itself."""

    readings: Readings
    comparisons: list[Comparison]
    gold: np.ndarray
    """The true reward of each row, [N]."""


def planted(
    num_pairs: int,
    *,
    seed: int = 0,
    num_layers: int = 3,
    layer: int = 1,
    width: int = 8,
    strength: float = 2.0,
    surprisals: bool = False,
    flips: float = 0.0,
    raters: dict[str, float] | None = None,
) -> Planted:
    """The reward is a direction of `layer`'s mean pool with margins of sd about 1.4 `strength`.

    `raters`: name to temperature; comparisons go round them in turn.
    """
    rng = np.random.default_rng(seed)
    num_rows = 2 * num_pairs
    prompts = [Prompt.of(f"? {i}") for i in range(num_pairs)]
    responses = [Response(prompt=prompts[i // 2], text=f"{seed}-{i}") for i in range(num_rows)]
    latents = rng.standard_normal((num_rows, num_layers, 2, width)).astype(np.float32)
    direction = rng.standard_normal(width)
    gold = strength * latents[:, layer, 1] @ direction / np.linalg.norm(direction)
    readings = Readings(
        keys=tuple(r.key for r in responses),
        latents=latents,
        layers=tuple(range(num_layers)),
        surprisals=rng.exponential(size=(num_rows, 5)).astype(np.float32) if surprisals else None,
        trunk="planted",
    )
    people = raters or {"ann": 1.0}
    names = list(people)
    comparisons = []
    for i in range(num_pairs):
        rater = names[i % len(names)]
        margin = people[rater] * (gold[2 * i] - gold[2 * i + 1])
        first_wins = rng.random() < 1.0 / (1.0 + np.exp(-margin))
        if rng.random() < flips:
            first_wins = not first_wins
        first, second = responses[2 * i], responses[2 * i + 1]
        chosen, rejected = (first, second) if first_wins else (second, first)
        comparisons.append(Comparison(chosen=chosen, rejected=rejected, rater=rater))
    return Planted(readings, comparisons, gold)


def questions(num: int) -> Comparisons:
    """Pairs on different prompts, of which "good" is preferred."""
    pairs = []
    for i in range(num):
        ask = Prompt.of(f"q{i}")
        good, plain = (Response(prompt=ask, text=f"{word} {i}") for word in ("good", "plain"))
        pairs.append(Comparison(chosen=good, rejected=plain))
    return Comparisons(tuple(pairs))


def judged(world: Planted, gold: np.ndarray, rng: np.random.Generator) -> list[Comparison]:
    """The pairs of neighbouring rows again, drawn from the Bradley–Terry model of this gold [N]."""
    by_key = {r.key: r for c in world.comparisons for r in (c.chosen, c.rejected)}
    answers = [by_key[key] for key in world.readings.keys]
    wins = rng.random(len(answers) // 2) < 1.0 / (1.0 + np.exp(gold[1::2] - gold[::2]))
    return [
        Comparison(chosen=a, rejected=b) if win else Comparison(chosen=b, rejected=a)
        for a, b, win in zip(answers[::2], answers[1::2], wins, strict=True)
    ]


def swapped(comparisons: list[Comparison]) -> list[Comparison]:
    """Every label turned round."""
    return [Comparison(chosen=c.rejected, rejected=c.chosen, rater=c.rater) for c in comparisons]


def same(ours: Scores, theirs: Scores) -> None:
    """Assert that all columns are equal, bit for bit, and so are the reasons."""
    assert ours.columns == theirs.columns and dict(ours.reasons) == dict(theirs.reasons)
    for name in ours.columns:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
