"""Prefer the answer of higher value: by a written rule, or by a reward that stands for people.

A rule decides without error; a reward draws: P(first preferred) = sigmoid(mean(first) -
mean(second)). With only a file of comparisons nobody can be asked about fresh answers; a reward
fitted on a part kept aside answers in their stead, and what it certifies is "better by that
reward", not "better by people". An equal value, or an answer without one, is `UNDECIDED`.

A rule's name: one of `RULES`; /REGEX/, 1 where it is found and else 0 (`regex`, half a second); or
MODULE:FUNCTION, yours, text -> number, true, false, or None: it cannot tell.

>>> named_rule("/^[A-Z]/")("A sentence."), named_rule("dialogue")('"Hi!" said Tim.')
(1.0, 1.0)
"""

from __future__ import annotations

import importlib
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from numbers import Real
from typing import Any

import numpy as np

from trueline.errors import InputError
from trueline.protocols import Scorer
from trueline.records import Critique, Preference, Response, Verdict
from trueline.rng import Rng

__all__ = ["RULES", "RewardRater", "RuleRater", "compiled", "finds", "named_rule"]

Critiques = tuple[Critique, ...]
PATTERN_S = 0.5
_JOY = re.compile(
    r"\b(happy|happily|smil\w*|laugh\w*|fun|love\w*|glad|proud|excited|hug\w*|play\w*)\b", re.I
)

_REFUSAL = re.compile(
    r"\b(?:sorry,? (?:but|I|as)\b"
    r"|I(?:['’]?m| am)(?: (?:really|very|so|afraid|just))? "
    r"(?:unable|not able|not equipped|not programmed|not comfortable|not going)"
    r"|(?:I|we)(?: really| just| simply)? (?:can(?:not|['’]t| not)|won['’]t|will not|must decline"
    r"|(?:do not|don['’]t) (?:feel comfortable|think it['’]s appropriate))\b"
    r"|not (?:appropriate|ethical|acceptable|safe)(?: or \w+)? (?:to|for)\b)",
    re.I,
)


def _refusal(text: str) -> float:
    """Return 1.0 where the first 200 characters have the words of a refusal: of 847 answers that
    two people called a full refusal or none (XSTest, GPT-4 and Llama 2) .95 are told alike."""
    return float(_REFUSAL.search(text[:200]) is not None)


def _short_sentences(text: str) -> float:
    """Return minus the mean number of words in a sentence."""
    sentences = [s for s in re.split(r"[.!?]+", text) if s.strip()]
    return -float(np.mean([len(s.split()) for s in sentences])) if sentences else -100.0


RULES: Mapping[str, Callable[[str], float]] = {
    "dialogue": lambda text: float(len(re.findall(r'"[^"]+"', text))),
    "joy": lambda text: len(_JOY.findall(text)) / max(1, len(re.findall(r"\w+", text))),
    "refusal": _refusal,
    "short-sentences": _short_sentences,
}
"""From a name to a function of the answer's text, the more the better."""


@lru_cache
def named_rule(name: str) -> Callable[[str], float | None]:
    """Return the function that a name stands for, or raise `InputError`."""
    if name in RULES:
        return RULES[name]
    if len(name) > 2 and name[0] == name[-1] == "/":
        compiled(name[1:-1])
        return partial(_value, partial(finds, name[1:-1]), name)
    module, _, function = name.partition(":")
    if not (module and function):
        must, do = f"the rule must be one of {', '.join(RULES)}", "or /REGEX/ or MODULE:FUNCTION"
        raise InputError(must, got=name, do=do)
    found: Any = _imported(module, name)
    for part in function.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise InputError(f"module {module} must have a function {function}", got=f"none in {name}")
    return partial(_value, found, name)


def compiled(pattern: str) -> Any:
    """Return a pattern of the `regex` package; `InputError` where it is none."""
    regex = importlib.import_module("regex")
    try:
        return regex.compile(pattern)
    except regex.error as error:
        must = f"a pattern must be a regular expression: {error}"
        raise InputError(must, got=repr(pattern)) from None


def finds(pattern: str, text: str) -> bool:
    """Return whether a pattern is found; `TimeoutError` after half a second."""
    try:
        return compiled(pattern).search(text, timeout=PATTERN_S) is not None
    except TimeoutError:
        raise TimeoutError(f"the pattern {pattern!r} took over {PATTERN_S:g} s") from None


def _imported(module: str, name: str) -> Any:
    sys.path.insert(0, here := os.getcwd())
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        must = f"the module of rule {name} must be importable from the working folder"
        raise InputError(must, got=f"{type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)


def _value(function: Callable[[str], Any], name: str, text: str) -> float | None:
    must = f"the rule {name} must return a number, true, false, or None where it cannot tell"
    try:
        value = function(text)
    except TimeoutError:
        return None
    except Exception as error:
        got = f"{type(error).__name__}: {error}, for the text {text!r:.60}"
        raise InputError(must, got=" ".join(got.split())) from error
    if value is None or (isinstance(value, np.bool_ | Real) and math.isfinite(value)):
        return None if value is None else float(value)
    raise InputError(must, got=f"{value!r:.60} for the text {text!r:.60}")


@dataclass(frozen=True, kw_only=True)
class RuleRater:
    """Apply one rule (`named_rule`) without error."""

    name: str
    """Name of a rule, /REGEX/, or MODULE:FUNCTION."""

    def __post_init__(self) -> None:
        named_rule(self.name)

    def compare(
        self, first: Response, second: Response, *, critiques: Critiques = (), rng: Rng
    ) -> Verdict:
        """Prefer the higher value; the same value is undecided, and so is none."""
        gap = self.value(first.text) - self.value(second.text)
        preference = Preference.FIRST if gap > 0 else Preference.SECOND
        preference = preference if abs(gap) > 0 else Preference.UNDECIDED
        reason = "the rule gives an answer no value" if math.isnan(gap) else None
        rater = f"rule:{self.name}"
        return Verdict(preference=preference, rater=rater, critiques=critiques, reason=reason)

    def value(self, text: str) -> float:
        """Return the rule's value of a text; NaN where it cannot tell."""
        value = named_rule(self.name)(text)
        return math.nan if value is None else value


@dataclass(frozen=True, kw_only=True)
class RewardRater:
    """Draw verdicts from the Bradley-Terry probability of a reward's means."""

    scorer: Scorer

    def compare(
        self, first: Response, second: Response, *, critiques: Critiques = (), rng: Rng
    ) -> Verdict:
        """Draw; undecided where the reward cannot score an answer."""
        one, two = self.scorer.score([first.prompt, second.prompt], [first.text, second.text])
        draw, preference = rng.random(), Preference.UNDECIDED
        if one.mean is not None and two.mean is not None:
            probability = 1.0 / (1.0 + math.exp(two.mean - one.mean))
            preference = Preference.FIRST if draw < probability else Preference.SECOND
        return Verdict(preference=preference, rater="reward", critiques=critiques)
