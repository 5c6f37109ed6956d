"""Online iterative DPO on the best and the worst of K samples by the lower bound.

    loss = dpo(log pi/ref(y+), log pi/ref(y-); beta) - anchor * log pi(y+) / |y+|

Rafailov et al. 2023 (arXiv 2305.18290); the online loop of Dong et al. 2024 (arXiv 2405.07863:
K = 4, beta = 0.1, best against worst, optionally smoothed labels, a length penalty, and the last
iterate as reference); the anchor is the likelihood term of Pang et al. 2024 (iterative RPO, arXiv
2404.19733).

Where we differ: (1) pairs are ranked by the reward's lower bound, not its mean; (2) only the
low-rank adapter moves, and the anchor is on by default: without both, a few hundred steps push
down the chosen answer together with the rejected one and destroy a small model's skill (see
docs/log.md); (3) the reference is the trunk, whose log-probabilities the reward's own pass brings;
(4) a prompt whose samples all score alike is left out.

Fails where best and worst differ in length or style more than in worth: those tokens take the
gradient first. Watch `accuracy` near 1 with falling `chosen_logp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trueline.models.adapters import LoraPolicy
from trueline.policy.descent import Descent
from trueline.policy.limits import Limits
from trueline.policy.losses import dpo_loss
from trueline.policy.reference import Reference, trunk
from trueline.policy.samples import Samples
from trueline.policy.update import Update
from trueline.protocols import Scorer
from trueline.records import Prompt

__all__ = ["DPO"]


@dataclass(frozen=True, kw_only=True)
class DPO:
    """Sample K, pair best with worst by the lower bound, one pass of the DPO loss."""

    num_samples: int = 8
    beta: float = 0.1
    """Weight of the implicit KL to the reference; larger stays nearer."""
    anchor: float = 1.0
    """Weight of the chosen answer's own likelihood per token."""
    label_smoothing: float = 0.0
    """Share of pairs that are held to be the wrong way round."""
    reference: Reference = trunk
    """`trunk` or `last_iterate`."""
    length_penalty: float = 0.0
    """Taken off the lower bound for every token of an answer."""
    limits: Limits = field(default_factory=Limits)
    descent: Descent = field(
        default_factory=lambda: Descent(learning_rate=1e-3, epochs=2, batch_size=16)
    )

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: np.random.Generator,
    ) -> Update:
        """One round: a new policy that prefers each prompt's best sample to its worst."""
        return self.limits.watch(policy, prompts, scorer, rng=rng).round(
            policy,
            self._prefer,
            num_samples=self.num_samples,
            length_penalty=self.length_penalty,
            rng=rng,
        )

    def _prefer(
        self, policy: LoraPolicy, samples: Samples, rng: np.random.Generator
    ) -> dict[str, float]:
        told, rows = samples.informative(), samples.rollouts.rows
        best, worst = (np.array([pick(b) for b in told]) for pick in (samples.best, samples.worst))
        reference = torch.from_numpy(self.reference(policy, samples).reshape(-1))

        def log_ratios(indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            both = np.concatenate([best[indices], worst[indices]])
            logp = policy.logp([rows[i] for i in both])
            chosen, rejected = (logp - reference[both].to(logp)).chunk(2)
            return chosen, rejected, logp[: len(indices)]

        def loss(indices: np.ndarray) -> torch.Tensor:
            chosen, rejected, logp = log_ratios(indices)
            lengths = logp.new_tensor([rows[i].stop - rows[i].start for i in best[indices]])
            preferred = dpo_loss(
                chosen, rejected, beta=self.beta, label_smoothing=self.label_smoothing
            )
            return preferred - self.anchor * logp / lengths.clamp(min=1)

        losses = self.descent.run(policy, loss, len(told), rng=rng)
        with torch.no_grad():
            chosen, rejected, logp = log_ratios(np.arange(len(told)))
        return {
            "loss_first": losses[0],
            "loss_last": losses[-1],
            "accuracy": float((chosen > rejected).double().mean()),
            "margin": float((chosen - rejected).mean()),
            "chosen_logp": float(logp.mean()),
        }
