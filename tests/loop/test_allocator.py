"""Help is bought where controls have shown it to be worth its time, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.loop.allocator import UNKNOWN, Allocator, stratum
from trueline.loop.budget import expected_information
from trueline.oversight.planted_flaws import Controls
from trueline.records import Cost, Critique, Flaw, Prompt, Response

PROMPT = Prompt.of("?")
A, B = (Response(prompt=PROMPT, text=text) for text in "ab")


def tried(alone: tuple[int, int, float], helped: tuple[int, int, float]) -> Allocator:
    """Right, asked and seconds a judgement, in each mode."""
    tried = {
        ("one", mode): Controls(passed=right, num=asked, cost=Cost(judge_s=asked * seconds))
        for mode, (right, asked, seconds) in ((False, alone), (True, helped))
    }
    return Allocator(tried)


def capacity(a: float) -> float:
    """Nats that a judge who is right with probability a can tell of what is even."""
    return float(np.log(2) + a * np.log(a) + (1 - a) * np.log(1 - a))


def test_what_is_unknown_passes_through_a_symmetric_channel():
    for a in (0.6, 0.8, 0.99):
        told = [float(expected_information(*map(np.array, UNKNOWN), p)) for p in (a, 0.999)]
        assert told[0] / told[1] == pytest.approx(capacity(a) / capacity(0.999), rel=1e-6)
    assert float(expected_information(*map(np.array, UNKNOWN), 0.5)) == pytest.approx(0, abs=1e-12)


def test_a_judge_who_is_always_right_is_no_channel():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=50), rng.exponential(size=50)
    assert np.array_equal(
        expected_information(mean, std), expected_information(mean, std, np.ones(50))
    )
    assert (expected_information(mean, std, 0.8) < expected_information(mean, std)).all()


def test_worthless_help_is_not_bought():
    """As good without, and slower: however wide the margin is believed to be."""
    allocator = tried((80, 100, 30.0), (79, 100, 31.0))
    for mean, std in (UNKNOWN, (0.0, 1.0), (2.0, 0.5)):
        assert not allocator.assist("one", mean, std)


def test_help_that_triples_what_a_judge_sees_is_bought():
    """From a sixth above chance to one half: nine times the information for half as much again."""
    allocator = tried((58, 98, 30.0), (98, 98, 45.0))
    for mean, std in (UNKNOWN, (0.0, 1.0), (2.0, 0.5)):
        assert allocator.assist("one", mean, std)


def test_help_is_bought_up_to_its_price():
    """Accuracies (81 + 4)/105 and (60 + 3)/105 on even odds are worth it below a ratio of time."""
    high, low = capacity(85 / 105), capacity(63 / 105)
    for factor, bought in ((0.99, True), (1.01, False)):
        allocator = tried((60, 100, 10.0), (81, 100, 10.0 * factor * high / low))
        assert allocator.assist("one", *UNKNOWN) is bought


def test_before_controls_help_is_bought_where_the_critic_named_something():
    times = tried((1, 2, 30.0), (1, 2, 40.0))
    assert times.assist("both", *UNKNOWN) and not times.assist("neither", *UNKNOWN)
    assert not Allocator().assist("one", *UNKNOWN), "what it takes is not known"


def test_a_mode_that_is_right_no_more_than_by_chance_is_worth_nothing():
    misled = tried((40, 100, 10.0), (5, 100, 10.0))
    assert not misled.assist("one", *UNKNOWN), "always wrong tells much, but is taken at its word"
    assert tried((5, 100, 10.0), (60, 100, 20.0)).assist("one", *UNKNOWN)


def test_controls_add_up_and_come_back_from_the_record():
    allocator = Allocator()
    for passed in (True, False, False):
        allocator = allocator.after("both", assisted=True, passed=passed, judge_s=20.0)
    allocator = allocator.after("one", assisted=False, passed=True, judge_s=10.0)
    assert allocator.tried["both", True] == Controls(passed=1, num=3, cost=Cost(judge_s=60.0))
    assert allocator.accuracy("both", True) == pytest.approx(5 / 8)
    assert (allocator.seconds(True), allocator.seconds(False)) == (20.0, 10.0)
    assert Allocator.of(allocator.record()) == allocator


def test_a_stratum_is_what_the_critic_said():
    def said(response: Response, flaws: tuple[Flaw, ...] | None) -> Critique:
        return Critique(response=response, text="", flaws=flaws, helper="h")

    flaw = (Flaw(kind="wrong_step", step=1),)
    assert stratum([said(A, flaw), said(B, ())]) == "one"
    assert stratum([said(A, flaw), said(B, flaw)]) == "both"
    assert stratum([said(A, None), said(B, ())]) == stratum([]) == "neither"
