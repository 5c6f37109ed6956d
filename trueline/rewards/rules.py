"""Rules: rewards that a checker decides, without a model; they live as learned rewards do.

A rule gives each answer a number, or the reason why it gives none (*unscored*). An answer's own
fault is a definite 0.0; the checker's, or a prompt without what the rule needs, is unscored. The
number is certain: std 0, lower = low = high = mean, novelty 0. Rules are the one reward that reads
a prompt's `meta`: what is right stands there, out of the policy's sight. `fit` learns nothing.
"""

from __future__ import annotations

import importlib
from abc import ABC
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from trueline.errors import DataError, InputError, SetupError
from trueline.models.reading import Readings
from trueline.records import Prompt, Response, Scores
from trueline.rewards.protocols import Fitted, MeanStd, Pairs, Reader, Rows, answered
from trueline.rewards.storage import stored
from trueline.rng import Rng

__all__ = ["FittedRule", "Grade", "RowByRow", "Rule", "as_scores", "from_meta", "needs"]

Grade = float | str
"""A number, or why there is none."""


class Rule(ABC):
    """A reward that is decided by the text alone; subclasses are frozen dataclasses."""

    kind: ClassVar[str]
    """The name it has in recipes."""

    def __init_subclass__(cls, *, kind: str = "") -> None:
        super().__init_subclass__()
        cls.kind = kind
        stored(cls)

    def grade_one(self, response: Response) -> Grade:
        """Return the grade of one response."""
        return self.grade([response])[0]

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return one grade for each response, in order. A rule overrides one of the two."""
        return [self.grade_one(response) for response in responses]

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Return scores of N texts, row i answering prompt i; no trunk is needed."""
        return as_scores(self.grade(answered(prompts, responses)))

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> FittedRule:
        """Return the rule as a fitted reward; the comparisons teach it nothing."""
        return FittedRule(rule=self, metadata={"head": self.kind, "n": 0})


class RowByRow(Fitted):
    """A reward whose rows err independently."""

    def margin(self, readings: Readings, first_rows: Rows, second_rows: Rows) -> MeanStd:
        """Return mean and std of reward(first) − reward(second), [M] each.

        Only rows of these pairs are scored: a rule may run code for each of them. `DataError` where
        a side is unscored: the caller must leave such pairs out, and count them.
        """
        rows = np.concatenate([first_rows, second_rows]).astype(int)
        used, at = np.unique(rows, return_inverse=True)
        scores = self.score(readings.take(used))
        first, second = np.split(at, 2)
        unscored = ~(scores.scored[first] & scores.scored[second])
        if unscored.any():
            got = f"{int(unscored.sum())} of {len(unscored)} pairs that are not"
            do = "drop them first: score(readings).scored says which"
            raise DataError("both sides of a margin must be scored", got=got, do=do)
        std = np.where(first == second, 0.0, np.hypot(scores.std[first], scores.std[second]))
        return scores.mean[first] - scores.mean[second], std


@dataclass(frozen=True, kw_only=True)
class FittedRule(RowByRow):
    """A rule that grades what a trunk has read; any trunk's readings do. It is its own scorer of
    texts, and its own lower bound: nothing in it is uncertain."""

    rule: Rule
    metadata: dict[str, Any] = field(default_factory=dict)
    layers: tuple[int, ...] = ()
    """None: a rule reads texts, not latents."""

    def summary(self) -> dict[str, Any]:
        return {"kind": self.rule.kind, **asdict(self.rule)}  # type: ignore[call-overload]

    def score(self, readings: Readings) -> Scores:
        if readings.responses is None:
            got, do = "readings without them", "read the responses again with trunk.read(...)"
            raise InputError("a rule needs the texts that were read", got=got, do=do)
        return as_scores(self.rule.grade(readings.responses))

    def with_lower_bound(self, k: float, distance: float = 0.0) -> FittedRule:
        return self

    def on(self, trunk: Reader) -> Rule:
        return self.rule


def as_scores(grades: Sequence[Grade]) -> Scores:
    """Return N grades as columns; a text is the reason of an unscored row."""
    reasons = {i: grade for i, grade in enumerate(grades) if isinstance(grade, str)}
    mean = np.array([np.nan if isinstance(g, str) else g for g in grades], np.float64)
    zero = np.zeros(len(mean))
    return Scores(mean, zero, mean, zero, ~np.isnan(mean), reasons, low=mean, high=mean)


def from_meta(prompt: Prompt, key: str) -> Any:
    """Return what the prompt's meta holds under a key; None for nothing, blanks and no items."""
    value = prompt.meta.get(key)
    bare = value.strip() if isinstance(value, str) else value
    return None if isinstance(bare, str | list | tuple) and not bare else value


def needs(library: str) -> Any:
    """Return an optional library; a SetupError where it is not installed."""
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError:
        do = "pip install 'trueline[rules]'"
        raise SetupError(f"this rule needs {library}", got="not installed", do=do) from None
