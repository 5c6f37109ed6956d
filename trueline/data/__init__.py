"""Preference data and prompts from files, and the store of labels of the loop."""

from trueline.data.comparisons import Comparisons, make_folds
from trueline.data.formats import Row, load_rows
from trueline.data.prompts import load_prompts

__all__ = ["Comparisons", "Row", "load_prompts", "load_rows", "make_folds"]
