"""Comparisons: splits go by dialogue, content has one name; floors find what words say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.data import Comparisons, make_folds
from trueline.data.baselines import bag_of_words, baseline_accuracy, longer_wins
from trueline.data.comparisons import group_of
from trueline.errors import InputError
from trueline.records import Comparison, Message, Prompt, Response


def pair(prompt: Prompt, chosen: str = "a", rejected: str = "b") -> Comparison:
    return Comparison(
        chosen=Response(prompt=prompt, text=chosen), rejected=Response(prompt=prompt, text=rejected)
    )


def many(num_rows: int, num_prompts: int) -> Comparisons:
    return Comparisons(
        tuple(pair(Prompt.of(f"q{i % num_prompts}"), f"a{i}", f"b{i}") for i in range(num_rows))
    )


groups_strategy = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60).filter(
    lambda groups: len(set(groups)) >= 2
)


@given(groups_strategy, st.integers(2, 5), st.integers(0, 9))
def test_folds_test_each_row_once_and_part_no_group(groups: list[str], k: int, seed: int) -> None:
    k = min(k, len(set(groups)))
    folds = make_folds(groups, k, np.random.default_rng(seed))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(groups)))
    for train, test in folds:
        assert len(test) and sorted([*train, *test]) == list(range(len(groups)))
        assert not {groups[i] for i in train} & {groups[i] for i in test}


def test_folds_are_even_seeded_and_refused_beyond_the_groups() -> None:
    groups = [f"g{i % 97}" for i in range(500)]
    folds = make_folds(groups, 5, np.random.default_rng(0))
    assert max(abs(len(test) - 100) for _, test in folds) <= 3
    for seed in (0, 1):
        again = make_folds(groups, 5, np.random.default_rng(seed))
        same = [np.array_equal(a[1], b[1]) for a, b in zip(folds, again, strict=True)]
        assert all(same) == (seed == 0)
    for k in (1, 98):
        with pytest.raises(InputError, match="folds"):
            make_folds(groups, k, np.random.default_rng(0))


@pytest.mark.parametrize("frac", [0.01, 0.5, 0.99])
def test_split_parts_no_group_and_needs_two(frac: float, rng: np.random.Generator) -> None:
    rows = many(200, 40)
    first, rest = rows.split(frac, rng)
    assert not set(first.groups) & set(rest.groups)
    assert len(first) + len(rest) == 200 and len(first) and len(rest)
    assert abs(len(first) - 200 * frac) <= 5
    assert {*first.rows, *rest.rows} == set(rows.rows)
    for few, part in ((many(5, 1), frac), (rows, 1.0)):
        with pytest.raises(InputError):
            few.split(part, rng)


def test_branches_of_one_dialogue_are_one_group() -> None:
    start = Prompt.of("hello")
    later = Prompt(messages=(*start.messages, Message("assistant", "hi"), Message("user", "and?")))
    framed = Prompt.of("hello ", system="be kind")
    assert group_of(start) == group_of(later) == group_of(framed) != group_of(Prompt.of("bye"))


def test_keys_and_sha256_know_content_and_order() -> None:
    rows = many(3, 3)
    doubled = Comparisons(rows.rows + rows.rows)
    assert [r.key for r in doubled.responses] == [r.key for r in rows.responses]
    assert {r.key for r in rows.responses} == {*rows.chosen_keys, *rows.rejected_keys}
    turned = Comparisons((rows[1], rows[0], rows[2]))
    other = Comparisons((*rows.rows[:2], pair(rows[2].prompt, "b2", "a2")))
    assert len({rows.sha256, turned.sha256, other.sha256}) == 3


WORDS = [f"word{i}" for i in range(40)]


def ask(i: int, chosen: str, rejected: str) -> Comparison:
    return pair(Prompt.of(f"question {i}"), chosen, rejected)


def test_longer_wins_counts_ties_as_half() -> None:
    rows = Comparisons((ask(0, "abc", "ab"), ask(1, "a", "ab"), ask(2, "ab", "cd")))
    assert longer_wins(rows).tolist() == [1.0, 0.0, 0.5]


def test_a_telling_word_is_found_and_noise_is_not(rng: np.random.Generator) -> None:
    def answer(tail: str) -> str:
        return " ".join([*rng.choice(WORDS, size=8), tail])

    for kind, rude, low, high in (("thanks", "idiot", 0.98, 1.0), ("same", "same", 0.4, 0.6)):
        rows = Comparisons(tuple(ask(i, answer(kind), answer(rude)) for i in range(400)))
        estimate = baseline_accuracy(rows, make_folds(rows.groups, 5, rng), rng)["bag_of_words"]
        assert estimate.value is not None and low <= estimate.value <= high
        assert estimate.n == 400


@pytest.mark.parametrize("num_train", [1, 3])
def test_little_or_wordless_data_is_a_tie_not_a_crash(
    num_train: int, rng: np.random.Generator
) -> None:
    train = Comparisons(tuple(ask(i, f"x{i}", f"y{i}") for i in range(num_train)))
    assert bag_of_words(train, Comparisons((ask(9, "x", "y"),)), rng=rng).tolist() == [0.5]
    shared_word = Comparisons(tuple(ask(i, "good good", "good bad") for i in range(num_train)))
    assert bag_of_words(shared_word, shared_word, rng=rng).shape == (num_train,)


def test_floors_of_real_pairs(shared: Path, rng: np.random.Generator) -> None:
    rows = Comparisons.load(shared / "data/hh_harmless/pairs.jsonl.gz")
    found = baseline_accuracy(rows, make_folds(rows.groups, 5, rng), rng)
    longer, words = found["longer"], found["bag_of_words"]
    assert longer.value is not None and words.value is not None and words.lower is not None
    assert 0.43 < longer.value < 0.47
    assert 0.58 < words.value < 0.65 and words.lower > 0.55
    assert longer.n == words.n == len(rows)
