"""Policy optimisers: one file, one idea, one verb `improve(policy, prompts, scorer, *, rng)`.

best_of_n   distil the best of n samples
dpo         prefer each prompt's best sample to its worst
grpo        weigh every sample by its advantage over the prompt's other samples

Before them: `sft` (learn from demonstrations). Beside them: `limits`, `samples` (what a policy
says, scored), `adamw` (gradient steps).
"""

from trueline.policy.adamw import AdamWSettings
from trueline.policy.best_of_n import BestOfN
from trueline.policy.dpo import DPO
from trueline.policy.grpo import GRPO
from trueline.policy.limits import Limits, Update
from trueline.policy.samples import Samples
from trueline.policy.sft import SFT
from trueline.registry import register

__all__ = ["DPO", "GRPO", "OPTIMISERS", "SFT", "AdamWSettings", "BestOfN", "Limits", "Samples"]
__all__ += ["Update"]

OPTIMISERS = register("policy", "improve", best_of_n=BestOfN, dpo=DPO, grpo=GRPO)
"""Name to optimiser, in recipes and everywhere else."""
