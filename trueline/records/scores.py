"""A reward's scores (`Score`, `Scores`) and what was measured (`Estimate`, `Finding`).

>>> str(Estimate(0.5, 0.4, 0.6, 20))
'0.500 [0.400, 0.600] (n=20)'
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from trueline.errors import InputError

__all__ = ["COLUMNS", "Estimate", "Finding", "Outcome", "Score", "Scores", "Stance"]


class Outcome(enum.StrEnum):
    """Whether a reward was able to score; never encoded as 0 or NaN."""

    SCORED = "scored"
    UNSCORED = "unscored"


class Stance(enum.StrEnum):
    """What a finding says of the claim it measured."""

    FOR = "for"
    AGAINST = "against"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A reward's score of one response. All numbers are None where it is unscored."""

    outcome: Outcome
    mean: float | None = None
    """Posterior mean of the reward, relative to the reward's reference point."""
    std: float | None = None
    """Standard deviation of the same, by what the reward knows."""
    lower: float | None = None
    """mean less k times std and distance, as the kind of reward says: what may be optimised."""
    novelty: float | None = None
    """Distance of the reading from those the reward was fitted on (1 = their typical distance)."""
    rater_interval: tuple[float, float] | None = None
    """Where one rater's view of it lies, calibrated: std and the rater's own noise; None where the
    reward is not calibrated."""
    reason: str | None = None
    """Why it is unscored."""


COLUMNS = ("mean", "std", "lower", "novelty", "scored")


@dataclass(frozen=True)
class Scores(Sequence[Score]):
    """`Score`s of N responses as columns; numbers of unscored rows are not to be read, and `column`
    does not hand them out: no missing score can pass as 0."""

    mean: np.ndarray
    std: np.ndarray
    lower: np.ndarray
    novelty: np.ndarray
    scored: np.ndarray
    """bool [N]"""
    reasons: Mapping[int, str] = field(default_factory=dict)
    low: np.ndarray | None = None
    """Lower end of the calibrated interval; None where the reward is not calibrated."""
    high: np.ndarray | None = None
    """Its upper end; infinite where there was too little to calibrate on."""

    def __post_init__(self) -> None:
        shapes = {np.shape(getattr(self, name)) for name in COLUMNS}
        shapes |= {np.shape(end) for end in (self.low, self.high) if end is not None}
        if len(shapes) != 1 or (self.low is None) != (self.high is None):
            raise InputError("score columns must have one shape [N]", got=str(sorted(shapes)))
        for name in ("mean", "std", "lower", "novelty"):
            if not np.isfinite(getattr(self, name)[self.scored]).all():
                raise InputError(f"{name} must be finite wherever it is scored", got="NaN or inf")
        if self.low is not None and self.high is not None:
            around = (self.low <= self.mean) & (self.mean <= self.high)
            if not around[self.scored].all():
                raise InputError("an interval must hold the mean wherever it is scored", got="not")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns there are: low and high only of a calibrated reward."""
        return COLUMNS if self.low is None else (*COLUMNS, "low", "high")

    @classmethod
    def concat(cls, parts: Sequence[Scores]) -> Scores:
        """Return the rows of several, one after another; with intervals if all have them."""
        none = np.zeros(0)
        parts = parts or [cls(none, none, none, none, none.astype(bool))]
        names = min((part.columns for part in parts), key=len)
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        starts = np.cumsum([0, *map(len, parts)]).tolist()
        reasons = [
            (start + i, why)
            for start, part in zip(starts, parts, strict=False)
            for i, why in part.reasons.items()
        ]
        return cls(**columns, reasons=dict(reasons))

    def column(self, name: str) -> np.ndarray:
        """Return one column, float64 [N]; `InputError` if a row is unscored or there is none."""
        if getattr(self, name) is None:
            must, do = f"{name} needs a calibrated reward", "fit Calibrated(head=…)"
            raise InputError(must, got="no intervals", do=do)
        if not self.scored.all():
            raise InputError(
                "every row must be scored to be read as numbers",
                got=f"{int((~self.scored).sum())} unscored of {len(self)}",
                do="drop them first: scores[i].outcome says which",
            )
        return np.asarray(getattr(self, name), dtype=np.float64)

    def to_pick(self, name: str) -> np.ndarray:
        """Return a column to pick the best by, not to be averaged, float64 [N]: an unscored row
        stands below all scored ones."""
        values = np.array(getattr(self, name), dtype=np.float64)
        scored = values[self.scored]
        values[~self.scored] = scored.min() - 1.0 if len(scored) else 0.0
        return values

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        if not self.scored[i]:
            return Score(outcome=Outcome.UNSCORED, reason=self.reasons.get(i % len(self)))
        numbers: dict[str, Any] = {n: float(getattr(self, n)[i]) for n in COLUMNS[:-1]}
        if self.low is not None and self.high is not None:
            numbers["rater_interval"] = float(self.low[i]), float(self.high[i])
        return Score(outcome=Outcome.SCORED, **numbers)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number, its 95 % interval (unless said otherwise) and how many units it rests on;
    None where nothing could be measured."""

    value: float | None
    lower: float | None
    upper: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return it as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        if self.value is None:
            return f"not measured (n={self.n})"
        if self.lower is None or self.upper is None:
            return f"{self.value:.3f} (n={self.n})"
        return f"{self.value:.3f} [{self.lower:.3f}, {self.upper:.3f}] (n={self.n})"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An audit's answer: the estimate, what it says of the claim, and what it rests on."""

    claim: str
    estimate: Estimate
    stance: Stance
    evidence: Mapping[str, Any] = field(default_factory=dict)
