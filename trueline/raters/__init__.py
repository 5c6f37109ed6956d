"""Raters that are not people and not a simulated world: a written rule, or a fitted reward."""

from trueline.raters.rule import RULES, Rule
from trueline.raters.standin import StandIn

__all__ = ["RULES", "Rule", "StandIn"]
