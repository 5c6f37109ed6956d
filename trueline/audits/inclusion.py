"""Critique inclusion against hallucination as a whole curve: how much more to say, at what cost.

    pick(m) = argmax over K sampled critiques of  reward(c) + m * flaws named in c,   m swept
    inclusion      share of spoiled answers whose pick names the planted flaw
    hallucination  share of answers, spoiled and clean, whose pick names a flaw that is not there
    area           of inclusion under the best m up to each share of hallucination, over 0..1

Force Sampling Beam Search (McAleese et al. 2024, arXiv 2407.00215): a longer critique finds more
and invents more, so one point says little of a critic. Where we differ: (1) whole critiques are
sampled and none is grown from another; (2) without a trained reward, `consensus` stands in: the log
odds of each flaw named, by the share of a response's samples that name it; (3) the curve has an
area with an interval, by prompts. A critique that cannot be read is never picked; without any
readable one nothing is named. The front of many points is optimistic on few prompts: each m of it
was the best of several on these very cases.

>>> critic = Curve(modifiers=(0.0,), named=np.ones((2, 1)), invented=np.zeros((2, 1)),
...                flaws=np.ones((2, 1)), prompts=("a", "b"))
>>> critic.area(rng=np.random.default_rng(0)).value
1.0
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trueline.data.planted_flaws import PlantedCase
from trueline.records import Critique, Estimate, Flaw
from trueline.stats.resampling import bootstrap, mean

__all__ = ["Curve", "area_difference", "consensus", "sweep"]

Floats = NDArray[np.float64]
Samples = Mapping[str, Sequence[Critique]]
"""Critiques of each response, by its key."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What was picked for N planted cases at each of M modifiers; arrays [N, M]."""

    modifiers: tuple[float, ...]
    named: Floats
    """Whether the planted flaw was named."""
    invented: Floats
    """The share of the case's two answers with an invented flaw."""
    flaws: Floats
    """Flaws named an answer."""
    prompts: tuple[str, ...]

    def points(self, *, rng: np.random.Generator) -> list[dict[str, Any]]:
        """A row a modifier, with intervals by prompts; `front`: no other names more for less."""
        x, y = self.invented.mean(0), self.named.mean(0)
        rows = []
        for j, modifier in enumerate(self.modifiers):
            beaten = (x <= x[j]) & (y >= y[j]) & ((x < x[j]) | (y > y[j]))
            rows.append(
                {
                    "modifier": modifier,
                    "inclusion": self._mean(self.named, j, rng).as_dict(),
                    "hallucination": self._mean(self.invented, j, rng).as_dict(),
                    "flaws": float(self.flaws[:, j].mean()),
                    "front": not beaten.any(),
                }
            )
        return rows

    def area(self, *, rng: np.random.Generator) -> Estimate:
        """The area under the front, from 0 (names nothing) to 1."""
        return bootstrap(_area, self.named, self.invented, clusters=self.prompts, rng=rng)

    def _mean(self, values: Floats, j: int, rng: np.random.Generator) -> Estimate:
        return mean(values[:, j], clusters=self.prompts, rng=rng)


def consensus(critiques: Sequence[Critique]) -> Callable[[Critique], float]:
    """Rewards naming what most of these critiques of one response name, and nothing else."""
    counts = Counter(f for c in critiques for f in {_bare(f) for f in c.flaws or ()})
    num = len(critiques)

    def reward(critique: Critique) -> float:
        shares = [(counts[f] + 0.5) / (num + 1) for f in {_bare(f) for f in critique.flaws or ()}]
        return float(sum(np.log(share / (1 - share)) for share in shares))

    return reward


def sweep(
    planted: Sequence[PlantedCase],
    samples: Samples,
    *,
    reward: Callable[[Sequence[Critique]], Callable[[Critique], float]] = consensus,
    modifiers: Sequence[float] = (0.0,),
) -> Curve:
    """The picks at every modifier; one critique a response and one modifier is a plain critic."""
    shape = (len(planted), len(modifiers))
    named, invented, flaws = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for i, one in enumerate(planted):
        for side, response in enumerate(one.case.responses):
            said = [c for c in samples[response.key] if c.flaws is not None]
            worth = reward(samples[response.key])
            rewards = [worth(c) for c in said]
            for j, modifier in enumerate(modifiers):
                scores = [
                    r + modifier * len(c.flaws or ()) for r, c in zip(rewards, said, strict=True)
                ]
                picked = said[int(np.argmax(scores))].flaws or () if said else ()
                named[i, j] += any(one.names(side, flaw) for flaw in picked)
                invented[i, j] += any(one.invented(side, flaw) for flaw in picked) / 2
                flaws[i, j] += len(picked) / 2
    return Curve(
        modifiers=tuple(modifiers),
        named=named,
        invented=invented,
        flaws=flaws,
        prompts=tuple(one.case.prompt.key for one in planted),
    )


def area_difference(a: Curve, b: Curve, *, rng: np.random.Generator) -> Estimate:
    """area(a) - area(b), paired: both are of the same planted cases."""

    def gap(*arrays: Floats) -> float:
        return _area(*arrays[:2]) - _area(*arrays[2:])

    return bootstrap(gap, a.named, a.invented, b.named, b.invented, clusters=a.prompts, rng=rng)


def _area(named: Floats, invented: Floats) -> float:
    """Between two points of the front, what the lower one names is all there is."""
    x, y = invented.mean(0), named.mean(0)
    order = np.argsort(x)
    best = np.maximum.accumulate(y[order])
    return float((np.diff(np.append(x[order], 1.0)) * best).sum())


def _bare(flaw: Flaw) -> tuple[str, int | None]:
    return flaw.kind, flaw.step
