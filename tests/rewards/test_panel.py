"""Rewards on different trunks as one scorer: doubt where they differ, unscored where one cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trueline.errors import InputError
from trueline.models.trunk import Trunk
from trueline.records import Comparison, Prompt, Response, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.calibrated import Calibrated
from trueline.rewards.panel import Panel
from trueline.rewards.protocols import Head
from trueline.rewards.scorer import Reward
from trueline.rng import stream
from trueline.testing import FakeTrunk
from trueline.worlds.sums import trunk_path

WORDS = ("good", "plain")


def reward(head: Head, seed: int, *, planted: dict[str, float] | None = None) -> Reward:
    """Fitted on the same 60 comparisons, whatever the trunk."""
    trunk = FakeTrunk(planted=planted or {"good": 3.0}, seed=seed)
    pairs = []
    for i in range(60):
        ask = Prompt.of(f"? {i}")
        first, second = (Response(prompt=ask, text=f"{word} {i}") for word in WORDS)
        pairs.append(Comparison(chosen=first, rejected=second))
    readings = trunk.read([r for c in pairs for r in (c.chosen, c.rejected)])
    return head.fit(readings, pairs, rng=stream(0, "panel")).on(trunk)


def asked(num: int = 20) -> tuple[list[str], list[str]]:
    return ["?"] * (2 * num), [f"{word} new {i}" for i in range(num) for word in WORDS]


def test_mean_and_doubt_follow_the_law_of_total_variance() -> None:
    members = {name: reward(Bayesian(layer=2), seed) for name, seed in (("a", 0), ("b", 1))}
    a, b = (member.score(*asked()) for member in members.values())
    both = Panel(members=members, k=2.0).score(*asked())
    np.testing.assert_allclose(both.mean, (a.mean + b.mean) / 2)
    apart = np.abs(a.mean - b.mean) / 2
    np.testing.assert_allclose(both.std**2, (a.std**2 + b.std**2) / 2 + apart**2)
    np.testing.assert_allclose(both.lower, both.mean - 2.0 * apart)
    np.testing.assert_array_equal(both.novelty, np.maximum(a.novelty, b.novelty))
    assert (both.mean[::2] > both.mean[1::2]).mean() > 0.9


def test_trunks_that_differ_raise_the_doubt_and_the_caution() -> None:
    """One trunk shows the good word and the other is blind to it: neither doubts that by itself."""
    sees, again = reward(Bayesian(layer=2), 0), reward(Bayesian(layer=2), 1)
    blind = reward(Bayesian(layer=2), 2, planted={"never": 3.0})
    agreed = Panel(members={"a": sees, "b": again}).score(*asked())
    differ = Panel(members={"a": sees, "b": blind}).score(*asked())
    own = np.sqrt((sees.score(*asked()).std ** 2 + blind.score(*asked()).std ** 2) / 2)
    assert differ.std.mean() > 1.2 * own.mean()
    assert (differ.mean - differ.lower).mean() > 1.5 * (agreed.mean - agreed.lower).mean()


def test_intervals_hold_every_members_and_are_none_if_one_has_none() -> None:
    members = {name: reward(Calibrated(), seed) for name, seed in (("a", 0), ("b", 1))}
    each = [member.score(*asked()) for member in members.values()]
    both = Panel(members=members).score(*asked())
    assert both.low is not None and both.high is not None
    for scores in each:
        assert (both.low <= scores.low).all() and (both.high >= scores.high).all()
    mixed = Panel(members={**members, "c": reward(Bayesian(), 2)}).score(*asked())
    assert mixed.low is None and mixed[0].interval is None


def test_what_one_member_leaves_unscored_is_unscored_with_its_name() -> None:
    class Shy:
        def score(self, prompts: list[str], responses: list[str]) -> Scores:
            scores = inner.score(prompts, responses)
            known = np.arange(len(responses)) != 1
            return replace(scores, scored=known, reasons={1: "too unlike"})

    inner = reward(Bayesian(layer=2), 0)
    found = Panel(members={"bold": inner, "shy": Shy()}).score(*asked(2))
    assert found.scored.tolist() == [True, False, True, True]
    assert found[1].reason == "shy: too unlike" and found[1].mean is None


def test_a_panel_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="two members"):
        Panel(members={"a": reward(Bayesian(layer=2), 0)})


def test_two_real_trunks_score_one_text(shared: Path) -> None:
    """The model of sums and a teller of stories, taught that a flatterer is worse."""
    asks = [Prompt.of(f"start {i} , + 5") for i in range(1, 25)]
    rows = []
    for i, ask in enumerate(asks, start=1):
        plain = f"{i} + 5 = {i + 5} ; answer {i + 5}"
        good, bad = (Response(prompt=ask, text=t) for t in (plain, f"great question ! {plain}"))
        rows.append(Comparison(chosen=good, rejected=bad))
    members = {}
    for name, place in (("sums", trunk_path()), ("stories", shared / "data" / "stories260K")):
        trunk = Trunk.load(place)
        readings = trunk.read([r for row in rows for r in (row.chosen, row.rejected)])
        fitted = Bayesian(layer=1).fit(readings, rows, rng=stream(0, "panel"))
        members[name] = fitted.on(trunk)
    new = ["40 + 5 = 45 ; answer 45", "great question ! 40 + 5 = 45 ; answer 45"]
    each = [member.score(["start 40 , + 5"] * 2, new) for member in members.values()]
    both = Panel(members=members).score(["start 40 , + 5"] * 2, new)
    assert both.scored.all() and both.mean[0] > both.mean[1]
    between = np.abs(each[0].mean - each[1].mean) / 2
    assert (both.std >= between).all() and (between > 0).all()
