"""Floors: they find what words say, and find nothing where they say nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trueline.data import Comparisons, make_folds
from trueline.data.baselines import bag_of_words, baseline_accuracy, longer_wins
from trueline.records import Comparison, Prompt, Response

WORDS = [f"word{i}" for i in range(40)]


def pair(i: int, chosen: str, rejected: str) -> Comparison:
    prompt = Prompt.of(f"question {i}")
    return Comparison(
        chosen=Response(prompt=prompt, text=chosen), rejected=Response(prompt=prompt, text=rejected)
    )


def test_longer_wins_counts_ties_as_half() -> None:
    rows = Comparisons((pair(0, "abc", "ab"), pair(1, "a", "ab"), pair(2, "ab", "cd")))
    assert longer_wins(rows).tolist() == [1.0, 0.0, 0.5]


def test_a_telling_word_is_found_and_noise_is_not(rng: np.random.Generator) -> None:
    def answer(tail: str) -> str:
        return " ".join([*rng.choice(WORDS, size=8), tail])

    for kind, rude, low, high in (("thanks", "idiot", 0.98, 1.0), ("same", "same", 0.4, 0.6)):
        rows = Comparisons(tuple(pair(i, answer(kind), answer(rude)) for i in range(400)))
        estimate = baseline_accuracy(rows, make_folds(rows.groups, 5, rng), rng)["bag_of_words"]
        assert estimate.value is not None and low <= estimate.value <= high
        assert estimate.n == 400


@pytest.mark.parametrize("num_train", [1, 3])
def test_little_or_wordless_data_is_a_tie_not_a_crash(
    num_train: int, rng: np.random.Generator
) -> None:
    train = Comparisons(tuple(pair(i, f"x{i}", f"y{i}") for i in range(num_train)))
    assert bag_of_words(train, Comparisons((pair(9, "x", "y"),)), rng=rng).tolist() == [0.5]
    shared_word = Comparisons(tuple(pair(i, "good good", "good bad") for i in range(num_train)))
    assert bag_of_words(shared_word, shared_word, rng=rng).shape == (num_train,)


def test_floors_of_real_pairs(shared: Path, rng: np.random.Generator) -> None:
    rows = Comparisons.load(shared / "data/hh_harmless/pairs.jsonl.gz")
    found = baseline_accuracy(rows, make_folds(rows.groups, 5, rng), rng)
    longer, words = found["longer"], found["bag_of_words"]
    assert longer.value is not None and words.value is not None and words.lower is not None
    assert 0.43 < longer.value < 0.47
    assert 0.58 < words.value < 0.65 and words.lower > 0.55
    assert longer.n == words.n == len(rows)
