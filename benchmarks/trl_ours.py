"""Our arm of the comparison with TRL: the package as anyone would call it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trl_clock import Clock
from benchmarks.trl_setting import Setting
from trueline.data.comparisons import Comparisons
from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.policy.adamw import AdamWSettings
from trueline.policy.grpo import GRPO
from trueline.policy.limits import Limits
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rewards.fitted import FittedReward
from trueline.rng import stream

__all__ = ["accuracy", "fit", "improve", "keep", "observed"]

MICRO = 8
"""Rows of a forward and backward pass, as in TRL's arm: the samples of one prompt."""


def improve(
    setting: Setting, trunk: Trunk, reward: FittedReward, clock: Clock, *, num_steps: int
) -> None:
    """So many steps of GRPO on the reward's lower bound, without limits: every step is made."""
    optimiser = GRPO(
        num_samples=setting.num_samples,
        beta=0.04,
        limits=Limits(kl_budget=math.inf, novelty_limit=math.inf),
        adamw=AdamWSettings(
            learning_rate=1e-4, batch_size=setting.num_prompts, micro_batch_size=MICRO
        ),
    )
    policy = LoraPolicy.create(
        trunk, rank=16, rng=stream(0, "adapter"), max_new_tokens=setting.max_new_tokens
    )
    with observed(clock):
        optimiser.improve(
            policy, setting.prompts(num_steps), reward.on(trunk), rng=stream(0, "improve")
        )
        clock.mark()


def fit(trunk: Trunk, folder: Path) -> FittedReward:
    """The reward on the pairs' readings, which are made here."""
    pairs = Comparisons.load(folder / "train.jsonl.gz")
    head = Conservative(head=Bayesian())
    fitted = head.fit(trunk.read(pairs), pairs, rng=stream(0, "fit"))
    assert isinstance(fitted, FittedReward)
    return fitted


def accuracy(reward: FittedReward, trunk: Trunk, folder: Path) -> float:
    """Share of the held-out pairs that the reward ranks right."""
    pairs = Comparisons.load(folder / "test.jsonl.gz")
    scorer = reward.on(trunk)
    chosen, rejected = (
        scorer.score([r.prompt for r in side], [r.text for r in side]).mean
        for side in ([c.chosen for c in pairs], [c.rejected for c in pairs])
    )
    return float(np.mean(chosen > rejected))


def keep(reward: FittedReward, trunk: Trunk, folder: Path) -> None:
    """The reward as a folder, and as one that TRL can load; once."""
    from trueline.plugs.exporter import export

    if not (folder / "reward").exists():
        reward.save(folder / "reward")
        export(reward, trunk, folder / "exported")


@contextlib.contextmanager
def observed(clock: Clock) -> Iterator[None]:
    """Book seconds under phases and count tokens; a step begins where its samples are drawn."""
    places: list[tuple[Any, str, str]] = [
        (LoraPolicy, "roll", "sampling"),
        (Trunk, "read", "reward"),
        (LoraPolicy, "logp", "reference"),
    ]
    plain = [getattr(owner, method) for owner, method, _ in places]

    def roll(policy: LoraPolicy, *args: Any, **kwargs: Any) -> Any:
        clock.mark()
        rolled = plain[0](policy, *args, **kwargs)
        clock.tokens += sum(row.stop - row.start for row in rolled.rows)
        return rolled

    LoraPolicy.roll = roll  # type: ignore[method-assign]
    for owner, method, name in places:
        clock.wrap(owner, method, name)
    try:
        yield
    finally:
        for (owner, method, _), inner in zip(places, plain, strict=True):
            setattr(owner, method, inner)
