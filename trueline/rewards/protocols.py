"""What every reward of this folder is: a head that fits, a fitted reward, and a scorer of texts.

    head.fit(readings, comparisons, rng=rng) -> Fitted       learn, or for a rule: learn nothing
    fitted.on(trunk) -> Reward                               score texts, by the trunk's readings
    fitted.save(folder); load_reward(folder, trunk)          the same reward again, bit for bit

A kind of fitted reward is a dataclass below `Fitted`, saved field by field (`storage`); around
another one it is a `Wrapped`.

Shapes: N rows of readings, M pairs of rows. Units: nats of log-odds.

>>> from trueline.testing import FakeTrunk
>>> from trueline.rewards.bayesian import Bayesian
>>> trunk, ask = FakeTrunk(planted={"good": 3.0}), Prompt.of("?")
>>> a, b = Response(prompt=ask, text="good"), Response(prompt=ask, text="bad")
>>> pairs = [Comparison(chosen=a, rejected=b)]
>>> fitted = Bayesian().fit(trunk.read([a, b]), pairs, rng=np.random.default_rng(0))
>>> fitted.on(trunk).score(["?", "?"], ["good", "good"]).scored
array([ True,  True])
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from scipy.special import expit

from trueline.errors import InputError, InvalidExperiment, SetupError
from trueline.models.reading import Readings
from trueline.protocols import Scorer
from trueline.records import Comparison, Prompt, Response, Scores
from trueline.rewards.storage import read_folder, stored, write_folder
from trueline.rng import Rng

__all__ = ["Fitted", "Head", "MeanStd", "Pairs", "Reader", "Reward", "Rows", "Wrapped"]
__all__ += ["answered", "load_reward"]

Rows = Sequence[int] | np.ndarray
"""Row numbers of readings, [M]."""
Pairs = Sequence[Comparison]
MeanStd = tuple[np.ndarray, np.ndarray]


class Reader(Protocol):
    """What reads responses: a `Trunk` or a `FakeTrunk`."""

    layers: tuple[int, ...]

    def read(
        self, responses: Sequence[Response], *, layers: Sequence[int] | None = None
    ) -> Readings: ...
    def fingerprint(self) -> str: ...


class Fitted(ABC):
    """A reward that has learned: what every head's `fit` returns."""

    metadata: dict[str, Any]
    """What it was fitted on and what the fit found; JSON."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        stored(cls)

    @property
    @abstractmethod
    def layers(self) -> tuple[int, ...]:
        """Layers it reads, best first."""

    @property
    def trunk_fingerprint(self) -> str | None:
        """Fingerprint of the trunk whose readings it was fitted on."""
        return self.metadata.get("trunk_fingerprint")

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return the metadata that a run's result shows."""

    @abstractmethod
    def score(self, readings: Readings) -> Scores:
        """Return scores of all N rows, relative to the reward's reference point."""

    @abstractmethod
    def margin(self, readings: Readings, first_rows: Rows, second_rows: Rows) -> MeanStd:
        """Return mean and std of reward(first) − reward(second), each [M]."""

    def win_probability(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Return the probability that a rater prefers the first of a pair of this margin, [M]:
        σ(mean / sqrt(1 + π std² / 8)), the uncertainty averaged over (MacKay 1992)."""
        return np.asarray(expit(mean / np.sqrt(1.0 + np.pi * std**2 / 8.0)))

    @abstractmethod
    def with_lower_bound(self, k: float, distance: float = 0.0) -> Self:
        """Return the same reward with the lower bound mean − k std − distance · far (`linear`)."""

    def save(
        self, folder: str | Path, *, model: str | None = None, dtype: str | None = None
    ) -> None:
        """Write it to a folder, whole or not at all; `model`, `dtype`: where its trunk is found."""
        about = {"trunk": model, "dtype": dtype, "trunk_fingerprint": self.trunk_fingerprint}
        write_folder(Path(folder), self, **about)

    def on(self, trunk: Reader) -> Scorer:
        """Return a scorer of texts; `SetupError` where the trunk is not the one the reward was
        fitted on, `InvalidExperiment` where the reward is withheld (`concept`)."""
        self.check_trunk(trunk.fingerprint())
        if why := self.metadata.get("withheld"):
            raise InvalidExperiment(
                "a reward must be validated by labelled pairs before it is used",
                got=str(why),
                do="validate it on labelled pairs first",
            )
        return Reward(fitted=self, trunk=trunk)

    def check_trunk(self, fingerprint: str | None) -> None:
        """Refuse another trunk than the one the reward was fitted on, where both are known."""
        known = self.trunk_fingerprint
        if known is not None and fingerprint is not None and known != fingerprint:
            raise SetupError(
                f"the trunk must be the one the reward was fitted on ({known[:12]})",
                got=fingerprint[:12],
                do="load that trunk, or fit the reward again on this one",
            )


class Wrapped(Fitted):
    """A reward around another one, whose part it plays wherever it does not say otherwise."""

    inner: Fitted

    @property
    def layers(self) -> tuple[int, ...]:
        return self.inner.layers

    @property
    def trunk_fingerprint(self) -> str | None:
        return self.inner.trunk_fingerprint

    def win_probability(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return self.inner.win_probability(mean, std)

    def with_lower_bound(self, k: float, distance: float = 0.0) -> Self:
        other = copy.copy(self)
        other.inner = self.inner.with_lower_bound(k, distance)
        return other

    def on(self, trunk: Reader) -> Scorer:
        self.inner.on(trunk)
        return super().on(trunk)


class Head(Protocol):
    """What learns a reward from comparisons: every idea of this folder."""

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> Fitted: ...


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A fitted reward on its trunk: the `Scorer` that optimisers and people use.

    Row i of the result is response i to prompt i, repeats included. A response that the reward
    does not score is unscored, with the reason, in its own place.
    """

    fitted: Fitted
    trunk: Reader

    def score(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> Scores:
        """Return scores of N responses, row i answering prompt i."""
        answers = answered(prompts, responses)
        return self.read(answers)[0] if answers else Scores.concat([])

    def read(self, responses: Sequence[Response]) -> tuple[Scores, Readings]:
        """Return scores of N responses in their order, and the readings they rest on, one a text:
        the trunk's own log-probabilities among them."""
        readings = self.trunk.read(responses, layers=self.fitted.layers)
        scores = self.fitted.score(readings)
        at = readings.rows([answer.key for answer in responses])
        columns = {name: getattr(scores, name)[at] for name in scores.columns}
        why = scores.reasons
        reasons = {i: why[j] for i, j in enumerate(at.tolist()) if j in why}
        return Scores(**columns, reasons=reasons), readings


def answered(prompts: Sequence[Prompt | str], texts: Sequence[str]) -> list[Response]:
    """Return N texts as responses, row i answering prompt i."""
    if len(prompts) != len(texts):
        must = "there must be as many prompts as responses"
        raise InputError(must, got=f"{len(prompts)} and {len(texts)}")
    asked = [Prompt.of(p) if isinstance(p, str) else p for p in prompts]
    return [Response(prompt=p, text=text) for p, text in zip(asked, texts, strict=True)]


def load_reward(folder: str | Path, trunk: Reader | None = None) -> Fitted:
    """Return the reward that `save` wrote, of whichever kind; `SetupError` where the folder is not
    a whole reward of this version, and with a trunk whatever `on` raises."""
    reward = read_folder(Path(folder))
    if not isinstance(reward, Fitted):
        raise SetupError("a reward folder must hold a reward", got=f"something else in {folder}")
    if trunk is not None:
        reward.on(trunk)
    return reward
