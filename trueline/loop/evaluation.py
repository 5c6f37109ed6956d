"""What a round is evaluated by, on prompts that serve for nothing else.

Numbers of a reward are given relative to the base policy's answers to the same prompts, because
the reward is fitted anew each round and its zero moves with it. KL is the mean over sampled
answers of log pi(y|x) - log pi_ref(y|x), in nats per response; unbiased, so it may come out below
zero near the start. Gold is reported where a world knows it and used for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueline import stats
from trueline.loop.task import Task
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.reading import Readings
from trueline.models.sampling import Rollouts
from trueline.records import Comparison, Prompt, Response
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["Evaluation", "agreement_with_gold", "answer", "calibration", "mean", "read"]


def mean(values: Sequence[float] | np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Return a mean with its interval, as it stands in results."""
    return stats.mean(np.asarray(values, dtype=np.float64), rng=rng).as_dict()


@dataclass(frozen=True)
class Evaluation:
    """The prompts set apart for evaluation and the base policy's answers to them."""

    task: Task
    seed: int
    prompts: list[Prompt]
    base: list[Response]
    base_readings: Readings

    @classmethod
    def start(cls, task: Task, num_prompts: int, seed: int) -> Evaluation:
        """Draw the prompts and let the trunk itself answer them."""
        prompts = task.draw(num_prompts, "measure", stream(seed, "measure", "prompts"))
        policy = BasePolicy(task.trunk, max_new_tokens=task.max_new_tokens)
        base = answer(policy, prompts, seed).flat
        return cls(task, seed, prompts, base, read(task, base))

    def of(self, policy: LoraPolicy, reward: Fitted) -> dict[str, Any]:
        """Return gold, proxy, KL, uncertainty, novelty and length of a policy under a reward."""
        rolled = answer(policy, self.prompts, self.seed)
        answers, ends = rolled.flat, self.task.trunk.codec.appends_end
        readings = read(self.task, answers)
        now, before = reward.score(readings), reward.score(self.base_readings)
        both = now.scored & before.scored
        rng = stream(self.seed, "measure", "bootstrap")
        # Scored again and not as sampled: a reading ends an answer that was cut, sampling did not.
        logp = policy.logp(answers, grad=False).double().cpu().numpy()
        return {
            **self.gold(answers),
            "proxy": mean((now.mean - before.mean)[both], rng),
            "proxy_lower": mean((now.lower - before.lower)[both], rng),
            "kl": mean(logp - readings.logp, rng),
            "doubt": mean(now.std[now.scored], rng),
            "novelty": mean(now.novelty[now.scored], rng),
            "length": mean([float(r.num_tokens or 0) for r in answers], rng),
            "unscored": int((~now.scored).sum()),
            # Where answers have no end, all go on until they are cut.
            "cut": int((~rolled.ended).sum()) if ends else None,
        }

    def gold(self, answers: Sequence[Response]) -> dict[str, Any]:
        """Return mean gold and what the answers are made of; None where nobody knows."""
        task, rng = self.task, stream(self.seed, "measure", "gold")
        gold = None if task.gold is None else mean([task.gold(r) for r in answers], rng)
        parts = None
        if task.breakdown is not None:
            rows = [task.breakdown(r) for r in answers]
            parts = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return {"gold": gold, "gold_breakdown": parts}


def read(task: Task, answers: Sequence[Response]) -> Readings:
    """Return readings with one row an answer, in order, repeated answers repeated."""
    readings = task.trunk.read(answers)
    return readings.take(readings.rows([r.key for r in answers]))


def answer(policy: BasePolicy, prompts: Sequence[Prompt], seed: int) -> Rollouts:
    """Return one answer a prompt; the same stream for every policy, so that they are paired."""
    return policy.rollouts(prompts, num_samples=1, rng=stream(seed, "measure", "answers"))


def calibration(
    reward: Fitted | None, readings: Readings, comparisons: Sequence[Comparison], *, seed: int
) -> dict[str, Any]:
    """Return what the reward predicted of comparisons it has not learned from, and what came.

    The prediction is the moderated probability (MacKay 1992; the share of random labels counted in)
    that the first answer wins, "first" being settled by content hash and not by who won. Pairs that
    the reward cannot score are left out.
    """
    missing = {"accuracy": None, "calibration": None}
    if reward is None or not comparisons:
        return missing
    keys = np.array([sorted((c.chosen.key, c.rejected.key)) for c in comparisons])
    first, second = (readings.rows(list(keys[:, side])) for side in (0, 1))
    margin, std = reward.margin(readings, first, second)
    known = np.isfinite(margin) & np.isfinite(std)
    if not known.any():
        return missing
    won = np.array([c.chosen.key for c in comparisons]) == keys[:, 0]
    won, margin, std = won[known].astype(float), margin[known], std[known]
    predicted = reward.win_probability(margin, std)
    rng = stream(seed, "measure", "calibration")
    right = np.where(margin == 0, 0.5, (margin > 0) == (won == 1))
    bins = _bins(predicted, won, rng)
    accuracy = stats.accuracy(right.astype(float), rng=rng).as_dict()
    ece = stats.calibration_error(predicted, won, rng=rng).as_dict()
    return {"accuracy": accuracy, "calibration": {"bins": bins, "ece": ece}}


def _bins(predicted: np.ndarray, won: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return predicted and observed shares in five bins of about equal size."""
    edges = np.quantile(predicted, np.linspace(0, 1, 6)[1:-1])
    bins = []
    for group in range(5):
        inside = np.digitize(predicted, edges) == group
        if inside.any():
            observed = stats.accuracy(won[inside], rng=rng).as_dict()
            share = {"predicted": float(predicted[inside].mean()), "observed": observed["value"]}
            bins.append(share | {name: observed[name] for name in ("lower", "upper", "n")})
    return bins


def agreement_with_gold(
    task: Task, comparisons: Sequence[Comparison], *, seed: int
) -> dict[str, Any] | None:
    """Return the share of labels that prefer the better answer, pairs of equal gold left out."""
    if task.gold is None:
        return None
    gaps = np.array([task.gold(c.chosen) - task.gold(c.rejected) for c in comparisons])
    rng = stream(seed, "measure", "agreement")
    return stats.accuracy((gaps[gaps != 0] > 0).astype(float), rng=rng).as_dict()
