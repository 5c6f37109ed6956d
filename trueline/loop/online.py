"""The loop: sample, ask, fit, improve, certify, evaluate; round after round, within one budget.

    for each round:
        sample    answers of the working policy, read in one frozen pass
        ask       raters, by an oversight protocol, about the most informative pairs
        fit       the reward, anew on all comparisons (seconds), with its uncertainty
        improve   the policy against the reward's lower bound
        certify   fresh pairs of candidate and certified policy, labels kept for this alone
        evaluate  on prompts that serve for nothing else

After Christiano et al. 2017 (arXiv 1706.03741), Bai et al. 2022 (arXiv 2204.05862) and Dong et al.
2024 (arXiv 2405.07863). Where we differ: (1) one trunk is policy base, reference, reward, critic;
(2) the reward is refitted every round; (3) the policy climbs its lower bound; (4) no policy is
certified but by an anytime-valid test on labels that nothing is learned from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from trueline.data.comparisons import Comparisons
from trueline.loop import futility
from trueline.loop.evaluation import Evaluation, Measuring, agreement_with_gold, calibration
from trueline.loop.gate import Gate, GateSession
from trueline.loop.labels import Budget, Labels, Spending
from trueline.loop.pair_selection import differing_pairs, informative_pairs
from trueline.loop.resume import State
from trueline.loop.task import Task
from trueline.models.adapters import LoraPolicy
from trueline.models.reading import Readings
from trueline.oversight.critique import WithCritique
from trueline.policy import BestOfN, Update
from trueline.progress import Stage, tell
from trueline.protocols import Oversight
from trueline.records import Case, Preference, Prompt
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rewards.protocols import Fitted, Head
from trueline.rng import Rng, stream
from trueline.runs import RunFolder

__all__ = ["STEPS", "Online", "Spending", "Steps"]

STEPS = ("sample", "ask", "fit", "improve", "certify", "evaluate")
_WINS = {Preference.FIRST: 1.0, Preference.SECOND: 0.0, Preference.UNDECIDED: 0.5}


@dataclass(frozen=True, kw_only=True)
class Online(Spending):
    """The loop's configuration; `Online(rounds=2, labels=600).run(task, folder)` is the loop."""

    reward: Head = field(default_factory=lambda: Conservative(head=Bayesian(), k=1.0))
    """Any kind of reward; refitted every round on all comparisons."""
    optimiser: Any = field(default_factory=BestOfN)
    """Any kind of policy optimiser."""
    protocol: Oversight = field(default_factory=WithCritique)
    """How raters are asked, to learn from and by the gate alike."""
    rank: int = 16
    """Rank of the policy's adapter."""
    evaluate: Measuring = field(default_factory=Measuring)
    seed: int = 0
    """All randomness comes from it."""

    def __post_init__(self) -> None:
        self._gate(self._budget())

    def check(self, task: Task) -> None:
        """Refuse a task whose helpers would leave no labels to learn from."""
        self._budget().pay_helpers(task.helper_cost)

    def run(self, task: Task, folder: RunFolder, told: Stage | None = None) -> dict[str, Any]:
        """Do all rounds from where the folder stands; return the result, which is also in it."""
        started, told = time.monotonic(), told or Stage("")
        once, rng = task.trunk.workers.once, stream(self.seed, "adapter")
        state = State.start_or_resume(folder, task, self._budget(), self.reward, self.rank, rng=rng)
        labels = Labels(folder, task, self.protocol, self.seed)
        evaluation = Evaluation(task, self.evaluate, self.seed)
        once(partial(state.restart_metrics, folder, labels, evaluation.gold_base))
        while len(state.rounds) < self.rounds:
            steps = Steps(len(state.rounds) + 1, self.seed, task, labels, told)
            state, judged = self.round(steps, state, evaluation)
            once(partial(state.save, folder, judged, task.comparisons))
        told.begin("conclude", self.rounds * len(STEPS) - 1)
        task.trunk.verify_frozen()
        result = evaluation.conclude(state)
        wall_s, left = round(time.monotonic() - started, 1), self._budget(state.spent).left
        result |= {"unspent": left, "wall_s": wall_s, "run": str(folder.folder)}
        once(lambda: folder.finish(result))
        return result

    def round(self, now: Steps, state: State, evaluation: Evaluation) -> tuple[State, Readings]:
        """Do one round; return the new state and the readings of the answers that were judged."""
        budget = self._budget(state.spent)
        gate = self._gate(budget).session(now.t)
        now.note(evaluation.fewer if now.t == 1 else None, gate.undecidable(gate.max_labels))

        now.begin("sample")
        num_pairs = budget.for_learning(now.t)
        if num_pairs and now.note(futility.learns_nothing(self.reward)):
            num_pairs = 0
        pairs, answers = now.sample(state, num_pairs, self)

        now.begin("ask")
        comparisons, new = now.ask(pairs, budget)
        judged = answers.take(answers.rows(list(dict.fromkeys(r.key for r in new.responses))))
        predicted = calibration(state.reward, judged, new, seed=self.seed)

        now.begin("fit")
        readings = state.readings_with(judged, self.reward, comparisons, rng=now._rng("layers"))
        reward = self.reward.fit(readings, comparisons, rng=now._rng("fit"))

        now.begin("improve")
        update = now.improve(state, self.optimiser, reward, num_prompts=self.prompts_per_round)

        now.begin("certify")
        now.certify(update.policy, state.certified, gate, budget)

        now.begin("evaluate")
        row = now.record(update, reward, gate, new)
        row |= evaluation.of(update.policy, reward) | predicted
        state = state.judged(update.policy, gate.decision)
        rounds, spent = [*state.rounds, row], budget.spent
        return replace(state, readings=readings, reward=reward, spent=spent, rounds=rounds), judged

    def _budget(self, spent: Mapping[str, int] | None = None) -> Budget:
        return Budget(self.labels, self.gate_frac, self.rounds, dict(spent or {}))

    def _gate(self, budget: Budget) -> Gate:
        return Gate(alpha=self.alpha, max_labels=budget.per_gate, rounds=self.rounds)


@dataclass(frozen=True)
class Steps:
    """The steps of round `t`. Each draws from streams named by step and round, so as to repeat."""

    t: int
    seed: int
    task: Task
    labels: Labels
    told: Stage
    notes: list[str] = field(default_factory=list)
    """What was told, for the round's record."""

    def begin(self, step: str) -> None:
        """Say which step begins."""
        at, rounds = STEPS.index(step), (self.told.total or 0) // len(STEPS)
        self.told.begin(f"round {self.t} of {rounds}: {step}", (self.t - 1) * len(STEPS) + at)

    def note(self, *texts: str | None) -> bool:
        """Tell what there is to tell, and keep it for the record; return whether there was any."""
        for text in filter(None, texts):
            self.notes.append(text)
            tell(f"round {self.t}: {text}")
        return any(texts)

    def sample(self, state: State, num_pairs: int, how: Online) -> tuple[list[Case], Readings]:
        """Return the pairs to be judged, and the readings of all answers they were chosen from."""
        # A sharp policy answers some prompts in one way only: a quarter more are answered.
        prompts = self._prompts(max(1, num_pairs + num_pairs // 4), "learn", "gather")
        num_samples, rng = how.samples_per_prompt, self._rng("sample")
        rolled = state.working.rollouts(prompts, num_samples=num_samples, rng=rng)
        readings = self.task.trunk.read(rolled.flat, layers=state.layers)
        answers, rng = rolled.kept(state.working.sampling), self._rng("choose")
        # The last bits of a margin may differ between processes: one of them chooses.
        cases = self.task.trunk.workers.once(
            lambda: informative_pairs(answers, readings, state.reward, num_pairs, rng=rng)
        )
        if num_pairs and (why := futility.why_not(state.working, cases, rolled, readings, how)):
            if state.reward is None and not self.task.comparisons:
                self.labels.stop(self.t, why)
            self.note(f"no labels to learn from are asked for: {why}")
            cases = []
        return cases, readings

    def ask(self, cases: Sequence[Case], budget: Budget) -> tuple[Comparisons, Comparisons]:
        """Have the cases judged; return all that was learned so far, and in this round."""
        for _ in self.labels.ask(cases, purpose="learn", round=self.t):
            budget.spend("learn", 1)
        return self.labels.learned(self.t)

    def improve(self, state: State, optimiser: Any, reward: Fitted, *, num_prompts: int) -> Update:
        """Improve the working policy against the reward's lower bound. Only here may an engine
        sample in its stead: what is certified and measured is what the model itself says."""
        working, scorer = state.working, reward.on(self.task.trunk)
        prompts = self._prompts(num_prompts, "learn", "improve")
        working.sampler = self.task.sampler
        update: Update = optimiser.improve(working, prompts, scorer, rng=self._rng("optimise"))
        working.sampler = update.policy.sampler = None
        self.note(futility.not_improved(update) if update.policy is working else None)
        return update

    def certify(
        self, candidate: LoraPolicy, certified: LoraPolicy, session: GateSession, budget: Budget
    ) -> None:
        """Have fresh pairs of the two policies judged until the gate decides or its labels end."""
        if candidate is certified or session.undecidable(session.max_labels):
            return
        prompts = self._prompts(3 * session.max_labels, "gate", "gate")  # Many answers are equal.
        new, old = (
            policy.rollouts(prompts, num_samples=1, rng=self._rng("gate", name))
            for policy, name in ((candidate, "candidate"), (certified, "certified"))
        )
        cases = differing_pairs(new, old, candidate.sampling)[: session.max_labels]
        if why := session.undecidable(min(len(cases), budget.left)):
            self.note(f"{len(cases)} of {len(prompts)} prompts answered differently: {why}")
            return
        asked = self.labels.ask(cases, purpose="gate", round=self.t)
        for case, verdict in zip(cases, asked, strict=False):
            budget.spend("gate", 1)
            lengths = [r.num_tokens for r in case.responses if r.num_tokens is not None]
            longer = lengths[0] - lengths[1] if len(lengths) == 2 else None
            session.observe(_WINS[verdict.preference], longer=longer)
            if session.decision is not None:
                break
        self.note(session.cut_short(len(cases), len(prompts)))

    def record(
        self, update: Update, reward: Fitted, gate: GateSession, new: Comparisons
    ) -> dict[str, Any]:
        """Return what a round did and took, beside its evaluation."""
        return {
            "round": self.t,
            "gate": gate.record(self._rng("gate", "length")),
            **self.labels.taken(self.t),
            "reward": reward.summary(),
            "optimiser": dict(update.stats),
            "stopped": update.stopped,
            "notes": self.notes,
            "rater_gold_agreement": agreement_with_gold(self.task, new),
        }

    def _rng(self, step: str, *names: str) -> Rng:
        return stream(self.seed, step, self.t, *names)

    def _prompts(self, num: int, purpose: str, step: str) -> list[Prompt]:
        return self.task.draw(num, purpose, self._rng(step))
