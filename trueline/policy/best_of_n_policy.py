"""Best-of-n as a policy: it says the best of n tries, and nothing is trained.

    y*(x) = argmax_k lower(x, y_k),   y_1 .. y_n ~ pi(.|x),   KL(pi* || pi) = log n - (n - 1) / n

The KL is exact where no two answers score alike and no answer comes twice, and else an upper bound
(Gao et al. 2022, arXiv 2210.10760; Beirami et al. 2024, arXiv 2401.01879). Where we differ: the
choice is by the reward's lower bound; an unscored try is chosen only where all n are unscored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trueline.errors import InputError
from trueline.protocols import Policy, Scorer
from trueline.records import Prompt, Response

__all__ = ["BestOfNPolicy"]


class BestOfNPolicy:
    """A policy whose every answer is the best of `num_samples` of another's, by the lower bound."""

    def __init__(self, policy: Policy, scorer: Scorer, num_samples: int) -> None:
        if num_samples < 1:
            raise InputError("num_samples must be at least 1", got=str(num_samples))
        self.policy, self.scorer, self.num_samples = policy, scorer, num_samples

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        num_samples: int,
        rng: np.random.Generator,
        temperature: float = 1.0,
    ) -> list[list[Response]]:
        """K answers to each of B prompts. Their `logp` is None: nobody knows how likely the best
        of n is."""
        tries = self.policy.sample(
            prompts, num_samples=num_samples * self.num_samples, rng=rng, temperature=temperature
        )
        flat = [response for row in tries for response in row]
        scores = self.scorer.score([r.prompt for r in flat], [r.text for r in flat])
        worth = scores.to_pick("lower").reshape(-1, self.num_samples)
        picked = np.arange(len(worth)) * self.num_samples + worth.argmax(1)
        best = [replace(flat[i], logp=None) for i in picked]
        return [best[i : i + num_samples] for i in range(0, len(best), num_samples)]
