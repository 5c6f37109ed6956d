"""Learn what people want as a light reward on a model's own latents, and improve against it with
caution.

    import trueline as tl

    run = tl.run("sums", out="runs/first", seed=0)        # or tl.run("mine.toml", ...)
    run.rounds                                            # a pandas frame, one row a round

    trunk = tl.Trunk.load(model)
    pairs = tl.Comparisons.load("pairs.jsonl")
    reward = tl.Conservative(head=tl.Bayesian(), k=1.0).fit(trunk.read(pairs), pairs, rng=tl.rng(0))
    reward.on(trunk).score(prompts, responses)

Names are loaded when they are first used, so that the words (`trueline.records`, `trueline.stats`)
can be had without torch; `dir(trueline)` lists them all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Bound at once: the function `trueline.rng` must win over the module of the same name.
from trueline.rng import rng, stream

if TYPE_CHECKING:
    from trueline import plugs
    from trueline.data.comparisons import Comparisons
    from trueline.data.principles import contrasts_of
    from trueline.loop.layers import read_for
    from trueline.models.adapters import LoraPolicy
    from trueline.models.trunk import Trunk
    from trueline.policy.best_of_n import BestOfN
    from trueline.policy.dpo import DPO
    from trueline.policy.grpo import GRPO
    from trueline.policy.limits import Limits
    from trueline.recipes.runs import load_run, run
    from trueline.recipes.schema import Recipe
    from trueline.records import Comparison, Estimate, Prompt, Response, Score
    from trueline.rewards.bayesian import Bayesian
    from trueline.rewards.benches import load_bench, run_bench
    from trueline.rewards.calibrated import Calibrated
    from trueline.rewards.compose import Lexicographic, Minimum, SetPoint, WeightedSum
    from trueline.rewards.concept import Concept
    from trueline.rewards.concept_prior import ConceptPrior
    from trueline.rewards.conservative import Conservative
    from trueline.rewards.ensemble import Ensemble
    from trueline.rewards.groups import Groups
    from trueline.rewards.protocols import load_reward
    from trueline.rewards.rules_arithmetic import Arithmetic
    from trueline.rewards.rules_code import UnitTest
    from trueline.rewards.rules_exact import Exact
    from trueline.rewards.rules_proof import Proof
    from trueline.rewards.rules_text import JsonSchema, MaxSentences, MaxWords, Regex
    from trueline.testing import FakeTrunk

_NAMES = {
    "data.comparisons": "Comparisons",
    "data.principles": "contrasts_of",
    "loop.layers": "read_for",
    "models.adapters": "LoraPolicy",
    "models.trunk": "Trunk",
    "policy": "BestOfN DPO GRPO Limits",
    "recipes.runs": "load_run run",
    "recipes.schema": "Recipe",
    "records": "Comparison Estimate Prompt Response Score",
    "rewards": "Arithmetic Bayesian Calibrated Concept ConceptPrior Conservative Ensemble Exact "
    "Groups JsonSchema Lexicographic MaxSentences MaxWords Minimum Proof Regex SetPoint "
    "UnitTest WeightedSum",
    "rewards.benches": "load_bench run_bench",
    "rewards.protocols": "load_reward",
    "testing": "FakeTrunk",
}
"""Where public names are had from."""
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = ["DPO", "GRPO", "Arithmetic", "Bayesian", "BestOfN", "Calibrated", "Comparison"]
__all__ += ["Comparisons", "Concept", "ConceptPrior", "Conservative", "Ensemble", "Estimate"]
__all__ += ["Exact", "FakeTrunk", "Groups", "JsonSchema", "Lexicographic", "Limits"]
__all__ += ["LoraPolicy", "MaxSentences", "MaxWords", "Minimum", "Prompt", "Proof", "Recipe"]
__all__ += [
    "Regex",
    "Response",
    "Score",
    "SetPoint",
    "Trunk",
    "UnitTest",
    "WeightedSum",
    "contrasts_of",
]
__all__ += ["load_bench", "load_reward", "load_run", "plugs", "read_for", "rng", "run"]
__all__ += ["run_bench", "stream"]


def __getattr__(name: str) -> Any:
    if name == "plugs":
        return importlib.import_module("trueline.plugs")
    if name not in _HOMES:
        raise AttributeError(f"module 'trueline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trueline.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
