"""K samples of each of B prompts with the lower bound of their reward: what optimisers start from.

`lower` is [B, K] float64; an unscored sample is NaN *inside this file only*, so that every choice
below skips it: `informative` says which prompts teach anything at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trueline.models.adapters import LoraPolicy
from trueline.models.rollouts import Rollouts
from trueline.records import Prompt, Response
from trueline.roles import Scorer

__all__ = ["Samples"]


@dataclass(frozen=True)
class Samples:
    """Responses and their lower bounds, row b answering prompt b."""

    rollouts: Rollouts
    lower: np.ndarray
    """float64 [B, K], NaN = unscored."""

    @classmethod
    def draw(
        cls,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        num_samples: int,
        rng: np.random.Generator,
    ) -> Samples:
        """Sample at temperature 1 and score everything in one pass. Where answers have an end, one
        that was cut before it is no answer, and unscored."""
        rollouts = policy.roll(prompts, num_samples=num_samples, rng=rng)
        flat = rollouts.flat
        scores = scorer.score([r.prompt for r in flat], [r.text for r in flat])
        whole = rollouts.ended | (not policy.trunk.codec.appends_end)
        lower = np.where(scores.scored & whole, scores.lower, np.nan).astype(np.float64)
        return cls(rollouts, lower.reshape(len(prompts), num_samples))

    @property
    def responses(self) -> list[list[Response]]:
        """B lists of K."""
        return self.rollouts.responses

    @property
    def unscored_frac(self) -> float:
        return float(np.isnan(self.lower).mean())

    def informative(self) -> list[int]:
        """Prompts with at least two scored samples that do not all score alike."""
        return [
            b
            for b, value in enumerate(self.lower)
            if np.isfinite(value).sum() >= 2 and np.nanmax(value) > np.nanmin(value)
        ]

    def best(self, b: int) -> Response:
        """Prompt b's sample with the highest lower bound."""
        return self.responses[b][int(np.nanargmax(self.lower[b]))]

    def worst(self, b: int) -> Response:
        """Prompt b's scored sample with the lowest lower bound."""
        return self.responses[b][int(np.nanargmin(self.lower[b]))]
