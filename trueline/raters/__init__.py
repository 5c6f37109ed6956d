"""Raters outside any world: a written rule, a fitted reward, real people.

`people` is imported by name: it opens a database.
"""

from trueline.raters.rule_and_reward import RULES, RewardRater, RuleRater

__all__ = ["RULES", "RewardRater", "RuleRater"]
