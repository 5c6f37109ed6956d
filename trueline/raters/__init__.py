"""Raters outside any world: a written rule, a fitted reward, real people.

`people` is imported by name: it opens a database.
"""

from trueline.raters.reward_rater import RewardRater
from trueline.raters.rule import RULES, RuleRater

__all__ = ["RULES", "RewardRater", "RuleRater"]
