"""The search for what the evidence favours: layers, precisions, random swaps, where features are
clipped, raters' temperatures.

Each layer is climbed to its best precisions, from the middle of the trunk outwards; on the first
one the share of random swaps is found too, on a path from none to many. Then the best layer gives
the raters' temperatures, and the layers near it are read together with it if that raises the
evidence. Everything is deterministic.

Where we differ from a full search: a layer that cannot win any more is not climbed to its top; the
share of swaps is found on one layer and kept for the others; joined layers keep the proportions of
their precisions: climbing all of them together ranked no better on hh_harmless and took longer.

Fails where two layers matter only together: each is judged by itself before they meet.

Speed: `benchmarks.hh_harmless` (many layers) and `benchmarks.fit_at_scale` (many comparisons).
Random swaps are worth looking for even where no label was flipped: real margins have outliers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from trueline.rewards.evidence import MarginalLikelihood, Point, climb
from trueline.rewards.features import Features, Part
from trueline.rewards.laplace import belief_of
from trueline.rewards.raters import left_out_margins, temperatures
from trueline.rewards.training import Training

__all__ = ["Candidate", "Search"]

# Layers this many nats below the best are neither climbed to the top nor read together with it.
NEAR = 10.0
# Where the evidence cannot tell, the more cautious of the usual clips: with few, noisy labels it is
# worth more at large n than the last half point of accuracy (benchmarks/overoptimisation.py).
WINSOR = 2.0
WINSORS = (1.0, 1.5, WINSOR, 2.5, 3.0, 4.0, 6.0)
NOISE_LEVELS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


@dataclass
class Candidate:
    """Some parts of the reading with their precisions."""

    features: Features
    point: Point
    evidence: MarginalLikelihood | None

    def drop(self) -> None:
        """Let go of the arrays, which for many layers would fill the memory."""
        self.evidence = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search; the fields are those of `Bayesian`."""

    training: Training
    layers: tuple[int, ...]
    pools: tuple[str, ...]
    precision: float | str
    num_layers: int
    winsor: float | str
    label_noise: float | str

    def __post_init__(self) -> None:
        self.training.winsor = WINSOR if isinstance(self.winsor, str) else self.winsor

    def each_layer(self) -> list[Candidate]:
        """Every layer by itself, best first, from the middle of the trunk outwards.

        Each starts at the precisions of the best so far, which suit its neighbours well, and is
        not climbed to its top once it cannot win.
        """
        middle = (len(self.layers) - 1) / 2
        done: list[Candidate] = []
        for i in sorted(range(len(self.layers)), key=lambda i: abs(i - middle)):
            best = max(done, key=lambda c: c.point.value, default=None)
            parts = tuple((self.layers[i], pool) for pool in self.pools)
            found = self._candidate(parts, best.point.log_precisions if best else None)
            top = best.point.value - NEAR if best else -np.inf
            done.append(self._climbed(found, tol=0.3, give_up_below=top, max_steps=8))
            if best is None and self.label_noise == "evidence":
                done = [self._with_noise(done[0])]
            if best is not None and done[-1].point.value > best.point.value:
                best.drop()
            elif best is not None:
                done[-1].drop()
        first = done[0]
        done.sort(key=lambda c: -c.point.value)
        if (
            self.label_noise == "evidence"
            and self.training.label_noise == 0
            and done[0] is not first
        ):
            # The first layer may have held nothing for swaps to stand out against.
            done[0] = self._with_noise(done[0])
        if self.winsor == "evidence":
            done[0] = self._clipped(done[0])
        return [self._climbed(done[0], tol=0.02), *done[1:]]

    def _clipped(self, found: Candidate) -> Candidate:
        """The clipping point that suits these parts best, outwards from the usual one: a reward
        that levels off looks linear once its features do."""
        best = found
        for path in (WINSORS[: WINSORS.index(WINSOR)][::-1], WINSORS[WINSORS.index(WINSOR) + 1 :]):
            last = found
            for self.training.winsor in path:
                start = last.point.log_precisions
                tried = self._candidate(last.features.parts, start)
                tried = self._climbed(tried, tol=0.3, max_steps=3)
                if tried.point.value < last.point.value:
                    break
                last = tried
            best = max(best, last, key=lambda c: c.point.value)
        if best.point.value < found.point.value + 1.0:
            best = found
        self.training.winsor = best.features.winsor
        return best

    def _with_noise(self, found: Candidate) -> Candidate:
        """The share of random swaps that suits these parts best; the path goes from small to
        large, because each mode is the best place to look for the next."""
        best = last = found
        for label_noise in NOISE_LEVELS:
            if last.evidence is None or last.point.value < best.point.value - 0.5:
                break
            evidence = last.evidence.with_label_noise(label_noise)
            near = evidence.at(last.point.log_precisions, start=last.point.mode)
            last = self._climbed(Candidate(found.features, near, evidence), tol=0.3, max_steps=2)
            best = max(best, last, key=lambda c: c.point.value)
        if best.point.value < found.point.value + 1.0:
            best = found
        if best.evidence is not None:
            self.training.label_noise = best.evidence.label_noise
        return best

    def _candidate(
        self,
        parts: tuple[Part, ...],
        start: np.ndarray | None = None,
        mode: Callable[[MarginalLikelihood], np.ndarray] | None = None,
    ) -> Candidate:
        """Some parts of the reading at the given, or at a first guess of their precisions."""
        features = Features.learn(self.training.readings, parts, winsor=self.training.winsor)
        evidence = self.evidence(features)
        if not isinstance(self.precision, str):
            start = np.full(len(evidence.blocks), np.log(self.precision))
        start = evidence.start() if start is None else start
        near = None if mode is None else mode(evidence)
        if near is None and evidence.label_noise > 0:
            # With swaps the posterior has several modes; the one of ε = 0 leads to a good one.
            near = evidence.with_label_noise(0.0).at(start, tol=0.1).mode
        return Candidate(features, evidence.at(start, start=near, tol=1e-2), evidence)

    def _climbed(
        self,
        found: Candidate,
        *,
        tol: float,
        give_up_below: float = -np.inf,
        max_steps: int = 25,
    ) -> Candidate:
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
        return Candidate(found.features, point, found.evidence)

    def evidence(self, features: Features) -> MarginalLikelihood:
        rows = self.training.differences(features)
        blocks = np.split(rows, np.flatnonzero(np.diff(features.owners)) + 1, axis=1)
        return MarginalLikelihood(blocks, label_noise=self.training.label_noise, rows=rows)

    def settle(self, best: Candidate, everything: Training) -> Candidate:
        """What was found on a sample, at the precisions that suit all comparisons."""
        everything.label_noise, everything.winsor = self.training.label_noise, self.training.winsor
        everything.set_temperatures(self.training.temperatures)
        mode = (best.evidence or self.evidence(best.features)).weights(best.point)
        all_rows = replace(self, training=everything, winsor=everything.winsor)
        near = all_rows._candidate(
            best.features.parts, best.point.log_precisions, lambda evidence: mode
        )
        return all_rows._climbed(near, tol=1.0, max_steps=3)

    def rate(self, best: Candidate) -> Candidate:
        """Alternate twice between the raters' temperatures and the best layer's fit."""
        for _ in range(2 if len(set(self.training.raters)) > 1 else 0):
            evidence = best.evidence or self.evidence(best.features)
            point = evidence.at(best.point.log_precisions, start=best.point.mode, tol=1e-8)
            rows, prior = self.training.differences(best.features), point.precisions[evidence.owner]
            variance = belief_of(prior, rows, point.terms.curvature).var(rows)
            margins = rows @ evidence.weights(point)
            free = left_out_margins(margins, variance, point.terms) / self.training.heat
            if not self.training.set_temperatures(temperatures(free, self.training.raters)):
                break
            warmer = self.evidence(best.features)
            best = Candidate(best.features, warmer.at(point.log_precisions), warmer)
            best = self._climbed(best, tol=0.02)
        return best

    def join(self, single: list[Candidate]) -> Candidate:
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

        joined = self._candidate(parts, np.concatenate(shared + own), mean_mode)
        return joined if joined.point.value > best.point.value else best
