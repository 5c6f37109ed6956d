"""Bradley–Terry on the trunk's readings, with its doubt: the default reward head.

    p(chosen ≻ rejected | w) = ε + (1 − 2ε) σ(τ_rater (z(chosen) − z(rejected))·w),  w ~ N(0, A⁻¹)
    posterior ≈ N(w*, (A + Dᵀ S D)⁻¹)    reward(y) = (z(y) − z̄)·w,  mean and std in closed form

Bradley and Terry 1952; Laplace posterior and evidence after MacKay 1992; a last-layer Laplace
reward as in 2402.13210. Everything that is usually tuned by hand is chosen by the evidence on the
comparisons themselves: the layer, how much each of its pools and the surprisals are worth (one
precision a block, from "unregularised" to "switched off"), and the strength of the prior.

Where we differ: (1) readings are standardised and winsorised (`features`); (2) layers that
come within 10 nats of the best (at most `num_layers`) are read together if that raises the
evidence, each with the precisions found for it alone, scaled so that the prior of a margin stays
what it was; (3) a share ε of labels may be random swaps, chosen by the evidence on a grid, because
real labels have outliers that no margin explains, and one such label otherwise flattens them all;
(4) raters have temperatures (`raters`); (5) the reference point z̄ is the mean training reading, so
scores are relative and a constant shift of the reward, which comparisons never see, carries no
doubt.

Units: nats of log-odds. Deterministic: `rng` is part of the role and not drawn from; the order of
rows and comparisons is irrelevant to the last bit.
Fails where raters prefer what no layer shows linearly; then the evidence stays near that of
coin tosses (`card["coin_evidence"]`), the prior shrinks and every answer scores about alike.

>>> from trueline.models.fake import FakeTrunk
>>> from trueline.records import Comparison, Prompt, Response
>>> ask, trunk = Prompt.of("?"), FakeTrunk(planted={"good": 3.0})
>>> texts = [(Response(prompt=ask, text=f"good {i}"), Response(prompt=ask, text=f"bad {i}"))
...          for i in range(40)]
>>> pairs = [Comparison(chosen=a, rejected=b) for a, b in texts]
>>> readings = trunk.read([r for both in texts for r in both])
>>> reward = Bayesian().fit(readings, pairs, rng=np.random.default_rng(0))
>>> reward.layer, bool(reward.margin(readings, [0], [1])[0] > 0)
(2, True)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Comparison
from trueline.rewards.evidence import MarginalLikelihood, Point, climb
from trueline.rewards.features import Features, Part
from trueline.rewards.fitted import FittedReward, ordered
from trueline.rewards.laplace import belief_of
from trueline.rewards.raters import left_out_margins, temperatures

__all__ = ["Bayesian"]

# Layers this many nats below the best are neither climbed to the top nor read together with it.
NEAR = 10.0
FLIPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


@dataclass(frozen=True, kw_only=True)
class Bayesian:
    """A linear reward with a Gaussian posterior; its fields are its configuration."""

    layer: int | str = "evidence"
    """A layer of the trunk, or "evidence" to let the comparisons choose."""
    pooling: str = "evidence"
    """"last", "mean", "eval", "both" (last and mean), or "evidence": all pools that were read."""
    precision: float | str = "evidence"
    """Prior precision of the weights of standardised features, or "evidence": one a block."""
    num_layers: int = 4
    """At most this many layers are read together (with layer = "evidence")."""
    winsor: float = 3.0
    """Standard deviations at which standardised features are clipped."""
    rater_temperature: bool = True
    """Whether raters of at least 20 comparisons each get a reliability of their own."""
    flip: float | str = "evidence"
    """Share of labels taken to be random swaps, in [0, 0.5), or "evidence"."""

    def __post_init__(self) -> None:
        precision_ok = self.precision == "evidence" or (
            not isinstance(self.precision, str) and 0 < self.precision < np.inf
        )
        checks = {
            'layer must be a number of a layer or "evidence"': isinstance(self.layer, int)
            or self.layer == "evidence",
            'precision must be a positive number or "evidence"': precision_ok,
            "num_layers must be at least 1": self.num_layers >= 1,
            "winsor must be positive": self.winsor > 0,
            'flip must lie in [0, 0.5), or be "evidence"': self.flip == "evidence"
            or (not isinstance(self.flip, str) and 0 <= self.flip < 0.5),
        }
        for must, holds in checks.items():
            if not holds:
                raise InputError(must, got=repr(self))

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> FittedReward:
        """The posterior given these comparisons, all of whose responses have been read."""
        started = time.perf_counter()
        data = _Data.of(readings, comparisons)
        data.flip = 0.0 if isinstance(self.flip, str) else self.flip
        single = self._each_layer(data)
        if self.rater_temperature:
            single[0] = self._rate(data, single[0])
        best = self._join(data, single)
        return self._finish(data, best, single, started)

    def _each_layer(self, data: _Data) -> list[_Candidate]:
        """Every layer by itself, best first, from the middle of the trunk outwards.

        Each starts at the precisions of the best so far, which suit its neighbours well, and is
        not climbed to its top once it cannot win.
        """
        layers = data.readings.layers if isinstance(self.layer, str) else (self.layer,)
        middle = (len(layers) - 1) / 2
        done: list[_Candidate] = []
        for i in sorted(range(len(layers)), key=lambda i: abs(i - middle)):
            best = max(done, key=lambda c: c.point.value, default=None)
            parts = self._parts(data.readings, (layers[i],))
            found = self._candidate(data, parts, best.point.log_precisions if best else None)
            top = best.point.value - NEAR if best else -np.inf
            done.append(self._climbed(found, tol=0.3, give_up_below=top, max_steps=8))
            if best is None and self.flip == "evidence":
                done = [self._flipped(data, done[0])]
            if best is not None and done[-1].point.value > best.point.value:
                best.drop()
            elif best is not None:
                done[-1].drop()
        done.sort(key=lambda c: -c.point.value)
        return [self._climbed(done[0], tol=0.02), *done[1:]]

    def _flipped(self, data: _Data, found: _Candidate) -> _Candidate:
        """The share of random swaps that suits these parts best; the path goes from small to
        large, because each mode is the best place to look for the next."""
        best = last = found
        for flip in FLIPS:
            if last.evidence is None or last.point.value < best.point.value - 0.5:
                break
            evidence = last.evidence.with_flip(flip)
            near = evidence.at(last.point.log_precisions, start=last.point.mode)
            last = self._climbed(_Candidate(found.features, near, evidence), tol=0.3, max_steps=2)
            best = max(best, last, key=lambda c: c.point.value)
        if best.point.value < found.point.value + 1.0:
            best = found
        if best.evidence is not None:
            data.flip = best.evidence.flip
        return best

    def _parts(self, readings: Readings, layers: Sequence[int]) -> tuple[Part, ...]:
        choices = {"evidence": readings.poolings, "both": ("last", "mean")}
        pools = choices.get(self.pooling, (self.pooling,))
        return tuple((layer, pool) for layer in layers for pool in pools)

    def _candidate(
        self,
        data: _Data,
        parts: tuple[Part, ...],
        start: np.ndarray | None = None,
        mode: Callable[[MarginalLikelihood], np.ndarray] | None = None,
    ) -> _Candidate:
        """Some parts of the reading at the given, or at a first guess of their precisions."""
        features = Features.learn(data.readings, parts, winsor=self.winsor)
        evidence = self._evidence(data, features)
        if not isinstance(self.precision, str):
            start = np.full(len(evidence.blocks), np.log(self.precision))
        start = evidence.start() if start is None else start
        near = None if mode is None else mode(evidence)
        if near is None and evidence.flip > 0:
            # With swaps the posterior has several modes; the one of ε = 0 leads to a good one.
            near = evidence.with_flip(0.0).at(start, tol=0.1).mode
        return _Candidate(features, evidence.at(start, start=near, tol=1e-2), evidence)

    def _climbed(
        self,
        found: _Candidate,
        *,
        tol: float,
        give_up_below: float = -np.inf,
        max_steps: int = 25,
    ) -> _Candidate:
        """The same parts at the precisions that suit them best."""
        if not isinstance(self.precision, str) or found.evidence is None:
            return found
        point = climb(
            found.evidence,
            found.point,
            tol=tol,
            give_up_below=give_up_below,
            max_steps=max_steps,
        )
        return _Candidate(found.features, point, found.evidence)

    def _evidence(self, data: _Data, features: Features) -> MarginalLikelihood:
        rows, owners = data.differences(features), features.owners
        blocks = [rows[:, owners == b] for b in range(owners[-1] + 1)]
        return MarginalLikelihood(blocks, flip=data.flip)

    def _rate(self, data: _Data, best: _Candidate) -> _Candidate:
        """Alternate twice between the raters' temperatures and the best layer's fit."""
        for _ in range(2 if len(set(data.raters)) > 1 else 0):
            evidence = best.evidence or self._evidence(data, best.features)
            point = evidence.at(best.point.log_precisions, start=best.point.mode, tol=1e-8)
            rows, prior = data.differences(best.features), point.precisions[evidence.owner]
            variance = belief_of(prior, rows, point.terms.curvature).var(rows)
            margins = rows @ evidence.weights(point)
            free = left_out_margins(margins, variance, point.terms) / data.heat
            if not data.set_temperatures(temperatures(free, data.raters)):
                break
            warmer = self._evidence(data, best.features)
            best = _Candidate(best.features, warmer.at(point.log_precisions), warmer)
            best = self._climbed(best, tol=0.02)
        return best

    def _join(self, data: _Data, single: list[_Candidate]) -> _Candidate:
        """The layers near the best one read together with it, if that raises the evidence."""
        best = single[0]
        near = [c for c in single if c.point.value > best.point.value - NEAR][: self.num_layers]
        if len(near) == 1:
            return best
        parts = tuple(part for c in near for part in c.features.parts)
        skip = int(best.features.surprisals)
        shared = [np.mean([c.point.log_precisions[:skip] for c in near], axis=0)]
        own = [c.point.log_precisions[skip:] + np.log(len(near)) for c in near]

        def mean_mode(evidence: MarginalLikelihood) -> np.ndarray:
            """Where the mean of the layers' own rewards lies."""
            if evidence.dual:
                return np.asarray(np.mean([c.point.terms.slope for c in near], axis=0))
            first = np.mean([c.point.mode[: 5 * skip] for c in near], axis=0)
            return np.concatenate([first, *(c.point.mode[5 * skip :] / len(near) for c in near)])

        joined = self._candidate(data, parts, np.concatenate(shared + own), mean_mode)
        return joined if joined.point.value > best.point.value else best

    def _finish(
        self, data: _Data, best: _Candidate, single: list[_Candidate], started: float
    ) -> FittedReward:
        evidence = best.evidence or self._evidence(data, best.features)
        point = evidence.at(best.point.log_precisions, start=best.point.mode, tol=1e-10)
        rows = data.differences(best.features)
        prior = point.precisions[evidence.owner]
        reward = FittedReward.of(
            features=best.features,
            readings=data.readings,
            weights=evidence.weights(point),
            belief=belief_of(prior, rows, point.terms.curvature),
            temperatures=data.temperatures,
            flip=evidence.flip,
        )
        reward.card = {
            "head": "bayesian",
            "spec": asdict(self),
            "n": len(data.raters),
            "flip": evidence.flip,
            "evidence": point.value,
            "coin_evidence": -len(data.raters) * float(np.log(2)),
            "blocks": _blocks(best.features, point),
            "layers_tried": [
                {
                    "layer": c.features.parts[0][0],
                    "evidence": c.point.value,
                    "blocks": _blocks(c.features, c.point),
                }
                for c in single
            ],
            "trunk_fingerprint": data.readings.trunk,
            "fit_s": time.perf_counter() - started,
        }
        return reward


@dataclass
class _Candidate:
    """Some parts of the reading with their precisions."""

    features: Features
    point: Point
    evidence: MarginalLikelihood | None

    def drop(self) -> None:
        """Let go of the arrays, which for many layers would fill the memory."""
        self.evidence = None


def _blocks(features: Features, point: Point) -> list[dict[str, Any]]:
    return [
        {"name": name, "precision": float(alpha), "directions": float(fixed)}
        for name, alpha, fixed in zip(features.names, point.precisions, point.fixed, strict=True)
    ]


@dataclass
class _Data:
    """The training rows of a fit, in an order that depends on their content only."""

    readings: Readings
    chosen: np.ndarray
    rejected: np.ndarray
    raters: tuple[str, ...]
    temperatures: dict[str, float]
    heat: np.ndarray
    """Temperature of each comparison's rater, [N]."""
    flip: float = 0.0

    @classmethod
    def of(cls, readings: Readings, comparisons: Sequence[Comparison]) -> _Data:
        if not len(comparisons):
            raise DataError("a reward needs at least one comparison", got="none")
        first, second, raters = ordered(comparisons)
        keys = sorted({*first, *second})
        used = readings.take(readings.rows(keys))
        finite = np.isfinite(used.latents).all(axis=(1, 2, 3))
        if used.surprisals is not None:
            finite &= np.isfinite(used.surprisals).all(axis=1)
        if not finite.all():
            raise DataError(
                "readings of comparisons must be finite",
                got=f"NaN or inf in {int((~finite).sum())} of {len(finite)} rows",
                do="check the trunk's dtype, or leave those rows out",
            )
        return cls(used, used.rows(first), used.rows(second), raters, {}, np.ones(len(raters)))

    def differences(self, features: Features) -> np.ndarray:
        """z(chosen) − z(rejected), times the rater's temperature, [N, F]."""
        z = features.clipped(self.readings)
        return np.asarray((z[self.chosen] - z[self.rejected]) * self.heat[:, None])

    def set_temperatures(self, found: dict[str, float]) -> bool:
        """Take these temperatures; False if there are none to take."""
        self.temperatures = found
        self.heat = np.array([found.get(rater, 1.0) for rater in self.raters])
        return bool(found)
