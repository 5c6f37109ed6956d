"""Recipes: one TOML file to the parts it names, checked before anything is loaded."""

from __future__ import annotations

from trueline.recipes.runs import LoadedRun, load_run, run
from trueline.recipes.schema import KINDS, Recipe

__all__ = ["KINDS", "LoadedRun", "Recipe", "load_run", "run"]
