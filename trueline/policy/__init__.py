"""Policy optimisers: one file, one idea, one verb `improve(policy, prompts, scorer, *, rng)`."""

from trueline.policy.best_of_n import BestOfN
from trueline.policy.best_of_n_policy import BestOfNPolicy
from trueline.policy.descent import Descent
from trueline.policy.dpo import DPO
from trueline.policy.grpo import GRPO
from trueline.policy.limits import Limits
from trueline.policy.losses import dpo_loss
from trueline.policy.samples import Samples
from trueline.policy.update import Update
from trueline.registry import register

__all__ = [
    "DPO",
    "GRPO",
    "OPTIMISERS",
    "BestOfN",
    "BestOfNPolicy",
    "Descent",
    "Limits",
    "Samples",
    "Update",
    "dpo_loss",
]

OPTIMISERS = register("policy", "improve", best_of_n=BestOfN, dpo=DPO, grpo=GRPO)
"""Name to optimiser, in recipes and everywhere else."""
