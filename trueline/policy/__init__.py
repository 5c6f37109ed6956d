"""Policy optimisers: one file, one idea, one verb `improve(policy, prompts, scorer, *, rng)`."""

from trueline.policy.best_of_n import BestOfN
from trueline.policy.dpo import DPO, dpo_loss
from trueline.policy.samples import Samples
from trueline.policy.update import Descent, Update

__all__ = ["DPO", "BestOfN", "Descent", "Samples", "Update", "dpo_loss"]
