"""Worlds with a known truth: prompts, gold values, simulated raters and a trunk to start from."""

from trueline.worlds.sums import Sums

__all__ = ["Sums"]
