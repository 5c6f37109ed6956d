"""Worked sums: a small world of language in which the truth of every response is known."""

from trueline.worlds.sums.critic import SumsCritic
from trueline.worlds.sums.gold import breakdown, gold, gold_max
from trueline.worlds.sums.problems import SPLITS
from trueline.worlds.sums.raters import POPULATIONS, Population, Raters, Tastes
from trueline.worlds.sums.world import Sums, trunk_path

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
    "gold_max",
    "trunk_path",
]
