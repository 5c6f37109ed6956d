"""The shipped critic: the weights are those of the card, and do what the card says."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import train_critic

from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.protocols import Helper
from trueline.records import Prompt, Response
from trueline.worlds.sums import trunk_path
from trueline.worlds.sums.critic import critic_path, model_critic, trained_critic

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk.load(trunk_path())


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return dict(json.loads((critic_path() / "card.json").read_text()))


def test_the_weights_are_those_of_the_card(card: dict[str, Any], trunk: Trunk) -> None:
    weights = (critic_path() / WEIGHTS).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card["sha256"]
    assert trunk.fingerprint() == card["trunk"]
    assert len(weights) < 500_000
    assert card["cpu_s"] < 25 * 60


def test_a_few_numbers_of_the_card_measured_again(
    card: dict[str, Any], trunk: Trunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_critic, "SEED", 71)
    again = train_critic.found_and_invented(trained_critic(trunk), 15, ("3 steps", "9 steps"))
    for name, row in again.items():
        for measure, one in row.items():
            other = card["reviews"]["after"][name][measure]
            # Intervals of two honest measurements of one thing overlap, bar one in hundreds.
            assert one["lower"] <= other["upper"] and other["lower"] <= one["upper"], (
                name,
                measure,
            )
    trunk.verify_frozen()


def test_it_is_a_helper_that_reviews_the_same_or_anew(trunk: Trunk) -> None:
    prompt = Prompt.of("start 7 , + 5 , * 3")
    answers = [
        Response(prompt=prompt, text=f"7 + 5 = {n} ; {n} * 3 = {3 * n} ; answer {3 * n} sure")
        for n in (12, 13)
    ]
    critic = trained_critic(trunk)
    assert isinstance(critic, Helper)
    sound, spoiled = critic.critique(answers, rng=np.random.default_rng(0))
    assert sound.flaws == () and [flaw.step for flaw in spoiled.flaws or ()] == [0]
    policy = LoraPolicy.load(trunk, critic_path())
    one, same = (
        model_critic(policy, rng=np.random.default_rng(5)).critique(answers) for _ in range(2)
    )
    assert [c.text for c in one] == [c.text for c in same]
