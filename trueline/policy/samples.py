"""K samples of each of B prompts with reward and reference: what optimisers start from.

    kl = mean_k [log pi(y_k) - log ref(y_k)],          entropy = - mean over tokens of log pi

Both are of the policy as it answers: pi and ref are softmax(logits / temperature) at the sampling
temperature (the model's own at 1), so that kl is the KL of what is said and the ratio of a sampled
token to itself is 1. `top_p` is in neither.

The reference term costs no pass: the reward's own reading of a sample already holds its
log-probability under the trunk, and that of the end which a reading puts to a cut answer. A row is
read by the trunk alone only where the text tokenised again gives other tokens than were sampled,
where the scorer hands out no readings of this trunk, or at another temperature than a reading's, 1.

Shapes: B prompts, K samples of each, N = B K rows, float64. NaN stands for "unscored" *inside
`policy/` only*, so that every choice below skips it. Units: nats, and those of the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from trueline.models.adapters import LoraPolicy
from trueline.models.chat_format import Encoded
from trueline.models.reading import Readings
from trueline.models.rollouts import Rollouts
from trueline.protocols import Scorer
from trueline.records import Prompt, Response, Scores
from trueline.rng import Rng

__all__ = ["ReadingScorer", "Samples"]


@runtime_checkable
class ReadingScorer(Scorer, Protocol):
    """A scorer that hands out the readings its scores rest on, as a fitted reward's `on` does."""

    def read(self, responses: Sequence[Response]) -> tuple[Scores, Readings]: ...


@dataclass(frozen=True)
class Samples:
    """Responses with their scores and their log-probabilities under policy and trunk."""

    rollouts: Rollouts
    lower: np.ndarray
    """[B, K] lower bounds, NaN = unscored."""
    novelty: np.ndarray
    """[B, K] distance from the reward's data, NaN = unscored."""
    logps: list[np.ndarray]
    """N rows of [T]: each token under the policy; computed anew where an engine sampled, whose own
    (`rollouts.logps`) may be of older weights or other kernels."""
    reference: np.ndarray
    """[B, K] log-probability of the tokens under the trunk."""

    @classmethod
    def draw(
        cls,
        policy: LoraPolicy,
        prompts: Sequence[Prompt],
        scorer: Scorer,
        num_samples: int,
        *,
        rng: Rng,
    ) -> Samples:
        """Return `num_samples` samples a prompt, read in one pass."""
        rollouts = policy.rollouts(prompts, num_samples=num_samples, rng=rng)
        flat, readings = rollouts.flat, None
        if isinstance(scorer, ReadingScorer):
            scores, readings = scorer.read(flat)
        else:
            scores = scorer.score([r.prompt for r in flat], [r.text for r in flat])
        return cls.of(policy, rollouts, scores, readings)

    @classmethod
    def of(
        cls, policy: LoraPolicy, rollouts: Rollouts, scores: Scores, readings: Readings | None
    ) -> Samples:
        """Return what the policy has said, with scores and readings of its flat responses; a cut
        answer counts as the policy's `sampling` has it."""
        how, known = policy.sampling, np.where(scores.scored, scores.lower, np.nan)
        columns = (
            how.charged(known, rollouts.cut),
            np.where(scores.scored, scores.novelty, np.nan),
            _reference(policy, rollouts, readings if how.temperature == 1 else None),
        )
        logps = rollouts.logps if policy.sampler is None else _own_logps(policy, rollouts)
        # Every process goes on with the same numbers, whatever its own last bits were.
        columns, logps = policy.trunk.workers.once(lambda: (columns, logps))
        shape = len(rollouts.responses), len(rollouts.rows) // max(1, len(rollouts.responses))
        lower, novelty, reference = (
            np.asarray(c, dtype=np.float64).reshape(shape) for c in columns
        )
        return cls(rollouts, lower, novelty, logps, reference)

    @property
    def log_ratio(self) -> np.ndarray:
        """log pi(y) - log ref(y) of each sample, [B, K], ref the trunk."""
        logp = np.array([logps.sum() for logps in self.logps]).reshape(self.reference.shape)
        return np.asarray(logp - self.reference)

    def stats(self) -> dict[str, float]:
        """Return KL in nats a response, entropy in nats a token, mean novelty of the scored, and
        the share of answers that were cut."""
        novelty, cut = self.novelty[np.isfinite(self.novelty)], self.rollouts.cut
        entropy = -np.concatenate(self.logps)
        columns = {"kl": self.log_ratio, "entropy": entropy, "novelty": novelty, "cut_frac": cut}
        return {name: float(values.mean()) for name, values in columns.items() if values.size}

    def counts(self) -> dict[str, float]:
        """Return how many prompts are learned from, and the share of samples without a score."""
        unscored = float(np.isnan(self.lower).mean())
        return {"prompts_used": float(len(self.informative())), "unscored_frac": unscored}

    def informative(self) -> list[int]:
        """Return the prompts with at least two scored samples that do not all score alike."""
        scored = [row[np.isfinite(row)] for row in self.lower]
        return [b for b, row in enumerate(scored) if len(row) and row.max() > row.min()]

    def uninformative(self) -> str | None:
        """Return why nothing can be learned, "alike" or "unscored"; None where something can."""
        if self.informative():
            return None
        return "alike" if np.isfinite(self.lower).any() else "unscored"

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the highest and the lowest lower bound of each informative prompt."""
        used = np.array(self.informative())
        known, first = self.lower[used], used * self.lower.shape[1]
        return first + np.nanargmax(known, 1), first + np.nanargmin(known, 1)


def _reference(policy: LoraPolicy, rollouts: Rollouts, readings: Readings | None) -> np.ndarray:
    """Return each row's log-probability under the trunk, [N]: from the readings where they are of
    the very tokens sampled, by a pass with the adapter off for the rest."""
    out = np.empty(len(rollouts.rows))
    read = np.zeros(len(out), bool)
    known = readings is not None and readings.end_surprisals is not None
    if known and readings.trunk == policy.trunk.fingerprint():  # type: ignore[union-attr]
        again = policy.trunk.codec.encode(rollouts.flat)
        both = list(zip(again, rollouts.rows, strict=True))
        same = np.array([(a.ids, a.start, a.stop) == (b.ids, b.start, b.stop) for a, b in both])
        words = np.array([a.start == b.start and _words(a) == _words(b) for a, b in both])
        unended = words & ~rollouts.ended
        read = same | unended
        at = readings.rows([r.key for r in rollouts.flat])  # type: ignore[union-attr]
        ends = np.where(unended & ~same, readings.end_surprisals[at], 0.0)  # type: ignore[union-attr,index]
        out = readings.logp[at] + ends  # type: ignore[union-attr]
    rest = np.flatnonzero(~read)
    if len(rest):
        with policy.off():
            logp = policy.logp([rollouts.rows[i] for i in rest], grad=False)
        out[rest] = logp.double().cpu().numpy()
    return out


def _words(row: Encoded) -> list[int]:
    return row.ids[: row.stop - row.end]


def _own_logps(policy: LoraPolicy, rollouts: Rollouts) -> list[np.ndarray]:
    logps, _ = policy.token_logps(rollouts.rows, grad=False)
    both = zip(rollouts.rows, logps.double().cpu().numpy(), strict=True)
    return [values[: row.stop - row.start] for row, values in both]
