"""The arms of gold against KL: one task, one budget of labels, five ways to climb.

    ours      `trueline run`'s loop with GRPO: labels in rounds, refits, lower bound, limits, gate
    lower     GRPO on the lower bound of one fit, all labels beforehand
    trl-mean  TRL's GRPO on the mean of that fit: our head as a point estimate
    trl-plain TRL's GRPO on a plain logistic reward: last layer, one prior, no clip, labels as given
    trl-rm    TRL's GRPO on TRL's own reward model

Raters are the world's, helped by critiques; a share of their labels are coin flips. An arm without
rounds has its labels beforehand, on two samples of the trunk a prompt. Prompts to improve on are
as many in all arms, and the very same in those without rounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from trueline.loop.tasks import Asked, make_task

from benchmarks import gold_at_kl_trl as rival
from trueline import plugs
from trueline.data.comparisons import Comparisons
from trueline.loop.online import Online
from trueline.loop.progress import Silent
from trueline.loop.task import Task
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.oversight.transcript import in_random_order
from trueline.policy import GRPO, AdamWSettings
from trueline.records import Case, Comparison, Preference, Prompt
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rewards.protocols import Head
from trueline.rng import stream
from trueline.runs import RunFolder
from trueline.worlds.sums import POPULATIONS, Raters, Sums

__all__ = ["ARMS", "Material", "Plan", "Setting", "run", "task_of"]

PLAIN = Bayesian(
    layer=4, pooling="last", precision=30.0, winsor=1e6, label_noise=0.0, rater_temperature=False
)
"""A point estimate as they are usually made; of 1, 10, 30, 100, 300, 1000 this precision ranked
held-out labels best on seed 100."""

Facts = dict[str, Any]
Seen = Callable[[LoraPolicy], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all arms share."""

    labels: int = 300
    coin_frac: float = 0.25
    """Share of labels that are coin flips."""
    prompts: int = 320
    """To improve on, in all, where there are no rounds."""
    every: int = 64
    """Prompts between two measurements, where there are no rounds."""
    batch_size: int = 8
    """Prompts a step."""
    num_samples: int = 8
    measured: int = 200
    measured_samples: int = 2


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What was tuned, on other seeds."""

    lr: float = 3e-3
    k: float = 1.0
    beta: float = 0.05
    rounds: int = 5
    """Of ours."""
    prompts: int = 320
    """Of ours, to improve on, in all."""
    rm_lr: float = 3e-4
    rm_epochs: int = 1

    @property
    def head(self) -> Conservative:
        return Conservative(head=Bayesian(), k=self.k)

    def optimiser(self, plan: Plan) -> GRPO:
        return GRPO(
            num_samples=plan.num_samples,
            beta=self.beta,
            adamw=AdamWSettings(learning_rate=self.lr, batch_size=plan.batch_size),
        )


def task_of(trunk: Trunk, plan: Plan) -> Task:
    """The world's task, its raters more careless than they are by default."""
    asked = Asked(
        model=None,
        prompts=None,
        prompt_words=None,
        rater="simulated",
        assist="critique",
        max_new_tokens=80,
        seed=0,
    )
    people = Raters(replace(POPULATIONS["default"], flip_share=plan.coin_frac))
    return replace(make_task(trunk, asked), rater=people.at)


@dataclass
class Material:
    """One seed's labels, prompts and measuring, the same for all arms."""

    task: Task
    plan: Plan
    seed: int

    def policy(self) -> LoraPolicy:
        """The loop's own first policy, which says what the trunk says."""
        rng = stream(self.seed, "adapter")
        return LoraPolicy.create(self.task.trunk, rng=rng, max_new_tokens=self.task.max_new_tokens)

    def prompts(self) -> list[list[Prompt]]:
        """What to improve on between two measurements: what a loop of that many rounds draws."""
        parts = self.plan.prompts // self.plan.every
        streams = [stream(self.seed, "improve", t + 1) for t in range(parts)]
        return [self.task.draw(self.plan.every, "learn", rng) for rng in streams]

    @cached_property
    def pairs(self) -> Comparisons:
        """Verdicts on pairs of the trunk's own answers to prompts to learn from."""
        task, num, rng = self.task, self.plan.labels, stream(self.seed, "gold_at_kl", "labels")
        asked = task.draw(num + num // 4, "learn", rng)
        policy = BasePolicy(task.trunk, max_new_tokens=task.max_new_tokens)
        cases = [
            Case(first=a, second=b)
            for a, b in policy.sample(asked, num_samples=2, rng=rng)
            if a.key != b.key
        ][:num]
        assert task.helper is not None
        said = task.helper.critique([r for case in cases for r in case.responses], rng=rng)
        found = []
        for i, case in enumerate(cases):
            notes = tuple(said[2 * i : 2 * i + 2])
            verdict = in_random_order(case, judge=task.rater(1), critiques=notes, rng=rng)
            better, worse = case.responses
            if verdict.preference is Preference.SECOND:
                better, worse = worse, better
            if verdict.preference is not Preference.UNDECIDED:
                found.append(Comparison(chosen=better, rejected=worse, rater=verdict.rater))
        return Comparisons(tuple(found))

    @cached_property
    def readings(self) -> Readings:
        return self.task.trunk.read(self.pairs.responses)

    @cached_property
    def measured(self) -> list[Prompt]:
        """Held-out prompts, of the world's own split for evaluation."""
        rng = stream(self.seed, "gold_at_kl", "measured")
        return Sums().prompts(self.plan.measured, rng, "eval")

    @cached_property
    def trunk_point(self) -> Facts:
        """Where every run starts."""
        return self.point(self.policy())

    def point(self, policy: LoraPolicy) -> Facts:
        """Gold a prompt, KL from the trunk in nats a response, tokens, what answers are made of;
        each policy answers by the same uniforms."""
        task, rng = self.task, stream(self.seed, "gold_at_kl", "answers")
        rolled = policy.roll(self.measured, num_samples=self.plan.measured_samples, rng=rng)
        said = np.array([logps.sum() for logps in rolled.logps])
        with policy.off():
            trunk = policy.logp(rolled.rows, grad=False).double().numpy()
        assert task.gold is not None and task.breakdown is not None
        parts = [task.breakdown(answer) for answer in rolled.flat]
        return {
            "kl": float((said - trunk).mean()),
            "gold": [
                round(float(np.mean([task.gold(r) for r in row])), 3) for row in rolled.responses
            ],
            "tokens": float(np.mean([len(logps) for logps in rolled.logps])),
            "answers": {name: float(np.mean([p[name] for p in parts])) for name in parts[0]},
        }

    def reward(self, head: Head) -> Any:
        """One fit on all labels."""
        fitted = head.fit(self.readings, self.pairs, rng=stream(self.seed, "fit"))
        return fitted.on(self.task.trunk)


def _ours(given: Material, setting: Setting, seen: Seen) -> Facts:
    plan, task = given.plan, given.task
    loop = Online(
        rounds=setting.rounds,
        labels=plan.labels,
        prompts_per_round=setting.prompts // setting.rounds,
        measured_prompts=8,
        head=setting.head,
        optimiser=setting.optimiser(plan),
        curve=(1, 2),
        oracle_samples=1,
        seed=given.seed,
    )
    with (
        tempfile.TemporaryDirectory() as place,
        RunFolder.create(Path(place) / "run", {}, data_hashes={}) as folder,
    ):
        result = loop.run(task, folder, Silent())
        for t in range(1, setting.rounds + 1):
            kept = folder.path(f"round-{t}") / "working"
            seen(LoraPolicy.load(task.trunk, kept, max_new_tokens=task.max_new_tokens))
    rows = result["rounds"]
    return {
        "labels": result["labels_used"],
        "gates": [row["gate"]["decision"] for row in rows],
        "stopped": [row["stopped"] for row in rows],
    }


def _lower(given: Material, setting: Setting, seen: Seen) -> Facts:
    policy, reward, stopped = given.policy(), given.reward(setting.head), []
    for t, prompts in enumerate(given.prompts(), 1):
        rng = stream(given.seed, "optimise", t)
        update = setting.optimiser(given.plan).improve(policy, prompts, reward, rng=rng)
        policy = update.policy
        stopped.append(update.stopped)
        seen(policy)
    return {"labels": len(given.pairs), "stopped": stopped}


def _trl_mean(given: Material, setting: Setting, seen: Seen) -> Facts:
    return _by_trl(given, setting, plugs.trl(given.reward(setting.head), use="mean"), seen)


def _trl_plain(given: Material, setting: Setting, seen: Seen) -> Facts:
    return _by_trl(given, setting, plugs.trl(given.reward(PLAIN), use="mean"), seen)


def _trl_rm(given: Material, setting: Setting, seen: Seen) -> Facts:
    trunk, pairs = given.task.trunk, given.pairs
    model = rival.reward_model(
        trunk, pairs, lr=setting.rm_lr, epochs=setting.rm_epochs, seed=given.seed
    )
    facts = _by_trl(given, setting, model, seen)
    return {**facts, "pairs_learned": rival.accuracy(model, trunk, pairs)}


def _by_trl(given: Material, setting: Setting, reward: Any, seen: Seen) -> Facts:
    plan = given.plan
    rival.improve(
        given.policy(),
        [prompt for part in given.prompts() for prompt in part],
        reward,
        lr=setting.lr,
        batch_size=plan.batch_size,
        num_samples=plan.num_samples,
        every=plan.every // plan.batch_size,
        seen=seen,
        seed=given.seed,
    )
    return {"labels": len(given.pairs)}


ARMS = {
    "ours": _ours,
    "trl-rm": _trl_rm,
    "trl-plain": _trl_plain,
    "trl-mean": _trl_mean,
    "lower": _lower,
}


def run(given: Material, arm: str, setting: Setting) -> Facts:
    """One arm from the trunk to its end, measured at every round's end."""
    points = [given.trunk_point]
    facts = ARMS[arm](given, setting, lambda policy: points.append(given.point(policy)))
    return {**facts, "points": points}
