"""The steps of one round: sample, ask, improve, certify.

Each draws from random streams named by the step and the round, so that a round that was cut short
is done again with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trueline.data.comparisons import Comparisons
from trueline.loop.budget import Budget
from trueline.loop.evaluation import agreement_with_gold
from trueline.loop.gate import GateSession
from trueline.loop.labels import Labels
from trueline.loop.pair_selection import informative_pairs
from trueline.loop.progress import Reporter
from trueline.loop.resume import State
from trueline.loop.task import Task
from trueline.models.adapters import LoraPolicy
from trueline.models.reading import Readings
from trueline.policy import Update
from trueline.records import Case, Preference
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["Steps"]

_WINS = {Preference.FIRST: 1.0, Preference.SECOND: 0.0, Preference.UNDECIDED: 0.5}


@dataclass(frozen=True)
class Steps:
    """The steps of round `t` (1, 2, …)."""

    t: int
    seed: int
    task: Task
    labels: Labels
    reporter: Reporter

    def begin(self, step: str) -> None:
        """Say which step begins."""
        self.reporter.step(self.t, step)

    def sample(
        self, state: State, num_pairs: int, *, num_samples: int
    ) -> tuple[list[Case], Readings]:
        """Return the pairs to be judged, and the readings of all answers they were chosen from.

        A quarter more prompts are answered than there are labels, because a sharp policy answers
        some in one way only.
        """
        seed, t = self.seed, self.t
        num_prompts = max(1, num_pairs + num_pairs // 4)
        prompts = self.task.draw(num_prompts, "learn", stream(seed, "gather", t))
        rng = stream(seed, "sample", t)
        answers = state.working.sample(prompts, num_samples=num_samples, rng=rng)
        readings = self.task.trunk.read([r for row in answers for r in row])
        rng = stream(seed, "choose", t)
        # The last bits of a margin may differ between processes: one of them chooses.
        cases = self.task.trunk.workers.once(
            lambda: informative_pairs(answers, readings, state.reward, num_pairs, rng=rng)
        )
        return cases, readings

    def ask(self, cases: Sequence[Case], budget: Budget) -> tuple[Comparisons, Comparisons]:
        """Have the cases judged; return all that was learned so far, and in this round."""
        for _ in self.labels.ask(cases, purpose="learn", round=self.t):
            budget.spend("learn", 1)
        return self.labels.learned(self.t)

    def improve(self, state: State, optimiser: Any, reward: Fitted, *, num_prompts: int) -> Update:
        """Improve the working policy against the reward's lower bound by a kind of `OPTIMISERS`.

        Only here may an engine sample in its stead: what is certified and measured is what the
        model itself says.
        """
        t, task, working = self.t, self.task, state.working
        prompts = task.draw(num_prompts, "learn", stream(self.seed, "improve", t))
        rng = stream(self.seed, "optimise", t)
        working.sampler = task.sampler
        update: Update = optimiser.improve(working, prompts, reward.on(task.trunk), rng=rng)
        working.sampler = update.policy.sampler = None
        return update

    def certify(
        self, candidate: LoraPolicy, certified: LoraPolicy, session: GateSession, budget: Budget
    ) -> None:
        """Have fresh pairs of the two policies judged until the gate decides or its labels end."""
        if candidate is certified:
            return
        cases = self._gate_cases(candidate, certified, session.max_labels)
        asked = self.labels.ask(cases, purpose="gate", round=self.t)
        for case, verdict in zip(cases, asked, strict=False):
            budget.spend("gate", 1)
            session.observe(_WINS[verdict.preference], longer=_longer(case))
            if session.decision is not None:
                break

    def record(
        self, update: Update, reward: Fitted, gate: GateSession, new: Comparisons
    ) -> dict[str, Any]:
        """Return what a round did and took, beside its evaluation."""
        return {
            "round": self.t,
            "gate": gate.record(rng=stream(self.seed, "gate", self.t, "length")),
            **self.labels.account(self.t),
            "reward": reward.summary(),
            "optimiser": dict(update.stats),
            "stopped": update.stopped,
            "rater_gold_agreement": agreement_with_gold(self.task, new, seed=self.seed),
        }

    def _gate_cases(
        self, candidate: LoraPolicy, certified: LoraPolicy, num_cases: int
    ) -> list[Case]:
        """Answers of both policies to prompts of the gate. Pairs of equal answers do not tell which
        policy is better and are left out, so more prompts are answered than there are labels."""
        seed, t = self.seed, self.t
        prompts = self.task.draw(3 * num_cases, "gate", stream(seed, "gate", t))
        new, old = (
            policy.sample(prompts, num_samples=1, rng=stream(seed, "gate", t, name))
            for name, policy in (("candidate", candidate), ("certified", certified))
        )
        cases = [
            Case(first=a[0], second=b[0])
            for a, b in zip(new, old, strict=True)
            if a[0].key != b[0].key
        ]
        return cases[:num_cases]


def _longer(case: Case) -> float | None:
    """By how many tokens the candidate's answer is the longer one, if known."""
    first, second = (r.num_tokens for r in case.responses)
    return None if first is None or second is None else float(first - second)
