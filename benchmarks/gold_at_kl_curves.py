"""Gold against KL as curves: where they peak, who is ahead at equal KL, what is kept of a peak.

A curve is a run's checkpoints, the trunk first: KL [C] in nats a response, gold [C, P] a prompt.

    ahead(u) = ours(kl_u) - rival(kl_u),   kl_u = kl_peak + u * (kl_most - kl_peak),  0 <= u <= 1

Between checkpoints both are interpolated along KL. kl_peak is the rival's KL where its mean gold is
largest, picked by the very numbers it is measured by, which flatters the rival at u = 0. "equal":
kl_most is the largest KL both have reached, on the seeds where ours got as far as kl_peak.
"within": it is the rival's largest, and ours stays at its own largest KL where that is less.

    kept = gold(end) / sum_h gold_{not h}(argmax_c gold_h(c)),   h: halves of the prompts

The largest of several noisy means is too large; so a peak is found on one half of the prompts and
measured on the other.

>>> curve = Curve(np.array([0.0, 1, 2]), np.array([[1.0, 1], [2, 2], [1, 1]]))
>>> curve.peak, curve.at(1.5), curve.kept
(1, 1.5, 0.5)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueline import stats
from trueline.records import Estimate

__all__ = ["Curve", "ahead", "ends_ahead", "kept", "mean_curve"]

WAY = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where from the rival's peak to the largest common KL the two are compared."""


@dataclass(frozen=True)
class Curve:
    """One run's checkpoints, in the order they were made."""

    kl: np.ndarray
    gold: np.ndarray

    @classmethod
    def of(cls, cell: dict[str, Any]) -> Curve:
        """Of a finished cell."""
        points = cell["points"]
        return cls(np.array([p["kl"] for p in points]), np.array([p["gold"] for p in points]))

    @property
    def means(self) -> np.ndarray:
        """Mean gold of each checkpoint, [C]."""
        return np.asarray(self.gold.mean(1))

    @property
    def peak(self) -> int:
        """The checkpoint of largest mean gold."""
        return int(self.means.argmax())

    def at(self, kl: float) -> float:
        """Mean gold at a KL between the checkpoints' own."""
        order = np.argsort(self.kl, kind="stable")
        return float(np.interp(kl, self.kl[order], self.means[order]))

    @property
    def kept(self) -> float:
        """Gold at the end as a share of gold at the peak, each found on the other's prompts."""
        halves = self.gold[:, 0::2], self.gold[:, 1::2]
        peaks = [b[a.mean(1).argmax()].sum() for a, b in (halves, halves[::-1])]
        return float(self.gold[-1].sum() / sum(peaks))


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean over seeds, its interval by Student's t."""
    return stats.mean(np.array(values))


def ahead(ours: Sequence[Curve], rival: Sequence[Curve]) -> dict[str, Any]:
    """Ours less the rival beyond the rival's peak, paired by seed."""
    starts = [float(theirs.kl[theirs.peak]) for theirs in rival]
    most = [float(curve.kl.max()) for curve in ours], [float(curve.kl.max()) for curve in rival]
    common = [min(pair) for pair in zip(*most, strict=True)]
    both = [i for i in range(len(ours)) if common[i] >= starts[i]]
    told = {"kl_of_rivals_peak": starts, "largest_kl": {"ours": most[0], "rival": most[1]}}
    for name, seeds, ends in (("equal", both, common), ("within", range(len(ours)), most[1])):
        rows = []
        for u in WAY if seeds else ():
            kls = [starts[i] + u * (ends[i] - starts[i]) for i in seeds]
            gaps = [ours[i].at(kl) - rival[i].at(kl) for i, kl in zip(seeds, kls, strict=True)]
            rows.append({"way": u, "kl": kls, "by_seed": gaps, "ahead": over_seeds(gaps).as_dict()})
        told[name] = rows
    return told


def ends_ahead(ours: Sequence[Curve], rival: Sequence[Curve]) -> Estimate:
    """Ours less the rival at the end of the run, whatever their KL."""
    return over_seeds([a.means[-1] - b.means[-1] for a, b in zip(ours, rival, strict=True)])


def kept(curves: Sequence[Curve]) -> dict[str, Any]:
    """Share of its own peak that each run keeps at its end."""
    shares = [curve.kept for curve in curves]
    return {"by_seed": shares, "least": min(shares), "mean": over_seeds(shares).as_dict()}


def mean_curve(curves: Sequence[Curve]) -> dict[str, list[float]]:
    """Checkpoint by checkpoint, the means over seeds: for a picture."""
    return {
        "kl": np.mean([c.kl for c in curves], 0).round(3).tolist(),
        "gold": np.mean([c.means for c in curves], 0).round(4).tolist(),
    }
