"""What the KL charge pulls towards, and where it is charged.

    reference   trunk (always the same), or the iterate that a round began with
    in_reward   R = lower - beta [log pi(y) - log ref(y)]
    in_loss     loss_t += beta k3(pi(y_t), trunk(y_t))

The iterated reference is that of the released code of Dong et al. 2024 (arXiv 2405.07863), where
each round starts from the last; it forgets the trunk, so that only `Limits.kl_budget` keeps a run
near it. As a reward, the charge's gradient is that of the KL; as a loss on tokens sampled once
(Shao et al. 2024, arXiv 2402.03300), it is not, and it needs a pass that the former does not.

Shapes: B prompts, K samples of each, N rows, T tokens. Units: nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.models.tokens import Encoded
from trueline.policy.samples import Samples

__all__ = [
    "Charge",
    "Reference",
    "in_loss",
    "in_reward",
    "last_iterate",
    "trunk",
    "trunk_token_logps",
]

Reference = Callable[[LoraPolicy, Samples], np.ndarray]
"""From the policy that a round began with, and samples, to log ref(y) [B, K]."""
Charge = Callable[[LoraPolicy, Samples, np.ndarray, float], tuple[np.ndarray, torch.Tensor | None]]
"""From policy, samples, log ref(y) and beta to rewards [B, K], and the trunk's log-probabilities of
tokens [N, T] where the loss is to be charged for them."""


def trunk(_: LoraPolicy, samples: Samples) -> np.ndarray:
    """The frozen trunk, read off the reward's own pass."""
    return samples.reference


def last_iterate(start: LoraPolicy, samples: Samples) -> np.ndarray:
    """The policy that this round began with, by a pass of its own."""
    logps = start.logp(samples.rollouts.rows, grad=False)
    return logps.double().cpu().numpy().reshape(samples.reference.shape)


def in_reward(
    _: LoraPolicy, samples: Samples, reference: np.ndarray, beta: float
) -> tuple[np.ndarray, torch.Tensor | None]:
    """The charge as a part of the reward, a number a sample."""
    return samples.lower - beta * (samples.logp - reference), None


def in_loss(
    policy: LoraPolicy, samples: Samples, _: np.ndarray, beta: float
) -> tuple[np.ndarray, torch.Tensor | None]:
    """The charge on each token, from the trunk."""
    return samples.lower, trunk_token_logps(policy, samples.rollouts.rows) if beta else None


def trunk_token_logps(policy: LoraPolicy, rows: Sequence[Encoded]) -> torch.Tensor:
    """Each token's log-probability with the adapter off, [N, T]."""
    with policy.off():
        return policy.token_logps(rows, grad=False)[0]
