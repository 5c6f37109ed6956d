"""Streams depend on their names alone, and differ wherever their names do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.errors import InputError
from trueline.rng import rng, stream

names = st.lists(st.one_of(st.text(max_size=8), st.integers(-5, 10**6)), max_size=4)


@given(st.integers(-(2**70), 2**70), names)
def test_same_names_same_stream(seed: int, path: list[str | int]) -> None:
    assert (stream(seed, *path).random(8) == stream(seed, *path).random(8)).all()


@given(names, names)
def test_other_names_other_stream(a: list[str | int], b: list[str | int]) -> None:
    if a != b or [type(x) for x in a] != [type(x) for x in b]:
        assert not (stream(0, *a).random(4) == stream(0, *b).random(4)).any()


def test_names_do_not_run_together() -> None:
    for a, b in ((("ab", "c"), ("a", "bc")), (("1",), (1,)), ((), ("",)), ((1, 2), (12,))):
        assert stream(3, *a).random() != stream(3, *b).random()


def test_streams_are_uncorrelated() -> None:
    draws = np.stack([stream(0, "round", i).standard_normal(2_000) for i in range(60)])
    off = np.corrcoef(draws)[np.triu_indices(60, 1)]
    # Correlations of independent normals have sd 1/sqrt(2000); 1,770 of them stay below 4.5 sd.
    assert np.abs(off).max() < 4.5 / np.sqrt(2_000)


def test_a_stream_is_the_same_for_ever() -> None:
    """Committed seeds must replay on every version: the numbers themselves are pinned."""
    assert stream(7, "raters", 3).integers(0, 10**6, 3).tolist() == PINNED
    assert rng(7).random() == stream(7).random()
    assert stream(np.int64(7), "raters", np.int64(3)).integers(0, 10**6) == PINNED[0]  # type: ignore[arg-type]


PINNED = [325544, 520631, 248202]


@pytest.mark.parametrize("names", [(1.0,), ("1",), (None,), (True,), (0, 1.5), (0, True)])
def test_seeds_and_names_are_whole_numbers_or_words(names: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match="must be"):
        stream(*names)  # type: ignore[arg-type]
