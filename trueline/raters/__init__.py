"""Raters outside any world: a written rule, a fitted reward, real people.

`people` is imported by name: it opens a database.
"""

from trueline.raters.by_value import RULES, RewardRater, RuleRater

__all__ = ["RULES", "RewardRater", "RuleRater"]
