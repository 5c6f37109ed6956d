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


def share_accepted(p: float, draws: float, rng: np.random.Generator) -> tuple[float, float]:
    accepted, labels = 0, []
    for _ in range(1_000):
        session = Gate(alpha=0.1, max_labels=80, rounds=5).session(1)
        while session.decision is None:
            session.observe(0.5 if rng.random() < draws else float(rng.random() < p))
        accepted += session.decision is Decision.ACCEPT
        labels.append(session.labels)
    return accepted / 1_000, float(np.mean(labels))


@pytest.mark.parametrize(
    ("p", "draws", "power", "labels"),
    [(0.7, 0.0, 0.83, 48), (0.7, 0.2, 0.73, 56), (0.8, 0.0, 0.98, 27), (0.9, 0.0, 1.0, 18)],
)
def test_better_candidates_are_accepted(
    p: float, draws: float, power: float, labels: float, rng: np.random.Generator
) -> None:
    """Bounds are 3 standard errors of 1,000 sessions below what the module's table promises."""
    accepted, used = share_accepted(p, draws, rng)
    assert accepted >= power
    assert used <= labels


def decided(wins: list[float], **options: object) -> GateSession:
    session = Gate(**options).session(1)  # type: ignore[arg-type]
    for win in wins:
        session.observe(win)
    return session


def test_decisions_mirror_each_other() -> None:
    up = decided([1.0] * 12)
    down = decided([0.0] * 12)
    assert (up.decision, down.decision) == (Decision.ACCEPT, Decision.ROLL_BACK)
    a, b = up.record(), down.record()
    assert a["e_value"] == pytest.approx(1.4**12) == b["e_value_worse"]
    assert a["e_value_worse"] == pytest.approx(0.6**12) == b["e_value"]
    assert a["win_rate"]["lower"] == pytest.approx(1 - b["win_rate"]["upper"])


def test_an_accepted_win_rate_lies_above_one_half(rng: np.random.Generator) -> None:
    """What the report shows never contradicts the decision."""
    for p in (0.6, 0.7, 0.9):
        for _ in range(40):
            session = Gate().session(1)
            while session.decision is None:
                session.observe(float(rng.random() < p))
            rate = session.record()["win_rate"]
            assert 0 <= rate["lower"] <= rate["value"] <= rate["upper"] <= 1
            assert (session.decision is not Decision.ACCEPT) or rate["lower"] >= 0.5
            assert (session.decision is not Decision.ROLL_BACK) or rate["upper"] <= 0.5


def test_an_open_session_is_recorded_as_hold() -> None:
    record = Gate().session(1).record()
    assert record["decision"] == "hold"
    assert record["win_rate"] == {"value": None, "lower": None, "upper": None, "n": 0}
    assert record["threshold"] == pytest.approx(50)
    partly = decided([1.0, 0.5, 0.0])
    assert partly.decision is None
    assert partly.record()["labels"] == 3
    assert partly.record()["win_rate"]["value"] == 0.5


def test_alpha_is_spent_once() -> None:
    assert sum(Gate(alpha=0.1, rounds=7).session(t).alpha for t in range(1, 8)) == pytest.approx(
        0.1
    )
    with pytest.raises(InvalidExperiment, match="shared among 5 rounds; got round 6"):
        Gate(rounds=5).session(6)
    with pytest.raises(InputError, match="counted from 1"):
        Gate().session(0)


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"0, 0\.5 or 1; got 0\.7"):
        Gate().session(1).observe(0.7)
    with pytest.raises(InvalidExperiment, match="takes no more labels"):
        decided([1.0] * 13)
    for options in ({"alpha": 0.0}, {"alpha": 1.0}, {"max_labels": 0}, {"rounds": 0}):
        with pytest.raises(InputError):
            Gate(**options)  # type: ignore[arg-type]


def test_the_gate_says_what_wins_at_equal_length():
    session = Gate(max_labels=60, rounds=5).session(1)
    rng = np.random.default_rng(0)
    for i in range(40):
        longer = float(rng.integers(-9, 10))
        session.observe(float(rng.random() < 1 / (1 + np.exp(-longer / 4))), longer=longer)
        if session.decision or i == 39:
            break
    even = session.record(rng=np.random.default_rng(1))["win_rate_at_equal_length"]
    assert even["lower"] < 0.5 < even["upper"] and even["n"] == session.labels
    assert session.record()["win_rate_at_equal_length"]["value"] is None, "not asked for"
