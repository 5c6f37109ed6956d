"""The gate keeps its promise on thousands of null runs, and lets through what is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from trueline.errors import DataError, InputError, InvalidExperiment
from trueline.loop.gate import Decision, Gate, GateSession

NUM_RUNS = 2_500
ACCEPT, ROLL_BACK = Decision.ACCEPT, Decision.ROLL_BACK
Stream = Callable[[np.random.Generator, GateSession], Iterator[float]]


def coin(rng: np.random.Generator, session: GateSession) -> Iterator[float]:
    """Wins with probability exactly 1/2."""
    yield from map(float, rng.random(200) < 0.5)


def drifting(rng: np.random.Generator, session: GateSession) -> Iterator[float]:
    """A win rate that wanders below 1/2 and touches it."""
    rates = 0.5 - 0.2 * np.abs(np.sin(np.arange(200) / rng.uniform(5, 40)))
    yield from map(float, rng.random(200) < rates)


def scheming(rng: np.random.Generator, session: GateSession) -> Iterator[float]:
    """Knows the test: plays safe draws or honest coins by how it stands, and gives up (ends the
    round for a new candidate) when it looks bad. Its win rate given the past is never above 1/2."""
    for u in rng.random(200):
        e = session.e_now()
        if e < 0.2:
            return
        yield 0.5 if e > 20 and u < 0.3 else float(rng.random() < 0.5)


class Watched(GateSession):
    """A session that shows its e-value at no cost, for the schemer."""

    def e_now(self) -> float:
        return math.exp(self._better.log_e)


def run(gate: Gate, stream: Stream, rounds: int, rng: np.random.Generator) -> list[Decision]:
    """The decisions of a whole run; a round that its candidate leaves early is held."""
    decisions = []
    for t in range(1, rounds + 1):
        session = Watched(alpha=gate.session(t).alpha, max_labels=gate.max_labels)
        wins = stream(rng, session)
        while session.decision is None and (win := next(wins, None)) is not None:
            session.observe(win)
        decisions.append(session.decision or Decision.HOLD)
    return decisions


@pytest.mark.parametrize("stream", [coin, drifting, scheming])
def test_null_runs_are_rarely_accepted(stream: Stream, rng: np.random.Generator) -> None:
    """Of 2,500 whole runs whose candidates are never better, at most alpha accept any of them,
    although each is accepted at the first moment it could be."""
    gate = Gate(alpha=0.1, max_labels=80, rounds=5)
    runs = [run(gate, stream, 5, rng) for _ in range(NUM_RUNS)]
    wrong, worse = (np.mean([d in each for each in runs]) for d in (ACCEPT, ROLL_BACK))
    assert wrong <= gate.alpha
    if stream is coin:
        assert worse <= gate.alpha, "nor are even ones often dropped"
        assert wrong > 0.03, "and not by never accepting at all"


@pytest.mark.parametrize(
    ("p", "draws", "power", "labels"),
    [(0.7, 0.0, 0.83, 48), (0.7, 0.2, 0.73, 56), (0.8, 0.0, 0.98, 27), (0.9, 0.0, 1.0, 18)],
)
def test_better_candidates_are_accepted(
    p: float, draws: float, power: float, labels: float, rng: np.random.Generator
) -> None:
    """Bounds are 3 standard errors of 1,000 sessions below what the module's table promises."""
    sessions = [Gate(alpha=0.1, max_labels=80, rounds=5).session(1) for _ in range(1_000)]
    for session in sessions:
        while session.decision is None:
            session.observe(0.5 if rng.random() < draws else float(rng.random() < p))
    assert np.mean([session.decision is ACCEPT for session in sessions]) >= power
    assert np.mean([session.labels for session in sessions]) <= labels


def decided(wins: list[float], **options: object) -> GateSession:
    session = Gate(**options).session(1)  # type: ignore[arg-type]
    for win in wins:
        session.observe(win)
    return session


def test_decisions_mirror_each_other_and_an_open_session_is_a_hold(
    rng: np.random.Generator,
) -> None:
    up, down, partly = decided([1.0] * 12), decided([0.0] * 12), decided([1.0, 0.5, 0.0])
    assert (up.decision, down.decision, partly.decision) == (ACCEPT, ROLL_BACK, None)
    a, b, open_ = (session.record(rng) for session in (up, down, partly))
    assert a["e_value"] == pytest.approx(1.4**12) == b["e_value_worse"]
    assert a["e_value_worse"] == pytest.approx(0.6**12) == b["e_value"]
    assert a["win_rate"]["lower"] == pytest.approx(1 - b["win_rate"]["upper"])
    assert (open_["decision"], open_["labels"], open_["win_rate"]["value"]) == ("hold", 3, 0.5)
    assert open_["threshold"] == pytest.approx(50)
    assert decided([]).record(rng)["win_rate"]["value"] is None
    # Prompts were too few only where it is open and had fewer than it may ask for.
    assert "5 of 9 prompts" in str(partly.cut_short(5, 9)) and up.cut_short(5, 9) is None
    assert partly.cut_short(partly.max_labels, 240) is None


@pytest.mark.parametrize("rounds", [1, 2, 5, 10])
def test_what_is_shown_never_contradicts_the_decision(
    rounds: int, rng: np.random.Generator
) -> None:
    for p in (0.6, 0.7, 0.9) * 30:
        session = Gate(rounds=rounds).session(1)
        while session.decision is None:
            session.observe(float(rng.random() < p))
        rate = session.record(rng)["win_rate"]
        assert 0 <= rate["lower"] <= rate["value"] <= rate["upper"] <= 1
        # Rounding of ends outwards aside, they say the same.
        assert (session.decision is ACCEPT) == (rate["lower"] >= 0.5)
        assert (session.decision is ROLL_BACK) == (rate["upper"] <= 0.5)


def test_alpha_is_spent_once_and_nonsense_is_refused() -> None:
    alphas = [Gate(alpha=0.1, rounds=7).session(t).alpha for t in range(1, 8)]
    assert sum(alphas) == pytest.approx(0.1)
    for round in (0, 6):
        with pytest.raises(InvalidExperiment, match=f"shared among 5 rounds; got round {round}"):
            Gate(rounds=5).session(round)
    with pytest.raises(DataError, match=r"0, 0\.5 or 1; got 0\.7"):
        Gate().session(1).observe(0.7)
    with pytest.raises(InvalidExperiment, match="takes no more labels"):
        decided([1.0] * 13)
    for options in ({"alpha": 0.0}, {"alpha": 1.0}, {"max_labels": 0}, {"rounds": 0}):
        with pytest.raises(InputError):
            Gate(**options)  # type: ignore[arg-type]


def test_the_gate_says_what_wins_at_equal_length(rng: np.random.Generator) -> None:
    session = Gate(max_labels=40).session(1)
    while session.decision is None:
        longer = float(rng.integers(-9, 10))
        session.observe(float(rng.random() < 1 / (1 + np.exp(-longer / 4))), longer=longer)
    even = session.record(rng)["win_rate_at_equal_length"]
    assert even["lower"] < 0.5 < even["upper"] and even["n"] == session.labels
    unknown = Gate(max_labels=40).session(1)
    unknown.observe(1.0)
    unknown.observe(0.0, longer=3.0)
    assert unknown.record(rng)["win_rate_at_equal_length"]["value"] is None
