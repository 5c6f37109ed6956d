"""Around the heads: cross-validation, storage, the scorer, the self-check."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rewards.material import planted, questions
from trueline.data.comparisons import make_folds
from trueline.errors import InputError, InvalidExperiment, SetupError
from trueline.models.reading import Readings
from trueline.records import Prompt, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.evaluate import cross_validate
from trueline.rewards.protocols import load_reward
from trueline.rewards.selfcheck import selfcheck
from trueline.rewards.storage import FORMAT, stored
from trueline.rng import stream
from trueline.testing import FakeTrunk

RNG = stream(0, "test")


def test_cross_validation_finds_a_signal_and_none_where_there_is_none() -> None:
    pairs, trunk = questions(150), FakeTrunk(planted={"good": 2.0})
    readings = trunk.read(pairs)
    folds = make_folds(pairs.groups, 5, RNG)
    found = cross_validate(Bayesian(), readings, pairs, folds=folds, rng=RNG)
    assert found.accuracy.lower is not None and found.accuracy.lower > 0.8
    assert len(found.folds) == 5 and all(f["layer"] == 2 for f in found.folds)
    blind = cross_validate(Bayesian(), FakeTrunk().read(pairs), pairs, folds=folds, rng=RNG)
    assert blind.accuracy.lower is not None and blind.accuracy.lower < 0.5
    leaking = [(np.arange(150), np.arange(5))]
    with pytest.raises(InvalidExperiment, match="no prompt may stand"):
        cross_validate(Bayesian(), readings, pairs, folds=leaking, rng=RNG)


def test_cross_validation_chooses_inside_the_training_folds() -> None:
    """Test rows made absurd change neither what is chosen nor the scores of other rows."""
    pairs, trunk = questions(60), FakeTrunk(planted={"good": 1.0})
    readings = trunk.read(pairs)
    folds = make_folds(pairs.groups, 3, stream(0, "folds"))
    before = cross_validate(Bayesian(), readings, pairs, folds=folds[:1], rng=RNG)
    touched = readings.rows([pairs.chosen_keys[i] for i in folds[0][1]])
    readings.latents[touched] += 100.0
    after = cross_validate(Bayesian(), readings, pairs, folds=folds[:1], rng=RNG)
    for name in ("layers", "precision", "evidence"):
        assert before.folds[0][name] == after.folds[0][name]


class Breaking(FakeTrunk):
    """A trunk that cannot read what is called broken."""

    def read(self, responses: Any, **kwargs: Any) -> Readings:
        readings = super().read(responses, **kwargs)
        broken = [
            key for key, r in zip(readings.keys, responses, strict=False) if "broken" in r.text
        ]
        readings.latents[readings.rows(broken)] = np.nan
        return readings


def test_the_scorer_answers_in_order_with_repeats_and_unread_rows_in_their_place() -> None:
    pairs, trunk = questions(40), Breaking(planted={"good": 2.0})
    reward = Bayesian().fit(trunk.read(pairs.responses), pairs, rng=RNG).on(trunk)
    asked = ["x", "x", Prompt.of("x"), "x", "y"]
    scores = reward.score(asked, ["good a", "broken", "bad b", "good a", "bad c"])
    assert scores.scored.tolist() == [True, False, True, True, True]
    assert scores[1].reason is not None and scores[1].mean is None
    assert scores.mean[0] == scores.mean[3] > max(scores.mean[2], scores.mean[4])
    with pytest.raises(InputError, match="every row must be scored"):
        scores.column("lower")
    assert len(reward.score([], [])) == 0
    with pytest.raises(InputError, match="as many prompts as responses"):
        reward.score(["x"], ["a", "b"])


def test_another_class_of_the_same_name_is_refused() -> None:
    with pytest.raises(InputError, match="a name of its own"):
        stored(type("Dense", (), {"__module__": "somebody.else"}))


def test_what_is_no_reward_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    world = planted(30)
    reward = Bayesian().fit(world.readings, world.comparisons, rng=RNG)
    with pytest.raises(SetupError, match=r"card\.json"):
        load_reward(tmp_path / "nothing")
    place = tmp_path / "reward"
    reward.save(place)
    words = json.loads((place / "card.json").read_text())
    (place / "card.json").write_text(json.dumps({**words, "format": 99}))
    with pytest.raises(SetupError, match=f"format {FORMAT}; got 99"):
        load_reward(place)
    reward.save(place)
    (place / "reward.safetensors").write_bytes(b"short")
    with pytest.raises(SetupError, match="whole"):
        load_reward(place)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(SetupError, match="something else"):
        reward.save(mine)
    assert (mine / "thesis.txt").read_text() == "years of work"


class Faulty(FakeTrunk):
    """Each of the shipped faults in turn."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def read(self, responses: Sequence[Response], **kwargs: Any) -> Readings:  # type: ignore[override]
        readings = super().read(responses, **kwargs)
        latents = readings.latents.copy()
        if self.fault == "batch":
            latents *= 1.0 + 0.01 * len(readings)
        if self.fault == "order":
            latents += 0.01 * np.arange(len(readings))[:, None, None, None]
        if self.fault == "constant":
            latents[:] = 0.50003
        return dataclasses.replace(readings, latents=latents)

    def verify_frozen(self) -> str:
        return "changed" if self.fault == "frozen" else super().verify_frozen()


@pytest.mark.parametrize("fault", ["batch", "order", "constant", "frozen"])
def test_the_self_check_catches_each_fault(fault: str) -> None:
    with pytest.raises(InvalidExperiment, match=fault):
        selfcheck(Faulty(fault), questions(6).responses)


def test_a_real_checkpoint_passes_the_self_check(shared: Path) -> None:
    from trueline.models.trunk import Trunk

    trunk = Trunk.load(shared / "data" / "stories260K")
    ask = Prompt.of("Once upon a time")
    texts = [" there was a cat.", " a dog ran far away to see the big sea.", " no", " Tom ate."]
    before = trunk.codec.tokenizer.padding_side, trunk.codec.tokenizer.pad_token
    checks = selfcheck(trunk, [Response(prompt=ask, text=text) for text in texts])
    assert list(checks) == ["batch", "order", "padding", "constant", "frozen"]
    assert before == (trunk.codec.tokenizer.padding_side, trunk.codec.tokenizer.pad_token)
