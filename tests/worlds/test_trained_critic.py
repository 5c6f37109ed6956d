"""The shipped critic: the weights are those of the card, and do what the card says."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import train_critic

from trueline.models.trunk import Trunk
from trueline.worlds.sums import trunk_path
from trueline.worlds.sums.critic import critic_path, trained_critic

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
