"""Rules: rewards that a checker decides, without a model. Each gives 1.0, 0.0 or *unscored*.

`rules_text` holds Exact, Regex, JsonSchema, MaxSentences and MaxWords, `rules_arithmetic`
Arithmetic, `rules_proof` Proof, `rules_code` UnitTest; `rules_grade` what they share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trueline.errors import SetupError
from trueline.rewards.rules_arithmetic import Arithmetic
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.rules_grade import FittedRule, Rule
from trueline.rewards.rules_proof import Proof
from trueline.rewards.rules_text import Exact, JsonSchema, MaxSentences, MaxWords, Regex
from trueline.rewards.sandbox import SandboxLimits

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
    "load",
]

RULES: dict[str, type[Rule]] = {
    "arithmetic": Arithmetic,
    "exact": Exact,
    "json_schema": JsonSchema,
    "max_sentences": MaxSentences,
    "max_words": MaxWords,
    "proof": Proof,
    "regex": Regex,
    "unit_test": UnitTest,
}


def load(arrays: dict[str, np.ndarray], words: dict[str, Any]) -> FittedRule:
    """Return the rule of a folder's content."""
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in words["rule"].items()
    }
    kind = settings.pop("kind")
    if kind not in RULES:
        raise SetupError(f"a saved rule must be one of {', '.join(RULES)}", got=repr(kind))
    if "limits" in settings:
        settings["limits"] = SandboxLimits(**settings["limits"])
    return FittedRule(rule=RULES[kind](**settings), metadata=words["metadata"])
