"""Prefer the answer with the higher value of a written rule.

The reward never sees the rule, only its verdicts. An equal value on both sides is `UNDECIDED`.

>>> RULES["dialogue"]('"Hi," said Tim. "Hi!" said Mum.')
2.0
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.records import Critique, Preference, Response, Verdict

__all__ = ["RULES", "RuleRater"]

_JOY = re.compile(
    r"\b(happy|happily|smil\w*|laugh\w*|fun|love\w*|glad|proud|excited|hug\w*|play\w*)\b", re.I
)


def _joy(text: str) -> float:
    """Return the share of the words that speak of joy."""
    return len(_JOY.findall(text)) / max(1, len(re.findall(r"\w+", text)))


def _short_sentences(text: str) -> float:
    """Return minus the mean number of words in a sentence."""
    sentences = [s for s in re.split(r"[.!?]+", text) if s.strip()]
    return -float(np.mean([len(s.split()) for s in sentences])) if sentences else -100.0


RULES: Mapping[str, Callable[[str], float]] = {
    "dialogue": lambda text: float(len(re.findall(r'"[^"]+"', text))),
    "joy": _joy,
    "short-sentences": _short_sentences,
}
"""From a name to a function of the answer's text, the more the better."""


@dataclass(frozen=True, kw_only=True)
class RuleRater:
    """Apply one rule of `RULES` without error."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise InputError(f"the rule must be one of {', '.join(RULES)}", got=self.name)

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """Prefer the higher value; the same value is undecided."""
        value = RULES[self.name]
        difference = value(first.text) - value(second.text)
        preference = Preference.FIRST if difference > 0 else Preference.SECOND
        return Verdict(
            preference=preference if difference else Preference.UNDECIDED,
            rater=f"rule:{self.name}",
            critiques=critiques,
        )
