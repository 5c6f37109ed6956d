"""Online iterative DPO on the best and the worst of K samples by the lower bound.

    loss = dpo(log pi/ref(y+), log pi/ref(y-); beta) - anchor * log pi(y+) / |y+|

Rafailov et al. 2023 (arXiv 2305.18290); the online loop of Dong et al. 2024 (arXiv 2405.07863:
K = 4, beta = 0.1, best against worst, optionally smoothed labels and a length penalty); the anchor
is the likelihood term of Pang et al. 2024 (iterative RPO, arXiv 2404.19733).

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
from trueline.policy.adamw import AdamWSettings
from trueline.policy.limits import Limits, Update
from trueline.policy.losses import dpo_loss
from trueline.policy.samples import Samples
from trueline.protocols import Scorer
from trueline.records import Prompt
from trueline.rng import torch_seed

__all__ = ["DPO"]


@dataclass(frozen=True, kw_only=True)
class DPO:
    """Sample K, pair best with worst by the lower bound, minimise the DPO loss."""

    num_samples: int = 8
    """K: samples per prompt."""
    beta: float = 0.1
    """Weight of the implicit KL to the trunk; larger stays nearer."""
    anchor: float = 1.0
    """Weight of the chosen answer's own likelihood per token."""
    label_smoothing: float = 0.0
    """Share of pairs that are held to be the wrong way round."""
    length_penalty: float = 0.0
    """Taken off the lower bound for every token of an answer."""
    limits: Limits = field(default_factory=Limits)
    """What the new policy may not leave."""
    adamw: AdamWSettings = field(
        default_factory=lambda: AdamWSettings(learning_rate=1e-3, epochs=2, batch_size=16)
    )
    """The gradient steps."""

    def improve(
        self,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        *,
        rng: np.random.Generator,
    ) -> Update:
        """Return a new policy that prefers each prompt's best sample to its worst."""
        seed = torch_seed(rng)
        samples = Samples.draw(
            policy, prompts, scorer, self.num_samples, rng=rng, length_penalty=self.length_penalty
        )
        if stopped := self.limits.broken(samples) or samples.uninformative():
            stats = samples.counts() | samples.stats()
            return Update(policy=policy, stats=stats, stopped=stopped)
        new = policy.copy()
        stats = samples.counts() | self._prefer(new, samples, rng)
        return self.limits.keep(policy, new, prompts, scorer, seed=seed, stats=stats)

    def _prefer(
        self, policy: LoraPolicy, samples: Samples, rng: np.random.Generator
    ) -> dict[str, float]:
        used, rows = samples.informative(), samples.rollouts.rows
        best, worst = (np.array([pick(b) for b in used]) for pick in (samples.best, samples.worst))
        reference = torch.from_numpy(samples.reference.reshape(-1))

        def log_ratios(items: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            both = np.concatenate([best[items], worst[items]])
            logp = policy.logp([rows[i] for i in both])
            chosen, rejected = (logp - reference[both].to(logp)).chunk(2)
            return chosen, rejected, logp[: len(items)]

        def loss(items: np.ndarray) -> torch.Tensor:
            chosen, rejected, logp = log_ratios(items)
            lengths = logp.new_tensor([rows[i].stop - rows[i].start for i in best[items]])
            preferred = dpo_loss(
                chosen, rejected, beta=self.beta, label_smoothing=self.label_smoothing
            )
            return preferred - self.anchor * logp / lengths.clamp(min=1)

        losses = self.adamw.minimise(policy, loss, len(used), rng=rng)
        with torch.no_grad():
            chosen, rejected, logp = log_ratios(np.arange(len(used)))
        return {
            "loss_first": losses[0],
            "loss_last": losses[-1],
            "accuracy": float((chosen > rejected).double().mean()),
            "margin": float((chosen - rejected).mean()),
            "chosen_logp": float(logp.mean()),
        }
