"""What an optimiser gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trueline.models.adapters import LoraPolicy

__all__ = ["Update"]


@dataclass(frozen=True, kw_only=True)
class Update:
    """A new policy and what was done to get it; the policy given in is left as it was."""

    policy: LoraPolicy
    """The very policy given in where nothing was learned."""
    stopped: str | None = None
    """Why less was done than asked: "novelty" (label more before going on), "kl" or "entropy" (a
    limit was reached), "unscored" (no sample was scored), "alike" (every prompt's samples scored
    alike); None: all was done."""
    stats: Mapping[str, float] = field(default_factory=dict)
    """What was measured, and nothing else."""
