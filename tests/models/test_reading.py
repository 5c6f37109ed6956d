"""The table of readings: columns, rows, joins, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trueline.errors import DataError, InputError, InvalidExperiment
from trueline.models.reading import Readings
from trueline.records import Message, Prompt, Response


def table(keys: str, seed: int = 0, *, surprisals: bool = True) -> Readings:
    rng = np.random.default_rng(seed)
    return Readings(
        keys=tuple(keys),
        latents=rng.normal(size=(len(keys), 2, 2, 3)).astype(np.float32),
        layers=(1, 4),
        surprisals=rng.random((len(keys), 5)).astype(np.float32) if surprisals else None,
    )


def test_features_are_latents_and_surprisals():
    r = table("abc")
    for pooling, at in (("last", [0]), ("mean", [1]), ("both", [0, 1])):
        got = r.features(4, pooling)
        blocks = [r.latents[:, 1, p] for p in at] + [r.surprisals]
        np.testing.assert_array_equal(got, np.concatenate(blocks, 1))
        assert got.dtype == np.float32
    assert table("abc", surprisals=False).features(1, "last").shape == (3, 3)


@pytest.mark.parametrize(("layer", "pooling"), [(0, "last"), (-1, "last"), (1, "eval"), (1, "x")])
def test_what_was_not_read_is_refused(layer, pooling):
    with pytest.raises(InputError, match="choose from"):
        table("ab").features(layer, pooling)


def test_joining_keeps_the_first_of_each_key():
    a, b = table("abc"), table("cbd", seed=1)
    joined = Readings.concat([a, b])
    assert joined.keys == ("a", "b", "c", "d")
    np.testing.assert_array_equal(joined.latents[:3], a.latents)
    np.testing.assert_array_equal(joined.latents[3], b.latents[2])
    np.testing.assert_array_equal(joined.take(joined.rows("db")).logp, joined.logp[[3, 1]])
    with pytest.raises(DataError, match="must have been read"):
        joined.rows(["a", "z"])


def test_joining_refuses_what_does_not_match():
    a = table("a")
    for other in (replace(table("b"), layers=(1, 2)), table("b", surprisals=False)):
        with pytest.raises(InputError, match="same layers"):
            Readings.concat([a, other])
    with pytest.raises(InvalidExperiment, match="one trunk"):
        Readings.concat([a, replace(table("b"), trunk="other")])
    with pytest.raises(DataError, match="at least one"):
        Readings.concat([])


def test_responses_go_where_their_rows_go_and_come_back_from_a_file(tmp_path):
    turns = (Message("system", "be brief"), Message("user", "2 + 2 \ud800"))
    prompt = Prompt(messages=turns, meta={"answer": [4, "4"], "world": object()})
    given = tuple(Response(prompt=prompt, text=t, logp=-1.5, num_tokens=2) for t in "abcd")
    r = replace(table("abcd"), responses=given)
    assert r.take([3, 0]).responses == (given[3], given[0])
    assert [part.responses for part in r.slices(3)] == [given[:3], given[3:]]
    assert Readings.concat([r.take([0, 1]), r.take([1, 2])]).responses == given[:3]
    assert Readings.concat([r, table("e")]).responses is None
    cuts = {"truncated": np.arange(4) == 1, "prompt_cut": np.arange(4) % 2 == 1}
    r = replace(r, **cuts, end_surprisals=np.arange(4, dtype=np.float32))
    r.save(tmp_path / "new")
    read = Readings.load(tmp_path / "new")
    for same in (r.take([3, 1]), read.take([3, 1]), Readings.concat([r.take([3]), r.take([1])])):
        assert same.truncated.tolist() == [False, True] and same.prompt_cut.all()
        assert same.end_surprisals.tolist() == [3, 1]
    again = read.responses
    assert again == given and again[0].prompt.meta == {"answer": [4, "4"]}
    assert again[0].logp == -1.5 and again[0].num_tokens == 2
    table("ab").save(tmp_path / "old")
    assert Readings.load(tmp_path / "old").responses is None
    wrong = {"responses": given, "layers": (1,), "surprisals": np.zeros((2, 4), np.float32)}
    for name, value in wrong.items():
        with pytest.raises(InputError, match=r"a response for each|\[N, L, P, D\]|\[N, 5\]"):
            replace(table("ab"), **{name: value})
