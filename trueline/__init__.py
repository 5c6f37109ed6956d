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
    from trueline.data.benches import load_bench
    from trueline.data.comparisons import Comparisons
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
    from trueline.rewards.benches import run_bench
    from trueline.rewards.calibrated import Calibrated
    from trueline.rewards.compose import Lexicographic, Minimum, WeightedSum
    from trueline.rewards.concept import Concept
    from trueline.rewards.conservative import Conservative
    from trueline.rewards.ensemble import Ensemble
    from trueline.rewards.groups import Groups
    from trueline.rewards.rules_arithmetic import Arithmetic
    from trueline.rewards.rules_code import UnitTest
    from trueline.rewards.rules_exact import Exact
    from trueline.rewards.rules_proof import Proof
    from trueline.rewards.rules_text import JsonSchema, MaxSentences, MaxWords, Regex
    from trueline.rewards.saved import load_reward
    from trueline.testing import FakeTrunk

_HOMES = {
    "Arithmetic": "rewards.rules_arithmetic",
    "Bayesian": "rewards.bayesian",
    "BestOfN": "policy.best_of_n",
    "Calibrated": "rewards.calibrated",
    "Comparison": "records",
    "Comparisons": "data.comparisons",
    "Concept": "rewards.concept",
    "Conservative": "rewards.conservative",
    "DPO": "policy.dpo",
    "Ensemble": "rewards.ensemble",
    "Estimate": "records",
    "Exact": "rewards.rules_exact",
    "FakeTrunk": "testing",
    "GRPO": "policy.grpo",
    "Groups": "rewards.groups",
    "JsonSchema": "rewards.rules_text",
    "Lexicographic": "rewards.compose",
    "Limits": "policy.limits",
    "LoraPolicy": "models.adapters",
    "MaxSentences": "rewards.rules_text",
    "MaxWords": "rewards.rules_text",
    "Minimum": "rewards.compose",
    "Prompt": "records",
    "Proof": "rewards.rules_proof",
    "Recipe": "recipes.schema",
    "Regex": "rewards.rules_text",
    "Response": "records",
    "Score": "records",
    "Trunk": "models.trunk",
    "UnitTest": "rewards.rules_code",
    "WeightedSum": "rewards.compose",
    "load_bench": "data.benches",
    "load_reward": "rewards.saved",
    "load_run": "recipes.runs",
    "run": "recipes.runs",
    "run_bench": "rewards.benches",
}
"""Public name to the module it lives in."""

__all__ = [
    "DPO",
    "GRPO",
    "Arithmetic",
    "Bayesian",
    "BestOfN",
    "Calibrated",
    "Comparison",
    "Comparisons",
    "Concept",
    "Conservative",
    "Ensemble",
    "Estimate",
    "Exact",
    "FakeTrunk",
    "Groups",
    "JsonSchema",
    "Lexicographic",
    "Limits",
    "LoraPolicy",
    "MaxSentences",
    "MaxWords",
    "Minimum",
    "Prompt",
    "Proof",
    "Recipe",
    "Regex",
    "Response",
    "Score",
    "Trunk",
    "UnitTest",
    "WeightedSum",
    "load_bench",
    "load_reward",
    "load_run",
    "plugs",
    "rng",
    "run",
    "run_bench",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name == "plugs":
        return importlib.import_module("trueline.plugs")
    if name not in _HOMES:
        raise AttributeError(f"module 'trueline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trueline.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
