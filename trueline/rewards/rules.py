"""Rules: rewards that a checker decides, without a model. Each gives 1.0, 0.0 or *unscored*.

`rules_text` holds Exact, Regex, JsonSchema, MaxSentences and MaxWords, `rules_arithmetic`
Arithmetic, `rules_proof` Proof, `rules_code` UnitTest; `rules_grade` what they share.
"""

from __future__ import annotations

from trueline.rewards.rules_arithmetic import Arithmetic
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.rules_grade import RULES, FittedRule, Rule
from trueline.rewards.rules_proof import Proof
from trueline.rewards.rules_text import Exact, JsonSchema, MaxSentences, MaxWords, Regex

__all__ = [
    "RULES",
    "Arithmetic",
    "Exact",
    "FittedRule",
    "JsonSchema",
    "MaxSentences",
    "MaxWords",
    "Proof",
    "Regex",
    "Rule",
    "UnitTest",
]
