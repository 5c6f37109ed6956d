"""Prefer the answer of higher value: by a written rule, or by a reward that stands for people.

A rule decides without error; the reward that learns never sees it, only its verdicts. A reward
draws: P(first preferred) = sigmoid(mean(first) - mean(second)). With only a file of comparisons
nobody can be asked about fresh answers; a reward fitted on a part kept aside answers in their
stead, and what it certifies is "better by that reward", not "better by people". An equal value by
the rule, or an answer that the reward cannot score, is `UNDECIDED`.

>>> RULES["dialogue"]('"Hi," said Tim. "Hi!" said Mum.')
2.0
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.protocols import Scorer
from trueline.records import Critique, Preference, Response, Verdict
from trueline.rng import Rng

__all__ = ["RULES", "RewardRater", "RuleRater"]

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
    """Name of the rule."""

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise InputError(f"the rule must be one of {', '.join(RULES)}", got=self.name)

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: Rng,
    ) -> Verdict:
        """Prefer the higher value; the same value is undecided."""
        gap = RULES[self.name](first.text) - RULES[self.name](second.text)
        preference = Preference.FIRST if gap > 0 else Preference.SECOND
        preference = preference if gap else Preference.UNDECIDED
        return Verdict(preference=preference, rater=f"rule:{self.name}", critiques=critiques)


@dataclass(frozen=True, kw_only=True)
class RewardRater:
    """Draw verdicts from the Bradley-Terry probability of a reward's means."""

    scorer: Scorer

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: Rng,
    ) -> Verdict:
        """Draw; undecided where the reward cannot score an answer."""
        one, two = self.scorer.score([first.prompt, second.prompt], [first.text, second.text])
        draw, preference = rng.random(), Preference.UNDECIDED
        if one.mean is not None and two.mean is not None:
            probability = 1.0 / (1.0 + math.exp(two.mean - one.mean))
            preference = Preference.FIRST if draw < probability else Preference.SECOND
        return Verdict(preference=preference, rater="reward", critiques=critiques)
