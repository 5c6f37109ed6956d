"""Losses and advantages of the optimisers, as pure functions.

    DPO        - log sigmoid(beta * [log pi/ref(y+) - log pi/ref(y-)])
    surrogate  - min(r_t A, clip(r_t, 1 - eps, 1 + eps) A),   r_t = pi(y_t) / pi_old(y_t)
    KL (k3)    r - 1 - log r,   r = ref / pi
    group      A_k = (R_k - mean_j R_j) / (std_j R_j + 1e-4)
    RLOO       A_k = R_k - mean_{j != k} R_j

Rafailov et al. 2023 (2305.18290); Schulman et al. 2017 (1707.06347); Shao et al. 2024 (2402.03300);
Ahmadian et al. 2024 (2402.14740). Tests hold them against closed forms and against TRL's.

Where we differ: an unscored sample is NaN in R and in A and takes no part in its group's baseline;
a group with fewer than two scored samples teaches nothing.

Shapes: B prompts, K samples of each, N rows, T tokens. Units: nats.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["Advantages", "clipped_surrogate", "dpo_loss", "group_relative", "kl_k3", "rloo"]

Advantages = Callable[[np.ndarray], np.ndarray]
"""From rewards [B, K] to advantages [B, K]; NaN = unscored, in both."""


def dpo_loss(
    chosen_logratio: torch.Tensor, rejected_logratio: torch.Tensor, *, beta: float
) -> torch.Tensor:
    """-log sigmoid(beta * (chosen - rejected)), per pair [N]; log-ratios in nats."""
    return -F.logsigmoid(beta * (chosen_logratio - rejected_logratio))


def clipped_surrogate(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, *, epsilon: float
) -> torch.Tensor:
    """The clipped policy-gradient loss per token [N, T] of advantages [N]."""
    ratio = torch.exp(logps - old_logps)
    weight = advantages[:, None]
    return -torch.minimum(ratio * weight, ratio.clamp(1 - epsilon, 1 + epsilon) * weight)


def kl_k3(logps: torch.Tensor, reference_logps: torch.Tensor) -> torch.Tensor:
    """The never-negative estimate of KL(pi || ref) from samples of pi, same shape."""
    gap = reference_logps - logps
    return torch.expm1(gap) - gap


def group_relative(rewards: np.ndarray) -> np.ndarray:
    """Rewards standardised within each prompt's group; 0 where all are alike."""
    counts, centred = _centred(rewards)
    spread = np.sqrt(np.nansum(centred**2, 1, keepdims=True) / np.maximum(counts - 1, 1))
    return np.where(counts > 1, centred / (spread + 1e-4), np.nan)


def rloo(rewards: np.ndarray) -> np.ndarray:
    """Reward less the mean of the others of its group (leave one out)."""
    counts, centred = _centred(rewards)
    return np.where(counts > 1, centred * counts / np.maximum(counts - 1, 1), np.nan)


def _centred(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of each group are scored [B, 1], and the deviations from their mean [B, K]."""
    counts = np.isfinite(rewards).sum(1, keepdims=True)
    means = np.nansum(rewards, 1, keepdims=True) / np.maximum(counts, 1)
    return counts, rewards - means
