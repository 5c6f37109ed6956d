"""Rewards: one file, one idea, one verb `fit(readings, comparisons, *, rng) -> Fitted`.

bayesian      Bradley–Terry with its doubt: the default head
conservative  a lower bound around any head
calibrated    intervals calibrated on held-out verdicts, and abstention (`doubt`, `views`)
ensemble      small networks in one batched pass, the non-linear head (`members`)
aggregation   many raters, groups that want different things (`groups`, `conflict`, `drift`)
concept       a direction from contrast pairs or a principle, withheld until validated

Scorers of texts that are not learned, or are made of others: `rules`, `rules_proof`, `rules_code`
(checked in the `sandbox`), `compose`, `panel`.
Beside them: `fitted` and `scorer` (what a fit returns, on readings and on texts), `evaluate` and
`heldout` (cross-validation over prompts and over raters), `benches` and `marks`, `selfcheck`;
`saved`, `nested` and `storage` (folders); and what a fit is made of: `training`, `features`,
`search`, `evidence`, `laplace`, `raters`, `crowd`.
"""

from trueline.registry import register
from trueline.rewards.aggregation import Aggregation
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.calibrated import Calibrated
from trueline.rewards.concept import Concept
from trueline.rewards.conservative import Conservative
from trueline.rewards.ensemble import Ensemble
from trueline.rewards.rules import (
    Arithmetic,
    Exact,
    JsonSchema,
    MaxSentences,
    MaxWords,
    Proof,
    Regex,
    UnitTest,
)

__all__ = ["REWARDS"]

REWARDS = register(
    "rewards",
    "fit",
    bayesian=Bayesian,
    conservative=Conservative,
    calibrated=Calibrated,
    ensemble=Ensemble,
    groups=Aggregation,
    concept=Concept,
    exact=Exact,
    regex=Regex,
    json_schema=JsonSchema,
    unit_test=UnitTest,
    arithmetic=Arithmetic,
    proof=Proof,
    max_sentences=MaxSentences,
    max_words=MaxWords,
)
"""Name to kind of reward, in recipes and everywhere else."""
