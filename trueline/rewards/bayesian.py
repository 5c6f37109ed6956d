"""Bradley–Terry on the trunk's readings, with its uncertainty: the default reward head.

    p(chosen ≻ rejected | w) = e + (1 − 2e) σ((z(chosen) − z(rejected))·w),  w ~ N(0, A⁻¹)
    posterior ≈ N(w*, (A + Dᵀ S D)⁻¹)    reward(y) = (z(y) − z̄)·w,  mean and std in closed form

Bradley and Terry 1952; Laplace posterior and evidence after MacKay 1992; a last-layer Laplace
reward as in 2402.13210. What is usually tuned by hand is chosen by the evidence on the comparisons
themselves: the layers, how much each of their pools and the surprisals are worth (one precision a
block, from "unregularised" to "switched off"), the strength of the prior, the share e of labels
flipped at random, and where features are clipped. With 20,000 comparisons or more all is chosen on
a sample, and the posterior takes all.

Where we differ: (1) readings are standardised and winsorised (`features`); (2) layers that come
within 10 nats of the best (at most `num_layers`) are read together if that raises the evidence,
each with the precisions found for it alone, scaled so that the prior of a margin stays what it was;
(3) the reference point z̄ is the mean training reading, so scores are relative and a constant shift
of the reward, which comparisons never see, carries no uncertainty.

What the choices are worth: `benchmarks/reward_core.py`, docs/log.md. Units: nats of log-odds.
Deterministic: `rng` is not drawn from; the order of rows and comparisons is irrelevant to the last
bit. Fails where raters prefer what no layer shows linearly; then the evidence stays near that of
coin tosses (`metadata["coin_evidence"]`), the prior shrinks and every answer scores about alike.
And where two layers matter only together: each is judged by itself before they meet.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from trueline.errors import InputError
from trueline.models.reading import Readings
from trueline.rewards.evidence import MarginalLikelihood, Point, climb
from trueline.rewards.features import Features, Part, Training
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import Pairs
from trueline.rng import Rng

__all__ = ["Bayesian"]

SAMPLE = 10_000
"""Comparisons that the choices are made on, where there are at least twice as many."""
WINSOR = 2.0
"""Where features are usually clipped: where the evidence cannot tell, with few, noisy labels, it is
worth more at large n than the last half point of accuracy."""
WINSORS = (1.0, 1.5, WINSOR, 2.5, 3.0, 4.0, 6.0)
LABEL_NOISES = (0.05, 0.1, 0.15, 0.2, 0.3)
NEAR = 10.0
"""Layers this many nats below the best are neither climbed to the top nor read with it."""


@dataclass(frozen=True, kw_only=True)
class Bayesian:
    """A linear reward with a Gaussian posterior; its fields are its configuration."""

    layer: int | str = "evidence"
    """A layer of the trunk, or "evidence" to let the comparisons choose."""
    pooling: str = "evidence"
    """"last", "mean", or "evidence": all pools that were read."""
    precision: float | str = "evidence"
    """Prior precision of the weights of standardised features, or "evidence": one a block."""
    num_layers: int = 4
    """At most this many layers are read together (with layer = "evidence")."""
    winsor: float | str = "evidence"
    """Standard deviations at which standardised features are clipped, or "evidence"."""
    label_noise: float | Literal["evidence"] = "evidence"
    """Share of labels taken to be flipped at random, in [0, 0.5), or "evidence"."""

    def __post_init__(self) -> None:
        names = ("layer", "precision", "winsor", "label_noise")
        given = {n: value for n in names if (value := getattr(self, n)) != "evidence"}
        if words := [name for name, value in given.items() if isinstance(value, str)]:
            raise InputError(f'{words[0]} must be a number or "evidence"', got=repr(self))
        checks = {
            "precision must be positive": 0 < given.get("precision", 1.0) < np.inf,
            "winsor must be positive": given.get("winsor", 1.0) > 0,
            "label_noise must lie in [0, 0.5)": 0 <= given.get("label_noise", 0.0) < 0.5,
            "num_layers must be at least 1": self.num_layers >= 1,
        }
        if wrong := [must for must, holds in checks.items() if not holds]:
            raise InputError(wrong[0], got=repr(self))

    def fit(self, readings: Readings, comparisons: Pairs, *, rng: Rng) -> LinearReward:
        """Return the posterior given these comparisons, all of whose responses have been read;
        `DataError` where there is none, one was not read, or a reading is not finite."""
        return self.learn(Training.of(readings, comparisons))

    def learn(self, everything: Training) -> LinearReward:
        """Return the posterior given the comparisons of `everything`, beside its offset."""
        started = time.perf_counter()
        training = everything.sample(SAMPLE)
        head = replace(
            self,
            winsor=WINSOR if isinstance(self.winsor, str) else self.winsor,
            label_noise=0.0 if isinstance(self.label_noise, str) else self.label_noise,
        )
        best, others = head._each_layer(training)
        tried = [(best.features.parts, best.point), *others]
        if isinstance(self.label_noise, str):
            best = head._with_label_noise(best)
            head = replace(head, label_noise=best.evidence.label_noise)
        if isinstance(self.winsor, str):
            best = head._clipped(training, best)
            head = replace(head, winsor=best.features.winsor)
        best = head._joined(training, best, tried)
        if training is not everything:
            start = None if best.evidence.dual else best.point.mode
            parts = best.features.parts
            best = head._candidate(everything, parts, best.point.log_precisions, start)
        reward = _posterior(everything, best)
        reward.metadata["fit_s"] = time.perf_counter() - started
        return reward

    def _each_layer(self, training: Training) -> tuple[_Candidate, list[_Tried]]:
        """Return the best layer by itself, and what the others came to, best first.

        They are tried from the middle of the trunk outwards. Each starts at the precisions of the
        best so far, which suit its neighbours well, and is not climbed to its top once it cannot
        win.
        """
        layers = training.readings.layers if isinstance(self.layer, str) else (self.layer,)
        names = training.readings.poolings if self.pooling == "evidence" else (self.pooling,)
        best, *rest = sorted(layers, key=lambda at: abs(layers.index(at) - (len(layers) - 1) / 2))
        top = self._candidate(training, tuple((best, pool) for pool in names))
        top = self._climbed(top, tol=0.3, max_steps=8)
        others: list[_Tried] = []
        for layer in rest:
            parts = tuple((layer, pool) for pool in names)
            one = self._candidate(training, parts, top.point.log_precisions)
            below = top.point.value - NEAR
            one = self._climbed(one, tol=0.3, give_up_below=below, max_steps=8)
            top, lesser = (one, top) if one.point.value > top.point.value else (top, one)
            others.append((lesser.features.parts, lesser.point))
        others.sort(key=lambda tried: -tried[1].value)
        return self._climbed(top, tol=0.02), others

    def _with_label_noise(self, best: _Candidate) -> _Candidate:
        """Return the best layer with the label noise that suits it.

        From none to much until the evidence falls, each mode the start of the next: with noise
        the posterior may have several.
        """
        tried = [best]
        for label_noise in LABEL_NOISES:
            near, evidence = tried[-1].point, best.evidence.with_label_noise(label_noise)
            point = evidence.at(near.log_precisions, start=near.mode)
            one = _Candidate(best.features, point, evidence)
            tried.append(self._climbed(one, tol=0.3, max_steps=3))
            if tried[-1].point.value < max(each.point.value for each in tried) - 0.5:
                break
        return _clearly_best(tried)

    def _clipped(self, training: Training, best: _Candidate) -> _Candidate:
        """Return the best layer with the clipping point that suits it.

        The search goes outwards from the usual point while the evidence rises: a reward that
        levels off looks linear once its features do.
        """
        tried, place = [best], WINSORS.index(WINSOR)
        for path in (WINSORS[:place][::-1], WINSORS[place + 1 :]):
            last = best
            for winsor in path:
                head, near = replace(self, winsor=winsor), last.point
                parts = best.features.parts
                one = head._candidate(training, parts, near.log_precisions, near.mode)
                one = head._climbed(one, tol=0.3, max_steps=3)
                if one.point.value < near.value:
                    break
                last = one
            tried.append(last)
        return _clearly_best(tried)

    def _joined(self, training: Training, best: _Candidate, tried: Sequence[_Tried]) -> _Candidate:
        """Return the layers near the best one together with it, if that raises the evidence.

        All are as they were tried, the best first; what label noise and clipping have
        since done to the best one's precisions is taken to hold for the others.
        """
        top = tried[0][1]
        near = [t for t in tried if t[1].value > top.value - NEAR][: self.num_layers]
        if len(near) == 1:
            return best
        moved = best.point.log_precisions - top.log_precisions
        skip = int(best.features.surprisals)
        each = [point.log_precisions + moved for _, point in near]
        shared = [np.mean([x[:skip] for x in each], axis=0)]
        own = [x[skip:] + np.log(len(near)) for x in each]
        parts = tuple(part for layer, _ in near for part in layer)
        joined = self._candidate(training, parts, np.concatenate(shared + own))
        return joined if joined.point.value > best.point.value else best

    def _candidate(
        self,
        training: Training,
        parts: tuple[Part, ...],
        log_precisions: np.ndarray | None = None,
        start: np.ndarray | None = None,
    ) -> _Candidate:
        """Return parts of the reading at these, or at a first guess of their precisions.

        `start`: a mode nearby, of evidence in the same form.
        """
        assert not isinstance(self.winsor, str) and not isinstance(self.label_noise, str)
        features = Features.learn(training.readings, parts, winsor=self.winsor)
        rows = training.differences(features)
        noise, offset = self.label_noise, training.offset
        evidence = MarginalLikelihood(rows, features.owners, noise, offset)
        if not isinstance(self.precision, str):
            log_precisions = np.full(len(evidence.blocks), np.log(self.precision))
        x = evidence.start() if log_precisions is None else log_precisions
        return _Candidate(features, evidence.at(x, start=start, tol=1e-2), evidence)

    def _climbed(self, candidate: _Candidate, **how: Any) -> _Candidate:
        if not isinstance(self.precision, str):
            return candidate
        point = climb(candidate.evidence, candidate.point, **how)
        return _Candidate(candidate.features, point, candidate.evidence)


@dataclass(frozen=True)
class _Candidate:
    """Some parts of the reading with their precisions, and the arrays these were found on."""

    features: Features
    point: Point
    evidence: MarginalLikelihood


_Tried = tuple[tuple[Part, ...], Point]
"""The same without the arrays, which for many layers would fill the memory."""


def _clearly_best(tried: Sequence[_Candidate]) -> _Candidate:
    """Return the one of largest evidence; less than 1 nat is no reason to move from the first."""
    best = max(tried, key=lambda each: each.point.value)
    return best if best.point.value >= tried[0].point.value + 1.0 else tried[0]


def _posterior(training: Training, best: _Candidate) -> LinearReward:
    """Return the belief at the precisions that were chosen, with what it rests on."""
    evidence, num = best.evidence, len(training.raters)
    # Fisher's steps close in linearly: the last digits would take most of the time.
    tol = 1e-6 if evidence.label_noise else 1e-10
    point = evidence.at(best.point.log_precisions, start=best.point.mode, tol=tol)
    weights, belief = evidence.posterior(point)
    return LinearReward.of(
        features=best.features,
        readings=training.readings,
        weights=weights,
        belief=belief,
        label_noise=evidence.label_noise,
        metadata={
            "n": num,
            "evidence": point.value,
            "coin_evidence": -num * float(np.log(2)),
            "precision": dict(zip(best.features.names, point.precisions.tolist(), strict=True)),
        },
    )
