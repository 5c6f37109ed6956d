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
    stats: Mapping[str, float] = field(default_factory=dict)
