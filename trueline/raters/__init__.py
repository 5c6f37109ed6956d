"""Raters outside any world: a written rule, a fitted reward, real people, a judge asked twice.

`people` is imported by name: it opens a database.
"""

from trueline.raters.both_orders import BothOrders
from trueline.raters.reward_rater import RewardRater
from trueline.raters.rule import RULES, Rule

__all__ = ["RULES", "BothOrders", "RewardRater", "Rule"]
