"""How often the gate accepts a better policy within its labels, by bet, and an even one at all.

    python -m benchmarks.gate_power            (half a minute on one core)

Every bet is a predictable, nonnegative stake on "the new policy wins", so that each is valid; they
differ in power only. The table in `trueline/loop/gate.py` is printed from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy.stats import binom

from benchmarks.common import ROOT, headline, write_result
from trueline import stats
from trueline.loop.gate import Decision, Gate
from trueline.rng import stream

__all__ = ["main"]

Wealth = Callable[[np.ndarray], np.ndarray]
ALPHA = 0.02
THRESHOLD = math.log(1 / ALPHA)
CASES = {"50 %": (0.5, 0), "60 %": (0.6, 0), "70 %": (0.7, 0), "70 %, 1/5 draws": (0.7, 0.2)}
CASES |= {"80 %": (0.8, 0), "90 %": (0.9, 0)}
LABELS = (60, 80, 100)


def portfolio(bets: list[float]) -> Wealth:
    """The average of constant bets; one bet is the gate's own."""

    def wealth(wins: np.ndarray) -> np.ndarray:
        logs = [np.log1p(bet * (wins - 0.5)).cumsum(1) for bet in bets]
        return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(bets)))

    return wealth


def krichevsky_trofimov() -> Wealth:
    """Kelly bets 2 (2p - 1) averaged over Jeffreys' prior on p > 1/2, on a fine grid."""
    places = (np.arange(100) + 0.5) / 100
    return portfolio([float(2 * x) for x in np.sin(places * np.pi / 2)])


def agrapa(wins: np.ndarray) -> np.ndarray:
    """Waudby-Smith & Ramdas 2020, approximate growth-rate adaptive bets, capped at 0.9 / m."""
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


def all_in_at_the_end(wins: np.ndarray, *, last: float = 0.15) -> np.ndarray:
    """The gate's bet, and over the last labels the stake that most likely reaches the threshold.

    With r decisive labels expected, wealth K buys the binomial test of size alpha K on them; its
    worth after a win or a loss is the next wealth (Neyman & Pearson 1933, as a martingale).
    """
    num = wins.shape[1]
    capital, draws, wealth = np.ones(len(wins)), np.zeros(len(wins)), np.zeros_like(wins)
    for t, win in enumerate(wins.T):
        open_ = capital < 1 / ALPHA - 1e-9
        if t < (1 - last) * num:
            after = capital * (1 + 0.8 * (win - 0.5))
        else:
            decisive = np.maximum(1, np.round((num - t) * (t - draws + 1) / (t + 1))).astype(int)
            after = capital.copy()
            for left in np.unique(decisive):
                rows = decisive == left
                after[rows] = _all_in(capital[rows], win[rows], int(left))
        capital = np.where(open_, after, capital)
        draws += win == 0.5
        wealth[:, t] = np.log(np.maximum(capital, 1e-300))
    return wealth


def _all_in(capital: np.ndarray, win: np.ndarray, left: int) -> np.ndarray:
    size = np.minimum(capital * ALPHA, 1)
    tails = binom.sf(np.arange(-1, left + 1), left, 0.5)
    need = np.clip((tails[None] > size[:, None]).sum(1) - 1, 0, left)
    edge = np.clip(
        (size - tails[need + 1]) / np.maximum(tails[need] - tails[need + 1], 1e-300), 0, 1
    )
    won = binom.sf(need - 1, left - 1, 0.5) + edge * binom.pmf(need - 1, left - 1, 0.5)
    lost = binom.sf(need, left - 1, 0.5) + edge * binom.pmf(need, left - 1, 0.5)
    return np.where(win == 1, won, np.where(win == 0, lost, size)) / ALPHA


BETS: dict[str, Wealth] = {
    "this bet": portfolio([0.8]),
    "average of 4 bets": portfolio([0.4, 0.8, 1.2, 1.6]),
    "KT portfolio": krichevsky_trofimov(),
    "aGRAPA": agrapa,
    "all in at the end": all_in_at_the_end,
}


def measure(
    wealth: Wealth, rate: float, draws: float, labels: int, num_runs: int
) -> dict[str, Any]:
    """Share accepted and mean labels used of `labels`; the same streams for every bet."""
    rng = stream(0, "gate power", f"{rate} {draws}", labels)
    shape = (num_runs, labels)
    wins = np.where(rng.random(shape) < draws, 0.5, rng.random(shape) < rate)
    crossed = wealth(wins) >= THRESHOLD - 1e-9
    used = np.where(crossed.any(1), crossed.argmax(1) + 1, labels)
    return {"accepted": float(crossed.any(1).mean()), "labels_used": float(used.mean())}


def accepts_an_even_policy(gate: Gate, rng: np.random.Generator) -> bool:
    """One whole run of candidates that win exactly half, each accepted as soon as it could be."""
    for t in range(1, 6):
        session = gate.session(t)
        while session.decision is None:
            session.observe(float(rng.integers(0, 3)) / 2 if t % 2 else float(rng.random() < 0.5))
        if session.decision is Decision.ACCEPT:
            return True
    return False


@dataclass
class Arguments:
    runs: int = 6_000
    null_runs: int = 2_500
    out: Path = ROOT / "results" / "gate_power.json"


def main(arguments: Arguments) -> None:
    table = {
        name: {
            case: {n: measure(wealth, *chances, n, arguments.runs) for n in LABELS}
            for case, chances in CASES.items()
        }
        for name, wealth in BETS.items()
    }
    gate, rng = Gate(alpha=0.1, max_labels=80, rounds=5), stream(0, "gate power", "null runs")
    wrong = stats.accuracy([accepts_an_even_policy(gate, rng) for _ in range(arguments.null_runs)])
    power = table["this bet"]["70 %"][80]["accepted"]
    found = stats.accuracy(np.arange(arguments.runs) < round(power * arguments.runs))
    assert wrong.upper is not None
    write_result(
        arguments.out,
        {"alpha": ALPHA, "num_runs": arguments.runs, "bets": table, "null": wrong.as_dict()},
        seeds=[0],
        headlines=[
            headline(
                "gate: runs of 5 even candidates in which any was accepted, alpha 0.1",
                wrong.as_dict(),
                bar="≤ 0.1",
                met=wrong.upper <= gate.alpha,
            ),
            headline(
                "gate: a policy that wins 70 % accepted within 80 labels, alpha 0.02",
                found.as_dict(),
                bar="≥ 0.8",
                met=power >= 0.8,
            ),
        ],
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
