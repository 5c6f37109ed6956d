"""How far an improvement may go: from the trunk, towards certainty, away from the reward's data.

    KL(pi || trunk) = E_pi[log pi(y) - log trunk(y)] <= kl_budget - one standard error
    H(pi) >= entropy_floor * H(trunk),  H = - E_pi[log pi(y_t)]
    P_pi(novelty(y) > novelty_limit) <= 1/2

A policy that is over a limit is taken back along the line between the old adapter and the new one,
theta(s) = theta_old + s (theta_new - theta_old), to the largest s in 32nds, by bisection, that
keeps all of them on fresh samples. The same uniforms are used for every s, so that the answers of
two s differ by what the policies differ in.

The KL is always that from the trunk, whatever reference an optimiser charges for: a chain of
small steps ends anywhere. Stopping at a KL is the one remedy against over-optimisation that Gao et
al. 2022 (arXiv 2210.10760) found in a KL penalty; interpolating adapters: Ramé et al. 2024 (WARP,
arXiv 2406.16768), who go back towards the trunk, not towards the last policy.

Units: nats a response, nats a token. Fails where the old policy is itself over a limit: it is then
handed back as it is. The limits hold for the mean over prompts, and as exactly as 128 samples can
tell: the standard error is about 0.2 nats at 3 nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from trueline.errors import InputError
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.policy.samples import Samples
from trueline.policy.update import Update
from trueline.protocols import Scorer
from trueline.records import Prompt
from trueline.rng import torch_seed

__all__ = ["LIMITS", "Learn", "Limits", "Watch"]

LIMITS = ("novelty", "kl", "entropy")
"""What `Update.stopped` says where a limit was reached."""

Learn = Callable[[LoraPolicy, Samples, np.random.Generator], dict[str, float]]
"""Trains a policy in place on samples of its own, some of which are informative; what it saw."""

_SAMPLES, _HALVINGS, _FAR = 128, 5, 0.5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What no update may leave; None = no such limit."""

    kl_budget: float | None = 3.0
    """Mean KL from the trunk, in nats a response; for answers of some 30 tokens, raise it for long
    ones."""
    entropy_floor: float | None = 0.25
    """Mean entropy of a token, as a share of the trunk's."""
    novelty_limit: float | None = 2.0
    """How novel half of the samples may be at most; 1 = as the reward's own data usually are."""

    def __post_init__(self) -> None:
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)):
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, or None", got=str(value))

    def watch(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: np.random.Generator,
    ) -> Watch:
        """These limits over one improvement, with samples to hold the new policy to."""
        seed, least, asked = torch_seed(rng), None, prompts[:_SAMPLES]
        if self.entropy_floor is not None:
            trunk = BasePolicy(policy.trunk, max_new_tokens=policy.max_new_tokens)
            said = trunk.roll(asked, num_samples=_each(asked), rng=np.random.default_rng(seed))
            least = -self.entropy_floor * float(np.concatenate(said.logps).mean())
        return Watch(self, prompts, scorer, seed, least)


@dataclass(frozen=True)
class Watch:
    """Limits with the prompts and the stream that they are held to by."""

    limits: Limits
    prompts: Sequence[Prompt]
    scorer: Scorer
    seed: int
    least_entropy: float | None
    """The floor in nats a token; None where there is none."""

    def broken(self, samples: Samples) -> str | None:
        """Which limit the policy of these samples is over; None if none. What cannot be measured
        counts as over."""
        limits, found = self.limits, samples.stats()
        novelty = samples.novelty[np.isfinite(samples.novelty)]
        far = limits.novelty_limit is not None and len(novelty) > 0
        if far and (novelty > limits.novelty_limit).mean() > _FAR:
            return "novelty"
        error = float(samples.log_ratio.std()) / samples.log_ratio.size**0.5
        if limits.kl_budget is not None and not found["kl"] + error <= limits.kl_budget:
            return "kl"
        if self.least_entropy is not None and not found["entropy"] >= self.least_entropy:
            return "entropy"
        return None

    def stop(self, samples: Samples) -> str | None:
        """Why nothing is to be learned from these samples: a limit, or nothing to tell apart."""
        return self.broken(samples) or (None if samples.informative() else samples.silence())

    def look(self, policy: LoraPolicy) -> Samples:
        """Fresh samples of a policy, always by the same uniforms, and said by the model itself."""
        sampler, policy.sampler = policy.sampler, None
        asked, rng = self.prompts[:_SAMPLES], np.random.default_rng(self.seed)
        try:
            return Samples.draw(policy, asked, self.scorer, num_samples=_each(asked), rng=rng)
        finally:
            policy.sampler = sampler

    def round(
        self,
        policy: LoraPolicy,
        learn: Learn,
        *,
        num_samples: int,
        length_penalty: float,
        rng: np.random.Generator,
    ) -> Update:
        """One round on one batch of samples, within the limits."""
        samples = Samples.draw(
            policy,
            self.prompts,
            self.scorer,
            num_samples=num_samples,
            length_penalty=length_penalty,
            rng=rng,
        )
        used = float(len(samples.informative()))
        stats = {"prompts_used": used, "unscored_frac": samples.unscored_frac}
        if stopped := self.stop(samples):
            return Update(policy=policy, stats=stats | samples.stats(), stopped=stopped)
        new = policy.copy()
        return self.settle(policy, new, stats | learn(new, samples, rng))

    def settle(
        self, old: LoraPolicy, new: LoraPolicy, stats: dict[str, float], stopped: str | None = None
    ) -> Update:
        """The new policy, taken back towards the old as far as the limits ask; `new` is changed."""
        if self.limits == _NONE:
            return Update(policy=new, stats=stats, stopped=stopped)
        seen, frac = self.look(new), 1.0
        over = self.broken(seen)
        if over is not None:
            frac, kept = self._bisect(old, new)
            if kept is None:
                return Update(policy=old, stats={**stats, "step_frac": 0.0}, stopped=over)
            seen = kept
        found = {**stats, **seen.stats(), "step_frac": frac}
        return Update(policy=new, stats=found, stopped=stopped or over)

    def _bisect(self, old: LoraPolicy, new: LoraPolicy) -> tuple[float, Samples | None]:
        """Moves `new` to the largest share of its step that keeps the limits."""
        starts, ends = ([p.detach().clone() for p in each.trainable()] for each in (old, new))
        low, high, kept = 0.0, 1.0, None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            _place(new, starts, ends, middle)
            seen = self.look(new)
            if self.broken(seen) is None:
                low, kept = middle, seen
            else:
                high = middle
        _place(new, starts, ends, low)
        return low, kept


def _each(prompts: Sequence[Prompt]) -> int:
    return -(-_SAMPLES // max(1, len(prompts)))


@torch.no_grad()
def _place(
    policy: LoraPolicy, starts: list[torch.Tensor], ends: list[torch.Tensor], frac: float
) -> None:
    for parameter, start, end in zip(policy.trainable(), starts, ends, strict=True):
        parameter.copy_(torch.lerp(start, end, frac))


_NONE = Limits(kl_budget=None, entropy_floor=None, novelty_limit=None)
