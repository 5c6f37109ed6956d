"""Supervised fine-tuning: learn to say what demonstrations say, before any reward.

    loss = - mean_i mean_t log pi(y_it | x_i, y_i<t)      y_i with its end of turn

The first step of Stiennon et al. 2020 (arXiv 2009.01325) and Ouyang et al. 2022 (InstructGPT, arXiv
2203.02155): what a reward then picks from are answers that resemble those of people. The reference
of the KL stays the trunk, for what the demonstrations moved was moved too.

Where we differ: an answer counts as one, however long it is; only an adapter is trained, at the
temperature that the policy answers at.
Fails where demonstrations are few and alike: the policy says them by heart, and varies no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trueline.errors import InputError
from trueline.models.adapters import LoraPolicy
from trueline.models.chat_format import Encoded
from trueline.policy.adamw import AdamWSettings
from trueline.records import Response
from trueline.rng import Rng

__all__ = ["SFT", "imitate"]


@dataclass(frozen=True, kw_only=True)
class SFT:
    """How demonstrations are learned from."""

    adamw: AdamWSettings = field(
        default_factory=lambda: AdamWSettings(learning_rate=1e-3, epochs=3)
    )
    """The gradient steps; a chat model wants a rate of about 3e-4."""

    def fit(
        self, policy: LoraPolicy, demonstrations: Sequence[Response], *, rng: Rng
    ) -> tuple[LoraPolicy, dict[str, float]]:
        """Return a new policy that has learned from the demonstrations, and how its loss fell, in
        nats a token; `InputError` where there is none."""
        if not demonstrations:
            raise InputError("there must be a demonstration to learn from", got="none")
        new = policy.copy()
        told = imitate(new, new.trunk.codec.encode(demonstrations), self.adamw, rng=rng)
        return new, {"demonstrations": float(len(demonstrations)), **told}


def imitate(
    policy: LoraPolicy, rows: Sequence[Encoded], adamw: AdamWSettings, *, rng: Rng
) -> dict[str, float]:
    """Train the policy to say these answers, in place; return the first step's and the last's loss
    in nats a token."""

    def loss(items: np.ndarray) -> torch.Tensor:
        logps, mask = policy.token_logps([rows[i] for i in items])
        return -(logps * mask).sum(1) / mask.sum(1).clamp(min=1)

    longest = max(len(row.ids) for row in rows)
    losses = adamw.minimise(policy, loss, len(rows), num_tokens=longest, rng=rng)
    return {"loss_first": losses[0], "loss_last": losses[-1]}
