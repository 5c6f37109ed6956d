"""The loop: sample, ask, fit, improve, certify, evaluate; round after round, within one budget.

    for each round:
        sample    answers of the working policy, read in one frozen pass
        ask       raters, by an oversight protocol, about the most informative pairs
        fit       the reward, anew on all comparisons (seconds), with its doubt
        improve   the policy against the reward's lower bound
        certify   fresh pairs of candidate and certified policy, labels kept for this alone
        evaluate  on prompts that serve for nothing else

Online iterative preference learning after Christiano et al. 2017 (arXiv 1706.03741), Bai et al.
2022 (arXiv 2204.05862) and Dong et al. 2024 (arXiv 2405.07863). Where we differ: (1) one trunk is
policy base, reference, reward and critic; (2) the reward is a Bayesian head and is refitted every
round; (3) the policy climbs the lower bound; (4) no policy is certified but by an anytime-valid
test on labels that nothing is learned from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trueline.errors import InputError
from trueline.loop.budget import Budget
from trueline.loop.finish import conclude
from trueline.loop.gate import Gate
from trueline.loop.labels import Labels
from trueline.loop.measure import Yardstick, agreement_with_gold, calibration
from trueline.loop.progress import Reporter
from trueline.loop.state import State
from trueline.loop.steps import Steps
from trueline.loop.task import Task
from trueline.models.reading import Readings
from trueline.oversight.critique import WithCritique
from trueline.policy import DPO, GRPO, BestOfN
from trueline.protocols import Oversight
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rewards.protocols import Head
from trueline.rng import stream
from trueline.runs import RunFolder

__all__ = ["Online"]


@dataclass(frozen=True, kw_only=True)
class Online:
    """The loop's configuration; `run` is the loop."""

    rounds: int = 4
    labels: int = 2000
    """The whole budget: what the reward learns from and what the gates certify with."""
    gate_frac: float = 0.2
    """Share of the labels kept for the gates."""
    alpha: float = 0.1
    """Chance, over the whole run, that any policy is certified that the raters like less."""
    prompts_per_round: int = 192
    samples_per_prompt: int = 4
    measured_prompts: int = 200
    patience: int | None = None
    """End after so many rounds in a row without a certificate; None: never, holds are common."""
    rank: int = 16
    reward: Head = field(default_factory=lambda: Conservative(head=Bayesian(), k=1.0))
    """Any kind of reward; refitted every round on all comparisons."""
    optimiser: BestOfN | DPO | GRPO = field(default_factory=BestOfN)
    protocol: Oversight = field(default_factory=WithCritique)
    curve: tuple[int, int] = (40, 64)
    """Prompts and samples of the best-of-n curve at the end."""
    oracle_samples: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        self._gate(self._budget())
        if self.patience is not None and self.patience < 1:
            raise InputError("patience must be at least 1, or None", got=str(self.patience))

    def check(self, task: Task) -> None:
        """Refuse a task whose helpers would leave nothing to learn with; nothing is run yet."""
        self._budget().check_learning(task.helper_cost)

    def run(self, task: Task, folder: RunFolder, reporter: Reporter) -> dict[str, Any]:
        """All rounds from where the folder stands; the result, which is also written there."""
        started = time.monotonic()
        rng = stream(self.seed, "adapter")
        state = State.start_or_resume(folder, task, self._budget(), rank=self.rank, rng=rng)
        once, done = task.trunk.workers.once, len(state.rounds)
        once(lambda: folder.rewrite_metrics(lambda row: row["round"] < done + bool(done)))
        labels = Labels(folder, task, self.protocol, self.seed)
        yardstick = Yardstick.make(task, self.measured_prompts, self.seed)
        if not done:
            once(lambda: folder.log({"kind": "base", "round": 0, "gold_base": yardstick.gold_base}))
        while len(state.rounds) < self.rounds and not state.stalled(self.patience):
            steps = Steps(len(state.rounds) + 1, self.seed, task, labels, reporter)
            state, judged = self.round(steps, state, yardstick)
            once(partial(state.save, folder, judged, task.comparisons))
        reporter.act(self.rounds, "conclude")
        task.trunk.verify_frozen()
        result = conclude(state, yardstick, curve=self.curve, oracle_samples=self.oracle_samples)
        result |= {"unspent": self._budget(state).left}
        result |= {"wall_s": round(time.monotonic() - started, 1), "run": str(folder.folder)}
        once(lambda: folder.finish(result))
        return result

    def round(self, now: Steps, state: State, yardstick: Yardstick) -> tuple[State, Readings]:
        """Do one round; return the new state and the readings of the answers that were judged."""
        task, t = now.task, now.t
        budget = self._budget(state)

        now.begin("sample")
        num_pairs = budget.for_learning(t)
        cases, seen = now.sample(state, num_pairs=num_pairs, num_samples=self.samples_per_prompt)

        now.begin("ask")
        learned, new = now.ask(cases, budget)
        judged = seen.take(seen.rows(list(dict.fromkeys(r.key for r in new.responses))))
        foretold = calibration(state.reward, judged, new, seed=self.seed)

        now.begin("fit")
        readings = Readings.concat([*([state.readings] if state.readings else []), judged])
        reward = self.reward.fit(readings, learned, rng=stream(self.seed, "fit", t))

        now.begin("improve")
        update = now.improve(state, self.optimiser, reward, num_prompts=self.prompts_per_round)

        now.begin("certify")
        gate = self._gate(budget).session(t)
        gate = now.certify(update.policy, state.certified, gate, budget)

        now.begin("evaluate")
        record = {
            "round": t,
            **yardstick.measure(update.policy, reward),
            "gate": gate.record(rng=stream(self.seed, "gate", t, "length")),
            **now.labels.account(t),
            "reward": reward.summary(),
            "optimiser": dict(update.stats),
            "stopped": update.stopped,
            **foretold,
            "rater_gold_agreement": agreement_with_gold(task, new, seed=self.seed),
        }
        return state.after(update.policy, gate.decision, readings, reward, budget, record), judged

    def _budget(self, state: State | None = None) -> Budget:
        spent = {} if state is None else dict(state.spent)
        return Budget(self.labels, self.gate_frac, self.rounds, spent)

    def _gate(self, budget: Budget) -> Gate:
        return Gate(alpha=self.alpha, max_labels=budget.per_gate, rounds=self.rounds)
