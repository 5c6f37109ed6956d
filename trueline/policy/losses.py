"""Losses and advantages of the optimisers, as pure functions.

    DPO        - (1 - s) log sigmoid(beta d) - s log sigmoid(-beta d),
               d = log pi/ref(y+) - log pi/ref(y-),   s the share of labels held to be wrong
    surrogate  - min(r_t A, clip(r_t, 1 - eps, 1 + eps) A),   r_t = pi(y_t) / q(y_t), q what sampled
    group      A_k = (R_k - mean_j R_j) / (std_j R_j + 1e-4)
    RLOO       A_k = R_k - mean_{j != k} R_j

Rafailov et al. 2023 (arXiv 2305.18290), smoothed as in Mitchell 2023, "A note on DPO with noisy
preferences"; Schulman et al. 2017 (1707.06347); Shao et al. 2024 (2402.03300); Ahmadian et al. 2024
(2402.14740). Tests hold all against closed forms and TRL's.

Where we differ: an unscored sample is NaN in R and in A and takes no part in its group's baseline;
a group with fewer than two scored samples teaches nothing.

Shapes: B prompts, K samples of each, N rows, T tokens. Units: nats.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

__all__ = [
    "ADVANTAGES",
    "clipped_surrogate",
    "dpo_loss",
    "group_relative",
    "rloo",
]


def dpo_loss(
    chosen_logratio: torch.Tensor,
    rejected_logratio: torch.Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the DPO loss per pair [N] of log-ratios [N] in nats."""
    margin = beta * (chosen_logratio - rejected_logratio)
    right, wrong = F.logsigmoid(margin), F.logsigmoid(-margin)
    return -(1 - label_smoothing) * right - label_smoothing * wrong


def clipped_surrogate(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, *, epsilon: float
) -> torch.Tensor:
    """Return the clipped policy-gradient loss per token [N, T] of advantages [N]."""
    ratio = torch.exp(logps - old_logps)
    weight = advantages[:, None]
    return -torch.minimum(ratio * weight, ratio.clamp(1 - epsilon, 1 + epsilon) * weight)


def group_relative(rewards: np.ndarray) -> np.ndarray:
    """Return rewards standardised within each prompt's group; 0 where all are alike."""
    counts, centred = _centred(rewards)
    spread = np.sqrt(np.nansum(centred**2, 1, keepdims=True) / np.maximum(counts - 1, 1))
    return np.where(counts > 1, centred / (spread + 1e-4), np.nan)


def rloo(rewards: np.ndarray) -> np.ndarray:
    """Return each reward less the mean of the others of its group (leave one out)."""
    counts, centred = _centred(rewards)
    return np.where(counts > 1, centred * counts / np.maximum(counts - 1, 1), np.nan)


def _centred(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each group's scored samples [B, 1] and the deviations from their mean [B, K]."""
    counts = np.isfinite(rewards).sum(1, keepdims=True)
    means = np.nansum(rewards, 1, keepdims=True) / np.maximum(counts, 1)
    return counts, rewards - means


ADVANTAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "group_relative": group_relative,
    "rloo": rloo,
}
"""From rewards [B, K] to advantages [B, K]; NaN = unscored, in both."""
