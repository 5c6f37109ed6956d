"""Losses and advantages of the optimisers, as pure functions.

    DPO        - (1 - s) log sigmoid(beta d) - s log sigmoid(-beta d),
               d = log pi/ref(y+) - log pi/ref(y-),   s the share of labels held to be wrong
    surrogate  - min(r_t A, clip(r_t, 1 - eps, 1 + eps) A),   r_t = pi(y_t) / pi_old(y_t)
    lag        min(pi_old(y_t) / q(y_t), cap)                 q: what really sampled the tokens
    KL (k3)    r - 1 - log r,   r = ref / pi
    group      A_k = (R_k - mean_j R_j) / (std_j R_j + 1e-4)
    RLOO       A_k = R_k - mean_{j != k} R_j

Rafailov et al. 2023 (arXiv 2305.18290), smoothed as in Mitchell 2023, "A note on DPO with noisy
preferences"; Schulman et al. 2017 (1707.06347); Shao et al. 2024 (2402.03300); Ahmadian et al. 2024
(2402.14740); truncated importance weights: Ionides 2008, for a sampler that lags Yao et al. 2025,
"Your efficient RL framework secretly brings you off-policy RL training". A row's tokens are summed
over its own length (GRPO), the batch's mean length (DAPO: Yu et al. 2025, 2503.14476) or the room
there was (Dr. GRPO: Liu et al. 2025, 2503.20783). Tests hold all against closed forms and TRL's.

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
    "Advantages",
    "Divisor",
    "Lag",
    "batch_length",
    "clipped_surrogate",
    "dpo_loss",
    "group_relative",
    "kl_k3",
    "own_length",
    "rloo",
    "room_length",
    "sequence_lag",
    "sum_tokens",
    "token_lag",
]

Advantages = Callable[[np.ndarray], np.ndarray]
"""From rewards [B, K] to advantages [B, K]; NaN = unscored, in both."""
Divisor = Callable[[np.ndarray, int], np.ndarray]
"""From lengths [N] and the room there was to what each row's sum over tokens is divided by."""
Lag = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
"""From log-probabilities [N, T] of policy and sampler, and a cap, to weights [N, T]."""


def dpo_loss(
    chosen_logratio: torch.Tensor,
    rejected_logratio: torch.Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Per pair [N]; log-ratios in nats."""
    margin = beta * (chosen_logratio - rejected_logratio)
    right, wrong = F.logsigmoid(margin), F.logsigmoid(-margin)
    return -(1 - label_smoothing) * right - label_smoothing * wrong


def clipped_surrogate(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, *, epsilon: float
) -> torch.Tensor:
    """The clipped policy-gradient loss per token [N, T] of advantages [N]."""
    ratio = torch.exp(logps - old_logps)
    weight = advantages[:, None]
    return -torch.minimum(ratio * weight, ratio.clamp(1 - epsilon, 1 + epsilon) * weight)


def token_lag(logps: torch.Tensor, sampler_logps: torch.Tensor, cap: float) -> torch.Tensor:
    """Each token's own weight: little variance; blind to how likely what came before it was."""
    return torch.exp(logps - sampler_logps).clamp(max=cap)


def sequence_lag(logps: torch.Tensor, sampler_logps: torch.Tensor, cap: float) -> torch.Tensor:
    """One weight a row, unbiased but for the cap; empty slots must be equal in both."""
    total = (logps - sampler_logps).sum(1, keepdim=True)
    return torch.exp(total).clamp(max=cap).expand_as(logps)


def kl_k3(logps: torch.Tensor, reference_logps: torch.Tensor) -> torch.Tensor:
    """The never-negative estimate of KL(pi || ref) from samples of pi, same shape."""
    gap = reference_logps - logps
    return torch.expm1(gap) - gap


def sum_tokens(costs: torch.Tensor, mask: torch.Tensor, divisor: torch.Tensor) -> torch.Tensor:
    """Costs of tokens [N, T] summed by row and divided, [N]."""
    return (costs * mask).sum(1) / divisor


def own_length(lengths: np.ndarray, _: int) -> np.ndarray:
    """A mean over each row's tokens: long answers learn less a token."""
    return np.maximum(lengths.astype(np.float64), 1.0)


def batch_length(lengths: np.ndarray, _: int) -> np.ndarray:
    """Every token counts the same: divided by the mean length of the batch."""
    return np.full(len(lengths), max(float(lengths.mean()), 1.0))


def room_length(lengths: np.ndarray, room: int) -> np.ndarray:
    """Every token counts the same in every batch: divided by a constant."""
    return np.full(len(lengths), float(room))


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
