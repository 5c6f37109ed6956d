"""How far an improvement may go: from the trunk, and away from the reward's data.

    KL(pi || trunk) = E_pi[log pi(y) - log trunk(y)] <= kl_budget - one standard error
    P_pi(novelty(y) > novelty_limit) <= 1/2

A policy that is over a limit is taken back along the line between the old adapter and the new one,
theta(s) = theta_old + s (theta_new - theta_old), to the largest s in 32nds, by bisection, that
keeps both on fresh samples. The same uniforms are used for every s, so that the answers of two s
differ by what the policies differ in.

The KL is always that from the trunk: a chain of small steps ends anywhere. Stopping at a KL is the
one remedy against over-optimisation that Gao et al. 2022 (arXiv 2210.10760) found in a KL penalty;
interpolating adapters: Ramé et al. 2024 (WARP, arXiv 2406.16768), who go back towards the trunk,
not towards the last policy.

Units: nats a response. Fails where the old policy is itself over a limit: it is handed back as it
is. The limits hold for the mean over prompts, as exactly as 128 samples tell (0.2 nats at 3 nats).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch

from trueline.errors import InputError
from trueline.models.adapters import LoraPolicy
from trueline.policy.samples import Samples
from trueline.progress import track
from trueline.protocols import Scorer
from trueline.records import Prompt
from trueline.rng import Rng, torch_seed

__all__ = ["Learn", "Limits", "Update"]

Learn = Callable[[LoraPolicy, Samples, Rng], dict[str, float]]
"""Learn from samples, changing the policy in place; return what was measured."""
_SAMPLES, _HALVINGS, _FAR = 128, 5, 0.5


@dataclass(frozen=True, kw_only=True)
class Update:
    """A new policy and what was done to get it; the policy given in is left as it was."""

    policy: LoraPolicy
    """The very policy given in where nothing was learned."""
    stopped: str | None = None
    """Why less was done than asked: "novelty" (label more before going on), "kl" (the budget was
    reached), "unscored" (no sample was scored), "alike" (every prompt's samples scored alike);
    None: all was done."""
    stats: Mapping[str, float] = field(default_factory=dict)
    """What was measured, and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What no update may leave; `inf` = no such limit."""

    kl_budget: float = 3.0
    """Mean KL from the trunk, in nats a response, of both at the sampling temperature; for answers
    of some 30 tokens, raise it for long ones."""
    novelty_limit: float = 2.0
    """How novel half of the samples may be at most; 1 = as the reward's own data usually are."""

    def __post_init__(self) -> None:
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)):
            if not value > 0:
                raise InputError(f"{name} must be above 0, or inf for none", got=str(value))

    def broken(self, samples: Samples) -> str | None:
        """Return which limit the policy of these samples is over; None if none."""
        novelty = samples.novelty[np.isfinite(samples.novelty)]
        if len(novelty) and (novelty > self.novelty_limit).mean() > _FAR:
            return "novelty"
        return "kl" if self.kl_spent(samples) else None

    def kl_spent(self, samples: Samples) -> bool:
        """Return whether the policy of these samples is over the KL budget."""
        kl = samples.log_ratio
        upper = float(kl.mean()) + float(kl.std()) / kl.size**0.5
        # A KL that cannot be measured counts as over.
        return self.kl_budget < math.inf and not upper <= self.kl_budget

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        learn: Learn,
        *,
        num_samples: int,
        rng: Rng,
    ) -> Update:
        """Return what `learn` makes of one drawing of samples, as far as the limits allow."""
        seed = torch_seed(rng)
        samples = Samples.draw(policy, prompts, scorer, num_samples, rng=rng)
        if stopped := self.broken(samples) or samples.uninformative():
            stats = samples.counts() | samples.stats()
            return Update(policy=policy, stats=stats, stopped=stopped)
        new = policy.copy()
        stats = samples.counts() | learn(new, samples, rng)
        return self.keep(policy, new, prompts, scorer, seed=seed, stats=stats)

    def keep(
        self,
        old: LoraPolicy,
        new: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        seed: int,
        stats: Mapping[str, float],
    ) -> Update:
        """Take `new` back towards `old`, in place, as far as the limits ask; the first 128 prompts
        are answered by every policy on the line with the same `seed`."""
        if self.kl_budget == self.novelty_limit == math.inf:
            return Update(policy=new, stats=stats)
        starts, ends = ([p.detach().clone() for p in each.trainable()] for each in (old, new))
        frac, too_far = 0.0, 2.0
        kept: Samples | None = None
        over: str | None = None
        for _ in track(range(1 + _HALVINGS), "limits"):
            middle = (frac + too_far) / 2  # First the whole step, then bisection.
            _interpolate(new, starts, ends, middle)
            samples = _answers(new, prompts, scorer, seed)
            if limit := self.broken(samples):
                over, too_far = over or limit, middle
                continue
            frac, kept = middle, samples
            if over is None:
                break
        _interpolate(new, starts, ends, frac)
        stats = {**stats, **(kept.stats() if kept else {}), "step_frac": frac}
        return Update(policy=new if kept else old, stats=stats, stopped=over)


def _answers(policy: LoraPolicy, prompts: Sequence[Prompt], scorer: Scorer, seed: int) -> Samples:
    """Return samples always drawn by the same uniforms, and said by the model itself."""
    sampler, policy.sampler = policy.sampler, None
    asked = prompts[:_SAMPLES]
    num_samples = -(-_SAMPLES // max(1, len(asked)))
    try:
        return Samples.draw(policy, asked, scorer, num_samples, rng=np.random.default_rng(seed))
    finally:
        policy.sampler = sampler


@torch.no_grad()
def _interpolate(
    policy: LoraPolicy, starts: list[torch.Tensor], ends: list[torch.Tensor], frac: float
) -> None:
    for parameter, start, end in zip(policy.trainable(), starts, ends, strict=True):
        parameter.copy_(torch.lerp(start, end, frac))
