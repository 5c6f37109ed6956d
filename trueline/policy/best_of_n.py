"""Distilled best-of-n: learn to say at once what the best of n samples would have been.

    y*(x) = argmax_k lower(x, y_k),   y_k ~ pi(.|x),   KL(pi* || pi) = log n - (n - 1) / n
    loss  = - mean_x mean_t log pi(y*_t)

The KL is exact where no two answers score alike and none comes twice, and else an upper bound (Gao
et al. 2022, arXiv 2210.10760; Beirami et al. 2024, arXiv 2401.01879). It moves little and cannot
lower the likelihood of what it does not see: the safe default. Distilling it round by round is
expert iteration / RAFT (Dong et al. 2023, arXiv 2304.06767).

Where we differ: (1) the choice is by the reward's lower bound, not its mean; (2) a prompt whose
samples all score alike teaches nothing and is left out; (3) unscored samples are never chosen.

With `top` = k > 1 the answer is one of the best k, each as likely: a quantiliser at q = k / n
(Taylor 2016, AAAI workshop on AI, ethics and society). Nothing is then said more than 1/q times as
often as before, so that errors of the reward that the policy seldom meets are seldom sought.

Fails where no sample is good: it sharpens what the policy already does now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trueline.errors import InputError
from trueline.models.adapters import LoraPolicy
from trueline.policy.adamw import AdamWSettings
from trueline.policy.limits import Limits, Update
from trueline.policy.samples import Samples
from trueline.policy.sft import imitate
from trueline.protocols import Scorer
from trueline.records import Prompt
from trueline.rng import Rng

__all__ = ["BestOfN"]


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Sample n, keep the best by the lower bound, train the adapter on it."""

    num_samples: int = 8
    """n: samples per prompt."""
    top: int = 1
    """k: the answer is one of the best so many, each as likely; 1 is the best itself."""
    limits: Limits = field(default_factory=Limits)
    """What the new policy may not leave."""
    adamw: AdamWSettings = field(
        default_factory=lambda: AdamWSettings(learning_rate=2e-3, epochs=3)
    )
    """The gradient steps."""

    def __post_init__(self) -> None:
        if not 1 <= self.top <= self.num_samples:
            must = f"top must be between 1 and num_samples ({self.num_samples})"
            raise InputError(must, got=str(self.top))

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: Rng,
    ) -> Update:
        """Return a new policy, distilled from the best of n samples of the given one."""
        return self.limits.improve(
            policy, prompts, scorer, self._distil, num_samples=self.num_samples, rng=rng
        )

    def _distil(self, policy: LoraPolicy, samples: Samples, rng: Rng) -> dict[str, float]:
        chosen = [samples.rollouts.rows[i] for i in self._chosen(samples, rng)]
        return imitate(policy, chosen, self.adamw, rng=rng)

    def _chosen(self, samples: Samples, rng: Rng) -> np.ndarray:
        """Return the row that each informative prompt's answer is."""
        if self.top == 1:
            return samples.extremes()[0]
        used = np.array(samples.informative())
        best_first = np.argsort(-samples.lower[used], axis=1)  # unscored ones come last
        most = np.minimum(self.top, np.isfinite(samples.lower[used]).sum(1))
        place = best_first[np.arange(len(used)), rng.integers(most)]
        return np.asarray(used * samples.lower.shape[1] + place)
