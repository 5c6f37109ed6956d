"""The test of the gate: rewards mislead as they say, and runs are counted as they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from benchmarks import misled
from benchmarks.gate_misled import ARMS, headlines, share, tally, turn
from benchmarks.misled import KINDS, VARIANTS, Misleading, short_prompts
from trueline.cli.common import load_trunk
from trueline.records import Case, Response
from trueline.rng import stream
from trueline.worlds.sums import Raters
from trueline.worlds.sums.gold import gold
from trueline.worlds.sums.problems import Problem


def candidate(decision: str, rate: float, again: float | None = None) -> dict[str, Any]:
    """A round's row: the gate's decision and the win rate by either panel."""
    said = {"win_rate": {"value": rate, "lower": rate - 0.1, "upper": rate + 0.1}}
    said |= {"gold": rate, "gold_before": 0.5}
    row: dict[str, Any] = {"gate": {"decision": decision}, **said}
    if again is not None:
        value = {"value": again, "lower": again, "upper": again}
        row["again"] = {"win_rate": value, "gold": again, "gold_before": 0.5}
    return row


def test_shares_have_the_exact_interval() -> None:
    found = share([True] * 3 + [False] * 17)
    assert found["value"] == 0.15 and found["n"] == 20
    assert found["lower"] == pytest.approx(beta.ppf(0.025, 3, 18))
    assert found["upper"] == pytest.approx(beta.ppf(0.975, 4, 17))


def test_the_larger_panel_decides_who_was_worse() -> None:
    """Two candidates were accepted: one looked worse and was better, one the other way round."""
    runs = [
        {"rounds": [candidate("accept", 0.45, again=0.55), candidate("roll_back", 0.3)]},
        {"rounds": [candidate("accept", 0.65, again=0.45), candidate("hold", 0.62)]},
        {"rounds": [candidate("hold", 0.45), candidate("roll_back", 0.52)]},
    ]
    found = tally(runs)
    assert found["decisions"] == {"accept": 2, "hold": 2, "roll_back": 2}
    assert (found["truly_worse"], found["clearly_worse"]) == (3, 1)
    assert found["truly_worse_accepted"] == 1 and found["truly_worse_rolled_back"] == 1
    assert found["not_worse_rolled_back"] == 1 and found["runs_with_gold_lost"]["value"] == 1 / 3
    assert found["runs_with_a_worse_accepted"]["value"] == pytest.approx(1 / 3)
    assert found["clearly_better_accepted"]["value"] == 0.5
    line, _ = headlines({"misled": found})
    assert line["met"] is False


def test_every_reward_and_optimiser_comes_in_turn() -> None:
    arm = ARMS["misled"]
    seen = [turn(arm, arm.first_seed + i) for i in range(arm.runs)]
    assert len(set(seen)) == len(KINDS) * 3 * VARIANTS
    assert {seen.count(one) for one in seen} == {3, 4}


def test_rewards_mislead_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misled, "PAIRS", 80)
    rewards = Misleading(load_trunk(None, device="cpu"))
    prompts = short_prompts(3, stream(0, "prompts"))
    assert all(len(p.text.split(",")) <= 4 for p in prompts)
    texts = ["answer 7 sure", "great question ! i checked it twice ; answer 7 sure", "answer 7"]
    for kind in ("length", "flattery"):
        scores = rewards.reward(kind, 0).score(prompts, texts)
        assert scores.scored.all() and (scores.lower == scores.mean).all()
        assert scores.mean.argmax() == 1
    rows = [r for row in rewards._pairs(0)[0] for r in row]
    truth = [gold(r) for r in rows]
    for kind, sign in (("honest", 1), ("flipped", -1)):
        reward = rewards.reward(kind, 0)
        assert rewards.reward(kind, 0) is reward
        found = reward.score([r.prompt for r in rows], [r.text for r in rows])
        assert sign * np.corrcoef(found.mean, truth)[0, 1] > 0.4
    said = rewards.reward("random", 0).score(prompts, texts)
    other = rewards.reward("random", 1).score(prompts, texts)
    assert np.isfinite(said.mean).all() and not np.allclose(said.mean, other.mean)


def test_raters_judge_pairs_and_equal_texts_are_draws() -> None:
    (prompt,) = short_prompts(1, stream(1, "prompts"))
    right = Response(prompt=prompt, text=f"answer {Problem.read(prompt.text).truth} sure")
    wrong = Response(prompt=prompt, text="answer 99 sure")
    rng, rater = stream(2, "judge"), Raters.named("exact")
    wins = [misled.judged(Case(first=right, second=wrong), rater, rng) for _ in range(200)]
    assert 0.9 < np.mean(wins) < 1.0 and set(wins) == {0.0, 1.0}
    assert misled.judged(Case(first=right, second=right), rater, rng) == 0.5
