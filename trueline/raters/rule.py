"""A rater that follows a written rule: it prefers the answer with the higher value of it.

The reward never sees the rule, only its verdicts, as with a person. `RULES` maps a name to a
function from the answer's text to a number; an equal value on both sides is `UNDECIDED`.

>>> Rule(name="dialogue").value('"Hi," said Tim. "Hi!" said Mum.')
2.0
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trueline.errors import InputError
from trueline.records import Critique, Preference, Response, Verdict

__all__ = ["RULES", "Rule"]

_JOY = re.compile(
    r"\b(happy|happily|smil\w*|laugh\w*|fun|love\w*|glad|proud|excited|hug\w*|play\w*)\b", re.I
)


def dialogue(text: str) -> float:
    """How many stretches of direct speech the text holds."""
    return float(len(re.findall(r'"[^"]+"', text)))


def joy(text: str) -> float:
    """Share of the words that speak of joy."""
    words = len(re.findall(r"\w+", text))
    return len(_JOY.findall(text)) / words if words else 0.0


def short_sentences(text: str) -> float:
    """Minus the mean number of words in a sentence."""
    sentences = [s for s in re.split(r"[.!?]+", text) if s.strip()]
    return -float(np.mean([len(s.split()) for s in sentences])) if sentences else -100.0


RULES: Mapping[str, Callable[[str], float]] = {
    "dialogue": dialogue,
    "joy": joy,
    "short-sentences": short_sentences,
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rater that applies one rule of `RULES` without error."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise InputError(f"the rule must be one of {', '.join(RULES)}", got=self.name)

    def value(self, text: str) -> float:
        """The rule's value of a text; larger is better."""
        return RULES[self.name](text)

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """The higher value wins; the same value is undecided."""
        difference = self.value(first.text) - self.value(second.text)
        preference = (
            Preference.UNDECIDED
            if difference == 0
            else Preference.FIRST
            if difference > 0
            else Preference.SECOND
        )
        return Verdict(preference=preference, rater=f"rule:{self.name}", critiques=critiques)
