"""A first sample of comparisons says which layers are read for the rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.loop.conftest import QUICK, run
from tests.rewards.material import questions
from trueline.data.comparisons import Comparisons, make_folds
from trueline.loop import layers
from trueline.loop.layers import FIRST, choose_layers, held_out, read_for
from trueline.loop.resume import State
from trueline.models.reading import Readings
from trueline.records import Comparison, Prompt, Response
from trueline.rewards import REWARDS
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.evaluate import cross_validate
from trueline.rng import stream
from trueline.runs import RunFolder
from trueline.testing import FakeTrunk


class Deep(FakeTrunk):
    """Twelve layers, of which the eighth knows; counts what it reads at how many layers."""

    layers, layer = tuple(range(12)), 7

    def read(self, responses: Any, **how: Any) -> Readings:
        readings = super().read(responses, **how)
        self.__dict__.setdefault("asked", []).append((readings.keys, len(readings.layers)))
        return readings


HEADS: dict[str, tuple[Any, set[int]]] = {
    "evidence": (Bayesian(), {7}),
    "named": (Bayesian(layer=3), {3}),
    "concept": (REWARDS["concept"](), {7}),
    "two named and a rule": (
        REWARDS["weighted_sum"](
            parts={
                **{f"{i}": Bayesian(layer=i) for i in (1, 2, 4, 6)},
                "rule": REWARDS["max_words"](n=3),
            },
            weights=dict.fromkeys("1246", 1.0) | {"rule": 1.0},
        ),
        {1, 2, 4, 6},
    ),
    "rule": (REWARDS["max_words"](n=3), set()),
}


@pytest.mark.parametrize("name", HEADS)
def test_only_the_layers_that_a_head_needs_are_read_for_the_rest(name: str) -> None:
    (head, needed), trunk = HEADS[name], Deep(planted={"good": 2.0})
    pairs = questions(3 * FIRST)
    readings, seen = read_for(head, trunk, pairs, rng=stream(0, "layers"))
    assert needed <= set(readings.layers) and len(readings.layers) <= max(3, len(needed))
    assert len(seen) == FIRST and set(readings.keys) == {r.key for r in pairs.responses}
    times = Counter(key for keys, _ in trunk.asked for key in keys)
    assert set(times.values()) == {1}
    assert [num for _, num in trunk.asked] == [12, len(readings.layers)]
    whole = trunk.read(pairs).at(readings.layers)
    np.testing.assert_array_equal(whole.take(whole.rows(readings.keys)).latents, readings.latents)
    reward = head.fit(readings, pairs, rng=stream(0, "fit"))
    assert set(reward.layers) <= set(readings.layers)
    trunk.asked.clear()
    reward.on(trunk).score(["?"], ["good 1"])
    assert all(num == len(reward.layers) for _, num in trunk.asked)


def test_what_layers_were_chosen_on_is_never_tested() -> None:
    """Coin tosses: on many layers of noise the chosen one must not look better than a coin."""
    rng, rows = np.random.default_rng(0), []
    for i in range(900):
        # Three comparisons a prompt: they go together.
        a, b = (Response(prompt=Prompt.of(f"{i // 3}"), text=f"{i} {side}") for side in "ab")
        rows.append(
            Comparison(chosen=a, rejected=b)
            if rng.random() < 0.5
            else Comparison(chosen=b, rejected=a)
        )
    pairs, trunk = Comparisons(tuple(rows)), Deep(width=4)
    readings, seen = read_for(Bayesian(), trunk, pairs, rng=stream(0, "layers"))
    folds = held_out(make_folds(pairs.groups, 5, stream(0, "folds")), seen)
    tested = np.concatenate([test for _, test in folds])
    assert not set(tested) & set(seen) and len(tested) + len(seen) == 900
    assert len({pairs.groups[i] for i in seen}) == len(seen) / 3
    assert all(len(train) + len(test) == 900 for train, test in folds)
    found = cross_validate(Bayesian(), readings, pairs, folds=folds, rng=stream(0, "validate"))
    assert found.accuracy.lower is not None and found.accuracy.lower < 0.5


def test_a_small_trunk_or_a_few_comparisons_keep_every_layer() -> None:
    for trunk, num in ((FakeTrunk(), 2 * FIRST), (Deep(), 2 * FIRST - 1)):
        pairs = questions(num)
        readings, seen = read_for(Bayesian(), trunk, pairs, rng=stream(0, "layers"))
        assert readings.layers == trunk.layers and not len(seen)
    few = questions(FIRST - 1)
    assert choose_layers(Bayesian(), Deep().read(few), few, rng=stream(0, "")) == Deep.layers


def test_a_run_keeps_fewer_layers_once_it_can_choose_and_is_gone_on_with(
    sums_task: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "FEW", 2)
    monkeypatch.setattr(layers, "FIRST", 16)  # more than the 12 labels of one round
    run(QUICK, sums_task, tmp_path / "run")
    folder = RunFolder.view(tmp_path / "run")
    kept = [
        Readings.load(folder.path(f"round-{t}") / "readings.safetensors").layers for t in (1, 2)
    ]
    assert kept[0] == sums_task.trunk.layers and len(kept[1]) <= 3
    state = State.load(folder, sums_task.trunk)
    assert state.readings is not None and state.readings.layers == kept[1]
    assert state.reward is not None and set(state.reward.layers) <= set(kept[1])
