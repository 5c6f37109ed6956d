"""Worked sums: a small world of language in which the truth of every response is known."""

from trueline.worlds.sums.critic import SumsCritic
from trueline.worlds.sums.gold import Sums, breakdown, gold, trunk_path
from trueline.worlds.sums.problems import SPLITS
from trueline.worlds.sums.raters import POPULATIONS, Population, Raters, Tastes

__all__ = [
    "POPULATIONS",
    "SPLITS",
    "Population",
    "Raters",
    "Sums",
    "SumsCritic",
    "Tastes",
    "breakdown",
    "gold",
    "trunk_path",
]
