"""One dictionary a folder: what is no kind is refused, and entry points add to it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

import pytest

from trueline.errors import SetupError
from trueline.registry import register
from trueline.rewards.bayesian import Bayesian


class Plain:
    def fit(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Idle:
    x: int = 1


THAWED = dataclass(kw_only=True)(type("Thawed", (Plain,), {}))
POSITIONAL = dataclass(frozen=True)(type("Positional", (Plain,), {"__annotations__": {"x": int}}))


@pytest.mark.parametrize("kind", [Plain, THAWED, POSITIONAL, Idle, 3])
def test_a_kind_is_a_frozen_keyword_only_dataclass_with_the_verb(kind):
    with pytest.raises(SetupError, match="frozen, keyword-only dataclass that can fit"):
        register("shelf", "fit", kind=kind)


def test_entry_points_add_kinds_and_may_not_shadow(monkeypatch):
    place = "trueline.rewards.bayesian:Bayesian"
    points = [importlib.metadata.EntryPoint("mine", place, "trueline.shelf")]
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: points if group == "trueline.shelf" else [],
    )
    assert register("shelf", "fit", own=Bayesian) == {"own": Bayesian, "mine": Bayesian}
    with pytest.raises(SetupError, match="must be unique; got a second 'mine'"):
        register("shelf", "fit", mine=Bayesian)
    points[0] = importlib.metadata.EntryPoint("mine", "trueline.rng:stream", "trueline.shelf")
    with pytest.raises(SetupError, match="can fit"):
        register("shelf", "fit", own=Bayesian)
