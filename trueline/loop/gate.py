"""The gate: a new policy is certified only when fresh judgements prove it better, by betting.

    H0: P(new wins) + P(draw) / 2 <= 1/2,   e_t = prod_i (1 + 0.8 (win_i - 1/2))
    e_t >= 1/alpha_t: ACCEPT     mirrored e_t >= 1/alpha_t: ROLL_BACK     labels spent: HOLD
    alpha_t = alpha / rounds

The promise: with probability at least 1 - alpha over the whole run, no accepted policy is worse
than (or only as good as) the certified one it replaced, by the judgement of the raters asked,
whenever one stops looking (Ville 1939; Waudby-Smith & Ramdas 2020, 2010.09686; rounds by the union
bound). It needs pairs that served nothing else, answers in random order, one session a round. It
says nothing of what raters cannot see: a policy that learned to impress them is accepted.

We differ: the bet is constant, Kelly's for a win rate of 70 %. Of such policies it accepts 87 %
within 80 labels at alpha_t = 0.02; other bets in docs/certificate.md (benchmarks/gate_power.py).

>>> session = Gate(alpha=0.1, max_labels=80, rounds=5).session(1)
>>> while session.decision is None:
...     session.observe(1.0)
>>> session.decision.value, session.labels
('accept', 12)
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any

from trueline.errors import DataError, InputError, InvalidExperiment
from trueline.records import Estimate
from trueline.rng import Rng
from trueline.stats import BettingTest, confidence_sequence, length_controlled

__all__ = ["Decision", "Gate", "GateSession"]

BET = (0.4,)
"""Fraction of the stake: 0.8 times win - 1/2, which is Kelly's bet at a win rate of 0.7."""


class Decision(enum.StrEnum):
    """What becomes of the candidate."""

    ACCEPT = "accept"
    """It is better: it becomes the certified policy."""
    HOLD = "hold"
    """Not shown: training goes on, the certified policy stays, the next candidate is tested."""
    ROLL_BACK = "roll_back"
    """It is worse: it is dropped."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One gate for a whole run."""

    alpha: float = 0.1
    """Probability, over the whole run, that any accepted policy is not better."""
    max_labels: int = 80
    """The most one round may ask for."""
    rounds: int = 5
    """How many rounds share alpha equally."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InputError("the gate's alpha must lie between 0 and 1", got=str(self.alpha))
        if min(self.max_labels, self.rounds) < 1:
            raise InputError("a gate needs at least one round and one label", got=str(self))

    def session(self, round: int) -> GateSession:
        """Return a fresh test for the candidate of round 1, 2, … A second one for a round voids the
        promise, unless it repeats the first (a resumed run observing the same labels)."""
        if not 1 <= round <= self.rounds:
            raise InvalidExperiment(
                f"alpha was shared among {self.rounds} rounds",
                got=f"round {round}, for which there is none",
                do="plan more rounds",
            )
        return GateSession(alpha=self.alpha / self.rounds, max_labels=self.max_labels)


class GateSession:
    """The test of one candidate, fed one verdict at a time."""

    def __init__(self, *, alpha: float, max_labels: int) -> None:
        self.alpha = alpha
        self.max_labels = max_labels
        self.decision: Decision | None = None
        """None while more labels may still decide."""
        self._better = BettingTest(0.5, fractions=BET)
        self._worse = BettingTest(0.5, fractions=BET)
        self._wins: list[float] = []
        self._longer: list[float | None] = []

    @property
    def labels(self) -> int:
        """How many verdicts were observed."""
        return len(self._wins)

    def undecidable(self, num_labels: int) -> str | None:
        """Return why so many labels could not decide, however they fall; None if they could."""
        most, needed = (1 + BET[0]) ** num_labels, 1 / self.alpha
        found = f"the gate cannot decide: {num_labels} labels bring its bet to {most:.3g} at most, "
        found += f"and it must reach {needed:.3g}; raise budget.labels or budget.gate_frac, lower "
        return None if most >= needed else f"{found}budget.rounds, or give more prompts"

    def observe(self, win: float, *, longer: float | None = None) -> None:
        """Take in a verdict: 1 if the new policy's answer was preferred, 0 if the certified one's,
        0.5 if neither; `longer`: by how many tokens it was the longer one, if known."""
        if win not in (0, 0.5, 1):
            raise DataError("a win must be 0, 0.5 or 1", got=str(win))
        if self.decision is not None:
            raise InvalidExperiment(
                "a decided gate takes no more labels", got=f"one more after {self.decision.value}"
            )
        self._wins.append(float(win))
        self._longer.append(longer)
        self._better.update(win)
        self._worse.update(1 - win)
        needed = -math.log(self.alpha)
        if self._better.log_e >= needed:
            self.decision = Decision.ACCEPT
        elif self._worse.log_e >= needed:
            self.decision = Decision.ROLL_BACK
        elif self.labels >= self.max_labels:
            self.decision = Decision.HOLD

    def cut_short(self, apart: int, prompts: int) -> str | None:
        """Return that prompts were too few to decide by; None if they were not."""
        few = f"the gate is undecided: {apart} of {prompts} prompts told the policies apart"
        lacks = self.decision is None and apart < self.max_labels
        return f"{few}; give more prompts" if lacks else None

    def record(self, rng: Rng) -> dict[str, Any]:
        """Return the record that stands in results; a session left open is a HOLD.

        `e_value` speaks for "better", `e_value_worse` for "worse". The win rate's interval is made
        of the same bets, valid whenever one stops, at 1 - 2 alpha of the round: it leaves 1/2 out
        just where the gate has decided. What it would be were both answers equally long
        (bootstrapped by `rng`) decides nothing, and needs the lengths of all.
        """
        even = Estimate(None, None, None, 0)
        known = [gap for gap in self._longer if gap is not None]
        if len(known) == self.labels:
            even = length_controlled(self._wins, known, rng=rng)
        return {
            "decision": (self.decision or Decision.HOLD).value,
            "e_value": math.exp(self._better.log_e),
            "e_value_worse": math.exp(self._worse.log_e),
            "threshold": 1 / self.alpha,
            "alpha": self.alpha,
            "labels": self.labels,
            "win_rate": self._win_rate().as_dict(),
            "win_rate_at_equal_length": even.as_dict(),
        }

    def _win_rate(self) -> Estimate:
        if not self._wins:
            return Estimate(None, None, None, 0)
        value = sum(self._wins) / self.labels
        # Two sides at the alpha of one: decision and interval say the same.
        both = min(2 * self.alpha, 0.999)
        lower, upper = confidence_sequence(self._wins, both, fractions=BET)
        low, high = float(lower[-1]), float(upper[-1])
        # The sequence looks back on all labels so far, and can end beside a mean that turned.
        return Estimate(value, min(low, value), max(high, value), self.labels)
