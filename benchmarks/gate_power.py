"""The gate's two promises: it hardly ever accepts an even policy, and it accepts a better one.

    python -m benchmarks.gate_power            (a minute on one core)

Null: whole runs of five candidates that win exactly half of their comparisons, each accepted as
soon as the gate would; at most alpha of the runs may accept any. Power: the share of candidates of
a given win rate that are accepted within 60, 80 and 100 labels, at alpha 0.02 a round. Beside the
gate's bet stand other bets that are as valid, being predictable and nonnegative: an average of
four, and aGRAPA (Waudby-Smith & Ramdas 2020, arXiv 2010.09686). `trueline/loop/gate.py` shows the
table that is made here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import Cells, Measured, Options, Row, run
from trueline import stats
from trueline.loop.gate import Decision, Gate
from trueline.rng import stream

__all__ = ["Power", "measure"]

Wealth = Callable[[np.ndarray], np.ndarray]
ALPHA = 0.02
LABELS = (60, 80, 100)
# Win rate of the candidate, and the share of comparisons that are draws.
CASES: dict[str, tuple[float, float]] = {
    "50 %": (0.5, 0),
    "60 %": (0.6, 0),
    "70 %": (0.7, 0),
    "70 %, 1/5 draws": (0.7, 0.2),
    "80 %": (0.8, 0),
    "90 %": (0.9, 0),
}


@dataclass(frozen=True, kw_only=True)
class Power(Options):
    """Options of this benchmark."""

    seeds: tuple[int, ...] = (0,)
    streams: int = 6_000
    """Candidates for each win rate."""
    null_runs: int = 2_500
    """Runs of five even candidates."""


def constant_bets(bets: list[float]) -> Wealth:
    """Return the log wealth of the average of constant bets; one bet is the gate's own."""

    def wealth(wins: np.ndarray) -> np.ndarray:
        logs = [np.log1p(bet * (wins - 0.5)).cumsum(1) for bet in bets]
        return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(bets)))

    return wealth


def agrapa(wins: np.ndarray) -> np.ndarray:
    """Return the log wealth of approximate growth-rate adaptive bets, capped at 0.9 / mean."""
    wealth, log = np.zeros_like(wins), np.zeros(len(wins))
    total, squares = np.zeros(len(wins)), np.zeros(len(wins))
    for t, win in enumerate(wins.T):
        mean, variance = (0.5 + total) / (t + 1), (0.25 + squares) / (t + 1)
        gain = mean - 0.5
        log = log + np.log1p(np.clip(gain / (variance + gain**2), 0, 1.8) * (win - 0.5))
        total += win
        squares += (win - mean) ** 2
        wealth[:, t] = log
    return wealth


BETS: dict[str, Wealth] = {
    "this bet": constant_bets([0.8]),
    "average of 4 bets": constant_bets([0.4, 0.8, 1.2, 1.6]),
    "aGRAPA": agrapa,
}


def power(wealth: Wealth, rate: float, draws: float, labels: int, num: int) -> dict[str, float]:
    """Return the share accepted and the mean labels used; every bet sees the same streams."""
    rng = stream(0, "gate power", f"{rate} {draws}", labels)
    wins = np.where(rng.random((num, labels)) < draws, 0.5, rng.random((num, labels)) < rate)
    crossed = wealth(wins) >= math.log(1 / ALPHA) - 1e-9
    used = np.where(crossed.any(1), crossed.argmax(1) + 1, labels)
    return {"accepted": float(crossed.any(1).mean()), "labels_used": float(used.mean())}


def accepts_an_even_policy(gate: Gate, rng: np.random.Generator) -> bool:
    """Run five candidates that win exactly half; say whether the gate accepted any of them."""
    for t in range(1, 6):
        session = gate.session(t)
        while session.decision is None:
            # Every other candidate draws a third of its comparisons.
            session.observe(float(rng.integers(0, 3)) / 2 if t % 2 else float(rng.random() < 0.5))
        if session.decision is Decision.ACCEPT:
            return True
    return False


def measure(options: Power, cells: Cells) -> Measured:
    """Measure the rate of false acceptances and the power of every bet."""
    streams, null_runs = (200, 100) if options.quick else (options.streams, options.null_runs)
    bets: dict[str, Any] = {
        name: {
            case: {n: power(wealth, *chances, n, streams) for n in LABELS}
            for case, chances in CASES.items()
        }
        for name, wealth in BETS.items()
    }
    gate, rng = Gate(alpha=0.1, max_labels=80, rounds=5), stream(0, "gate power", "null runs")
    false = stats.accuracy([accepts_an_even_policy(gate, rng) for _ in range(null_runs)])
    accepted = bets["this bet"]["70 %"][80]["accepted"]
    found = stats.accuracy(np.arange(streams) < round(accepted * streams))
    within = false.upper is not None and false.upper <= gate.alpha
    what = "runs of 5 even candidates in which any was accepted, alpha 0.1"
    rows = [
        Row(what, false, "interval ≤ 0.1", within),
        Row.least("a policy that wins 70 % accepted within 80 labels, alpha 0.02", found, 0.8),
    ]
    return Measured(rows, {"alpha": ALPHA, "streams": streams, "bets": bets})


if __name__ == "__main__":
    run(measure, Power)
