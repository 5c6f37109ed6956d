"""The loop's acts in detail: gathering answers, choosing pairs, trying out help, certifying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from trueline.loop.allocator import Allocator, stratum
from trueline.loop.budget import UNKNOWN, Budget, expected_information
from trueline.loop.desk import Choice, Desk, every_item
from trueline.loop.gate import GateSession
from trueline.loop.progress import Reporter
from trueline.loop.state import State
from trueline.loop.task import Task
from trueline.models.adapters import LoraPolicy
from trueline.models.reading import Readings
from trueline.oversight.planted_flaws import passed
from trueline.policy import DPO, GRPO, BestOfN, Update
from trueline.records import Case, Critique, Preference, Response
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["Round", "margins"]

T = TypeVar("T")

_WINS = {Preference.FIRST: 1.0, Preference.SECOND: 0.0, Preference.UNDECIDED: 0.5}


def margins(
    reward: Fitted | None, readings: Readings | None, cases: Sequence[Case]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of the margin of first over second, each [M]; without a reward that has read
    them nothing is known."""
    if reward is None or readings is None:
        mean, std = (np.full(len(cases), value) for value in UNKNOWN)
        return mean, std
    rows = (readings.rows([case.responses[side].key for case in cases]) for side in (0, 1))
    return reward.margin(readings, *rows)


def _choice(allocator: Allocator | None, gaps: tuple[np.ndarray, np.ndarray]) -> Choice:
    """Help with the cases, of these margins, for which it is worth its time; with all where that
    is not known."""
    if allocator is None:
        return every_item
    mean, std = gaps
    return lambda i, said: allocator.assist(stratum(said), float(mean[i]), float(std[i]))


def _in_turn(i: int, _: Sequence[Critique]) -> bool:
    return i % 2 == 1


def _longer(case: Case) -> float | None:
    first, second = (r.num_tokens for r in case.responses)
    return None if first is None or second is None else float(first - second)


@dataclass(frozen=True)
class Round:
    """One round's number and the streams of randomness that belong to it."""

    t: int
    seed: int
    task: Task
    reporter: Reporter

    def begin(self, act: str) -> None:
        self.reporter.act(self.t, act)

    def gather(
        self, state: State, budget: Budget, *, num_samples: int
    ) -> tuple[list[Case], Readings]:
        """The pairs to be judged, the most telling first, and the reading of all answers. A quarter
        more prompts are answered than there are labels, because a sharp policy answers some in one
        way only."""
        seed, t = self.seed, self.t
        num_pairs = budget.labels_for(budget.for_learning(t))
        prompts = self.task.draw(num_pairs + num_pairs // 4, "learn", stream(seed, "gather", t))
        rng = stream(seed, "sample", t)
        answers = state.working.sample(prompts, num_samples=num_samples, rng=rng)
        readings = self.task.trunk.read([r for row in answers for r in row])
        cases = self.task.trunk.workers.once(
            lambda: self.telling_pairs(answers, readings, state.reward, num_pairs)
        )
        return cases, readings

    def _in_main(self, budget: Budget, act: Callable[[], T]) -> T:
        """What people said to the main process, and what that took of the budget, for all."""
        found, budget.spent = self.task.trunk.workers.once(lambda: (act(), budget.spent))
        return found

    def telling_pairs(
        self,
        answers: Sequence[Sequence[Response]],
        readings: Readings,
        reward: Fitted | None,
        num_pairs: int,
    ) -> list[Case]:
        """For each prompt the pair whose comparison would tell the reward most, and of those the
        most telling; before there is a reward, a random pair."""
        rng = stream(self.seed, "choose", self.t)
        pairs: list[list[Case]] = []
        for row in answers:
            distinct = list({r.key: r for r in row}.values())
            own = [
                Case(first=a, second=b) for i, a in enumerate(distinct) for b in distinct[i + 1 :]
            ]
            pairs.append([own[i] for i in rng.permutation(len(own))])
        pairs = [own for own in pairs if own]
        if not pairs:
            return []
        gains = expected_information(
            *margins(reward, readings, [case for own in pairs for case in own])
        )
        ends = np.cumsum([len(own) for own in pairs])
        best = [
            max(zip(own, pairs_of, strict=True), key=lambda item: float(item[0]))
            for own, pairs_of in zip(np.split(gains, ends[:-1]), pairs, strict=True)
        ]
        best.sort(key=lambda item: -float(item[0]))
        return [case for _, case in best[:num_pairs]]

    def try_help(
        self, state: State, budget: Budget, desk: Desk, *, frac: float
    ) -> Allocator | None:
        """In the first round, for the sake of all: spend that share of the seconds to learn from on
        controls, judged in turn without help and with it. None where nobody can make controls, or
        time is not what is spent."""
        if self.task.controls is None or budget.unit == "labels" or not (frac and desk.assists):
            return None
        if self.t > 1:
            return state.allocator
        share = frac * budget.for_learning(self.t) * budget.rounds
        return self._in_main(budget, lambda: self._controls(share, budget, desk))

    def _controls(self, share: float, budget: Budget, desk: Desk) -> Allocator:
        assert self.task.controls is not None
        t, learned = self.t, Allocator()
        prompts = self.task.draw(budget.labels_for(share), "learn", stream(self.seed, "control", t))
        planted = self.task.controls(prompts, stream(self.seed, "plant", t))
        cases = [one.case for one in planted]
        notes = desk.notes(cases, "control", t)
        asked = desk.ask(cases, purpose="control", round=t, choice=_in_turn, notes=notes)
        for i, (_, verdict) in enumerate(budget.within(share, "control", asked)):
            learned = learned.after(
                stratum(notes.of(i)),
                assisted=_in_turn(i, ()),
                passed=passed(planted[i], verdict),
                judge_s=verdict.cost.judge_s,
            )
        return learned

    def ask(
        self,
        cases: Sequence[Case],
        gaps: tuple[np.ndarray, np.ndarray],
        desk: Desk,
        budget: Budget,
        allocator: Allocator | None,
    ) -> None:
        """Have cases of these margins judged until the round's share of the budget is spent."""

        def judged() -> int:
            choice = _choice(allocator, gaps)
            asked = desk.ask(cases, purpose="learn", round=self.t, choice=choice)
            return sum(1 for _ in budget.within(budget.for_learning(self.t), "learn", asked))

        self._in_main(budget, judged)

    def improve(
        self, state: State, optimiser: BestOfN | DPO | GRPO, reward: Fitted, *, num_prompts: int
    ) -> Update:
        """The working policy improved against the lower bound. Only here may an engine sample in
        its stead: what is certified and measured is what the model itself says."""
        t, task, working = self.t, self.task, state.working
        prompts = task.draw(num_prompts, "learn", stream(self.seed, "improve", t))
        rng = stream(self.seed, "optimise", t)
        working.sampler = task.sampler
        update = optimiser.improve(working, prompts, reward.on(task.trunk), rng=rng)
        working.sampler = update.policy.sampler = None
        return update

    def certify(
        self,
        candidate: LoraPolicy,
        certified: LoraPolicy,
        session: GateSession,
        desk: Desk,
        budget: Budget,
        allocator: Allocator | None,
    ) -> GateSession:
        """Judge fresh pairs until the gate has decided or its share is spent. Pairs of equal
        answers are not asked about, they say nothing of which policy is better; so answers to
        more prompts are drawn than there are labels."""
        if candidate is certified:
            return session
        seed, t = self.seed, self.t
        prompts = self.task.draw(3 * session.max_labels, "gate", stream(seed, "gate", t))
        new, old = (
            policy.sample(prompts, num_samples=1, rng=stream(seed, "gate", t, name))
            for name, policy in (("candidate", candidate), ("certified", certified))
        )
        cases = [
            Case(first=a[0], second=b[0])
            for a, b in zip(new, old, strict=True)
            if a[0].key != b[0].key
        ][: session.max_labels]
        # The gate asks which policy wins, whatever the reward expects of the pair.
        choice = _choice(allocator, margins(None, None, cases))

        def judged() -> GateSession:
            asked = desk.ask(cases, purpose="gate", round=t, choice=choice)
            for case, verdict in budget.within(budget.per_gate, "gate", asked):
                session.observe(_WINS[verdict.preference], longer=_longer(case))
                if session.decision is not None:
                    break
            return session

        return self._in_main(budget, judged)
