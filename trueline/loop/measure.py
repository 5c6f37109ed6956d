"""What a round is measured by, on prompts that serve for nothing else.

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
from trueline.models.rollouts import Rollouts
from trueline.records import Comparison, Estimate, Prompt, Response, Scores
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

__all__ = ["Yardstick", "agreement_with_gold", "calibration", "gain_share"]

Dict = dict[str, Any]


def _mean(values: Sequence[float] | np.ndarray, rng: np.random.Generator) -> Dict:
    return stats.mean(np.asarray(values, dtype=np.float64), rng=rng).as_dict()


@dataclass(frozen=True)
class Yardstick:
    """The prompts set apart for measuring and the base policy's answers to them."""

    task: Task
    policy: BasePolicy
    """The trunk itself."""
    prompts: list[Prompt]
    base: list[Response]
    base_readings: Readings
    seed: int

    @classmethod
    def make(cls, task: Task, num_prompts: int, seed: int) -> Yardstick:
        policy = BasePolicy(task.trunk, max_new_tokens=task.max_new_tokens)
        prompts = task.draw(num_prompts, "measure", stream(seed, "measure", "prompts"))
        base = answer(policy, prompts, seed).flat
        return cls(task, policy, prompts, base, read(task, base), seed)

    @property
    def gold_base(self) -> Dict | None:
        """Mean gold of the base policy's answers."""
        gold: Dict | None = self.gold(self.base)["gold"]
        return gold

    def measure(self, policy: LoraPolicy, reward: Fitted) -> Dict:
        """Gold, proxy, KL, doubt, novelty and length of one policy under one reward."""
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
            "proxy": _mean((now.mean - before.mean)[both], rng),
            "proxy_lower": _mean((now.lower - before.lower)[both], rng),
            "kl": _mean(logp - readings.logp, rng),
            "doubt": _mean(now.std[now.scored], rng),
            "novelty": _mean(now.novelty[now.scored], rng),
            "length": _mean([float(r.num_tokens or 0) for r in answers], rng),
            "unscored": int((~now.scored).sum()),
            # Where answers have no end, all go on until they are cut.
            "cut": int((~rolled.ended).sum()) if ends else None,
        }

    def gold(self, answers: Sequence[Response]) -> Dict:
        """Mean gold and what the answers are made of, or None where nobody knows."""
        task, rng = self.task, stream(self.seed, "measure", "gold")
        gold = None if task.gold is None else _mean([task.gold(r) for r in answers], rng)
        parts = None
        if task.breakdown is not None:
            rows = [task.breakdown(r) for r in answers]
            parts = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return {"gold": gold, "gold_breakdown": parts}

    def oracle(self, *, num_samples: int) -> np.ndarray | None:
        """Gold of the truly best of n base samples, per prompt [B]."""
        if self.task.gold is None:
            return None
        rng = stream(self.seed, "measure", "oracle")
        rows = self.policy.sample(self.prompts, num_samples=num_samples, rng=rng)
        return np.array([max(self.task.gold(r) for r in row) for row in rows])

    def best_of_n(self, reward: Fitted, *, num_prompts: int, num_samples: int) -> Dict | None:
        """Gold of best-of-n by the reward's mean, by its lower bound, and by gold itself."""
        gold_of = self.task.gold
        if gold_of is None:
            return None
        prompts = self.prompts[:num_prompts]
        rng = stream(self.seed, "measure", "best-of-n")
        rows = self.policy.sample(prompts, num_samples=num_samples, rng=rng)
        scores = reward.score(read(self.task, [r for row in rows for r in row]))
        shape = (len(prompts), num_samples)
        gold = np.array([[gold_of(r) for r in row] for row in rows])
        ns = [2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples]
        judged = {
            "plain": scores.to_pick("mean").reshape(shape),
            "conservative": scores.to_pick("lower").reshape(shape),
            "oracle": gold,
        }
        curves = {
            name: [_mean(stats.best_of_n(proxy, gold, n), rng) for n in ns]
            for name, proxy in judged.items()
        }
        return {"n": ns, **curves}

    def side_by_side(
        self, policy: LoraPolicy, reward: Fitted, *, num_samples: int = 12
    ) -> list[Dict]:
        """The same prompts answered before and after, with what reward and gold say of each."""
        after = answer(policy, self.prompts, self.seed).flat[:num_samples]
        before = self.base[:num_samples]
        columns = [
            self._described(answers, reward.score(read(self.task, answers)))
            for answers in (before, after)
        ]
        return [
            {"prompt": p.text, "before": b, "after": a}
            for p, b, a in zip(self.prompts, *columns, strict=False)
        ]

    def _described(self, answers: Sequence[Response], scores: Scores) -> list[Dict]:
        gold = self.task.gold
        return [
            {
                "text": r.text,
                "gold": None if gold is None else gold(r),
                "mean": s.mean,
                "std": s.std,
            }
            for r, s in zip(answers, scores, strict=True)
        ]


def answer(policy: BasePolicy, prompts: Sequence[Prompt], seed: int) -> Rollouts:
    """One answer a prompt; the same stream for every policy, so that differences are paired."""
    return policy.roll(prompts, num_samples=1, rng=stream(seed, "measure", "answers"))


def read(task: Task, answers: Sequence[Response]) -> Readings:
    """Readings with one row an answer, in order, repeated answers repeated."""
    readings = task.trunk.read(answers)
    return readings.take(readings.rows([r.key for r in answers]))


def calibration(
    reward: Fitted | None,
    readings: Readings,
    comparisons: Sequence[Comparison],
    *,
    seed: int,
) -> Dict:
    """What the reward foretold of comparisons it has not learned from, against what came.

    Foretold is the moderated probability (MacKay 1992; the share of random labels counted in) that
    the first answer wins, "first" being settled by content hash and not by who won.
    """
    if reward is None or not comparisons:
        return {"accuracy": None, "calibration": None}
    pairs = [
        (c.chosen, c.rejected, 1.0)
        if c.chosen.key < c.rejected.key
        else (c.rejected, c.chosen, 0.0)
        for c in comparisons
    ]
    rows = [readings.rows([pair[side].key for pair in pairs]) for side in (0, 1)]  # type: ignore[union-attr]
    mean, std = reward.margin(readings, *rows)
    won = np.array([pair[2] for pair in pairs])
    foretold = reward.win_probability(mean, std)
    rng = stream(seed, "measure", "calibration")
    right = np.where(mean == 0, 0.5, (mean > 0) == (won == 1))
    edges = np.quantile(foretold, np.linspace(0, 1, 6)[1:-1])
    bins = []
    for group in range(5):
        inside = np.digitize(foretold, edges) == group
        if inside.any():
            observed = stats.accuracy(won[inside], rng=rng)
            bins.append(
                {
                    "predicted": float(foretold[inside].mean()),
                    "observed": observed.value,
                    "lower": observed.lower,
                    "upper": observed.upper,
                    "n": observed.n,
                }
            )
    return {
        "accuracy": stats.accuracy(right.astype(float), rng=rng).as_dict(),
        "calibration": {
            "bins": bins,
            "ece": stats.calibration_error(foretold, won, rng=rng).as_dict(),
        },
    }


def agreement_with_gold(task: Task, comparisons: Sequence[Comparison], *, seed: int) -> Dict | None:
    """Share of labels that prefer the truly better answer; pairs of equal gold are left out."""
    if task.gold is None:
        return None
    gaps = np.array([task.gold(c.chosen) - task.gold(c.rejected) for c in comparisons])
    rng = stream(seed, "measure", "agreement")
    return stats.accuracy((gaps[gaps != 0] > 0).astype(float), rng=rng).as_dict()


def gain_share(base: np.ndarray, final: np.ndarray, oracle: np.ndarray, *, seed: int) -> Dict:
    """(final - base) / (oracle - base) over prompts [B]; not measured where the oracle's gain is
    not clearly above zero, because a ratio to nothing means nothing."""
    rng = stream(seed, "measure", "gain")
    whole = stats.mean(oracle - base, rng=rng)
    if whole.lower is None or whole.lower <= 0:
        return Estimate(None, None, None, len(base)).as_dict()

    def share(b: np.ndarray, f: np.ndarray, o: np.ndarray) -> float:
        return float((f.mean() - b.mean()) / (o.mean() - b.mean()))

    return stats.bootstrap(share, base, final, oracle, rng=rng).as_dict()
