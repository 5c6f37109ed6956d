"""Comparisons: splits go by dialogue, files round-trip, content has one name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.data import Comparisons, make_folds
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
