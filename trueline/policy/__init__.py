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

__all__ = [
    "DPO",
    "GRPO",
    "BestOfN",
    "BestOfNPolicy",
    "Descent",
    "Limits",
    "Samples",
    "Update",
    "dpo_loss",
]
