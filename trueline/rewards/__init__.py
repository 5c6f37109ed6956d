"""Rewards: one file, one idea, one verb `fit(readings, comparisons, *, rng) -> Fitted`.

bayesian      Bradley–Terry with its uncertainty: the default head
conservative  a lower bound around any head
calibrated    intervals calibrated on held-out verdicts, and abstention far away
ensemble      small networks in one batched pass, the non-linear head
groups        raters that want different things: one reward a group, their mean or the worst
concept       a direction from contrast pairs, withheld where pairs speak against it
concept_prior principles first, then what labels say beyond them

Not learned: `rules_*` (texts, numbers, proofs, code in the `sandbox`); made of others: `compose`.
What a fit is made of: `features` (comparisons as rows), `evidence` (the prior), `laplace` (the
posterior), `linear` (the fitted reward), `protocols` (what every kind keeps to), `storage`. Beside
them `evaluate` (cross-validation) and `selfcheck`.
"""

from trueline.registry import register
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.calibrated import Calibrated
from trueline.rewards.compose import Lexicographic, Minimum, SetPoint, WeightedSum
from trueline.rewards.concept import Concept
from trueline.rewards.concept_prior import ConceptPrior
from trueline.rewards.conservative import Conservative
from trueline.rewards.ensemble import Ensemble
from trueline.rewards.groups import Groups
from trueline.rewards.rules_arithmetic import Arithmetic
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.rules_exact import Exact
from trueline.rewards.rules_proof import Proof
from trueline.rewards.rules_text import JsonSchema, MaxSentences, MaxWords, NamedRule, Regex

__all__ = ["REWARDS"]

REWARDS = register(
    "rewards",
    "fit",
    bayesian=Bayesian,
    conservative=Conservative,
    calibrated=Calibrated,
    ensemble=Ensemble,
    groups=Groups,
    concept=Concept,
    concept_prior=ConceptPrior,
    rule=NamedRule,
    exact=Exact,
    regex=Regex,
    json_schema=JsonSchema,
    unit_test=UnitTest,
    arithmetic=Arithmetic,
    proof=Proof,
    max_sentences=MaxSentences,
    max_words=MaxWords,
    weighted_sum=WeightedSum,
    minimum=Minimum,
    lexicographic=Lexicographic,
    set_point=SetPoint,
)
"""Name to kind of reward, in recipes and everywhere else."""
