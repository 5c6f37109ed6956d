r"""A concept as a direction in the trunk's latents, found by contrast, validated before it is used.

    w ∝ mean of d,    d = z(shows it) − z(does not)        posterior N(w, S / N)

Marks and Tegmark 2023 (2310.06824) for the mean difference; Zou et al. 2023 (2310.01405) for
contrast prompts. (A logistic direction is `Bayesian`.) One layer and one pool are read, those of
largest held-out separation: mean over standard deviation of the direction's margins on prompts that
took no part in it. The sign comes from the training pairs and is never turned afterwards.

**A concept is no reward until labelled pairs validate it.** Pairs of contrast texts only show that
their wordings differ, so a direction fitted on them alone is withheld: `on(trunk)` refuses it.
Labelled pairs given beside contrast pairs validate it (`validate`: ahead of chance and of random
directions, bag of words beside); where all pairs are labelled, the held-out folds decide.
`use_anyway` lifts the ban by name and writes the reason into the metadata.

**A policy learns to evade a probe that it is optimised against** (Bailey et al. 2024, 2412.09565).
Measured (docs/log.md): the best of 1,024 by a probe for "right" that validation
had refused was right in 6 % of cases (61 % without), where its score foretold 65 %; a probe for
"honest" that had passed held (100 %, foretold 93 %), its AUC within what was selected fell.
Never optimise against a concept alone without fresh labels, and look at its novelty.

Where we differ: (1) the mean difference is scaled to log-odds by its held-out margins; (2) its
covariance S is shrunk towards a multiple of the identity by F / (F + N), as novelty's is.
Shapes: N pairs, F features; S is F × F. Unit: nats. Surprisals are read and weigh nothing.
Fails where the wordings of the contrast, not what they mean, are what the direction picks up.

>>> pairs = contrast_pairs(["The sky is blue."], ["The sky is green."])
>>> pairs[0].chosen.text, pairs[0].rater == CONTRAST
('The sky is blue.', True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky

from trueline import stats
from trueline.data.baselines import bag_of_words
from trueline.data.comparisons import Comparisons, group_of
from trueline.errors import InputError, InvalidExperiment
from trueline.models.reading import Readings
from trueline.records import Comparison, Estimate, Finding, Prompt, Response, Stance
from trueline.rewards.features import Features
from trueline.rewards.laplace import Dense, primal_mode
from trueline.rewards.linear import LinearReward
from trueline.rewards.training import Training, in_order

__all__ = ["CONTRAST", "Concept", "contrast_pairs", "use_anyway", "validate"]

CONTRAST = "contrast prompt"
"""The rater of pairs that nobody judged."""
_SHUT = 1e12
"""Prior precision of a weight that is to stay 0."""
_DRAWS = 200
"""Random directions that a concept must be ahead of."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A direction from contrast pairs; its fields are its configuration."""

    shows: tuple[str, ...] = ()
    """Texts that show the concept; empty: the comparisons given are what it is learned from."""
    lacks: tuple[str, ...] = ()
    """As many texts that do not, each the counterpart of the text of its place in `shows`."""
    layer: int | str = "separation"
    """A layer of the trunk, or "separation" for the best on held-out pairs."""
    pooling: str = "separation"
    """"last" or "mean", or "separation"."""
    folds: int = 5
    """Parts that pairs are held out in, by prompt; by pair where all have one prompt."""
    winsor: float = 3.0
    """Standard deviations at which standardised features are clipped."""

    def __post_init__(self) -> None:
        for must, holds in {
            "shows and lacks must be equally many": len(self.shows) == len(self.lacks),
            "folds must be at least 3": self.folds >= 3,
            "winsor must be positive": self.winsor > 0,
        }.items():
            if not holds:
                raise InputError(must, got=repr(self))

    @property
    def examples(self) -> tuple[Response, ...]:
        """What the trunk must read besides the comparisons."""
        return contrast_pairs(self.shows, self.lacks).responses

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> LinearReward:
        """Return the direction from `rejected` to `chosen` of contrast pairs, validated by the
        labelled ones; of the labelled ones where there are no others.

        `rng` is for intervals alone. With `shows` and `lacks` given, their `examples` must have
        been read too.
        """
        given = in_order([*comparisons, *contrast_pairs(self.shows, self.lacks)])
        judged = np.array([c.rater != CONTRAST for c in given], bool)
        if judged.all():
            reward, held_out = self._direction(readings, given, rng)
            if held_out.lower is None or held_out.lower <= 0.5:
                reward.metadata["withheld"] = f"a held-out accuracy of {held_out}"
            return reward
        contrast, labelled = (given.take(np.flatnonzero(rows)) for rows in (~judged, judged))
        reward, _ = self._direction(readings, contrast, rng)
        reward.metadata["withheld"] = "a direction that contrast prompts alone speak for"
        if not len(labelled):
            return reward
        return validate(reward, readings, labelled, trained_on=contrast, rng=rng)[0]

    def _direction(
        self, readings: Readings, pairs: Comparisons, rng: np.random.Generator
    ) -> tuple[LinearReward, Estimate]:
        """Return the direction of these pairs, and its accuracy on those held out."""
        training = Training.of(readings, pairs)
        groups = _numbers(pairs)
        fold = groups % min(self.folds, int(groups.max(initial=0)) + 1)
        layers = readings.layers if isinstance(self.layer, str) else (self.layer,)
        pools = readings.poolings if self.pooling == "separation" else (self.pooling,)
        parts = [(at, pool) for at in layers for pool in pools]
        tables = {}
        for part in parts:
            features = Features.learn(training.readings, (part,), winsor=self.winsor)
            rows = training.differences(features)
            rows[:, : 5 * features.surprisals] = 0.0
            tables[part] = features, rows
        separation = np.array([_separations(tables[part][1], fold) for part in parts])
        choice, *inner = (parts[int(i)] for i in separation.argmax(0))
        # Each fold is judged by a direction of the others, in the part that is best on those.
        margins = np.zeros(len(fold))
        for k, part in enumerate(inner):
            rows, out = tables[part][1], fold == k
            held = rows @ rows[~out].mean(0)
            margins[out] = held[out] / (np.sqrt(np.mean(held[~out] ** 2)) or 1.0)
        features, rows = tables[choice]
        mean = rows.mean(0)
        size = float(np.sqrt(np.mean((rows @ mean) ** 2))) or 1.0
        steepness = float(primal_mode(margins[:, None], np.array([0.1])).weights[0])
        scale = max(steepness, 1e-3) / size
        accuracy = stats.accuracy(_right(margins), clusters=groups, rng=rng)
        metadata = {
            "head": "concept",
            "spec": asdict(self),
            "n": len(pairs),
            "separation": [
                {"part": p, "value": v} for p, v in zip(parts, separation[:, 0], strict=True)
            ],
            "held_out": accuracy.as_dict(),
            "validated": None,
        }
        reward = LinearReward.of(
            features=features,
            readings=training.readings,
            weights=scale * mean,
            belief=Dense(_precision(rows, scale)),
            temperatures={},
            metadata=metadata,
        )
        return reward, accuracy


def contrast_pairs(
    shows: Sequence[str], lacks: Sequence[str], *, prompts: Sequence[Prompt] | None = None
) -> Comparisons:
    """Return pairs of texts, the first of each showing the concept and its partner not."""
    asked = prompts or [Prompt.of("Say something.")] * len(shows)
    if not len(shows) == len(lacks) == len(asked):
        raise InputError(
            "each text that shows the concept needs one that does not, and a prompt",
            got=f"{len(shows)}, {len(lacks)} and {len(asked)}",
        )
    sides = (
        [Response(prompt=p, text=t) for p, t in zip(asked, texts, strict=True)]
        for texts in (shows, lacks)
    )
    rows = (Comparison(chosen=a, rejected=b, rater=CONTRAST) for a, b in zip(*sides, strict=True))
    return Comparisons(tuple(rows))


def validate(
    reward: LinearReward,
    readings: Readings,
    comparisons: Comparisons,
    *,
    trained_on: Comparisons,
    rng: np.random.Generator,
    clusters: Sequence[Any] | None = None,
) -> tuple[LinearReward, Finding]:
    """Return the same reward with what labelled pairs say of it in its metadata, and that finding.

    For: accuracy above 1/2 and above 95 % of random directions whose sign the training pairs fix,
    both by the interval's lower end; otherwise the reward stays withheld. `clusters`: what pairs
    belong together by; prompts if absent.

    Raises:
        InvalidExperiment: a text of the training pairs stands in those that validate.
    """
    sides = ({*pairs.chosen_keys, *pairs.rejected_keys} for pairs in (trained_on, comparisons))
    if shared := set.intersection(*sides):
        raise InvalidExperiment(
            "no text of the training pairs may stand in those that validate",
            got=f"{len(shared)} that do",
        )
    by = np.asarray(comparisons.groups if clusters is None else clusters)
    old, new = (
        np.subtract(
            *(
                reward.features.clipped(readings.take(readings.rows(keys)))
                for keys in (pairs.chosen_keys, pairs.rejected_keys)
            )
        )
        for pairs in (trained_on, comparisons)
    )
    right = _right(new @ reward.weights)
    accuracy = stats.accuracy(right, clusters=by, rng=rng)
    words = bag_of_words(trained_on, comparisons, rng=rng)
    draws = rng.standard_normal((_DRAWS, len(reward.weights))) * (reward.weights != 0)
    draws *= np.where(_right(old @ draws.T).mean(0) < 0.5, -1.0, 1.0)[:, None]
    random = _right(new @ draws.T).mean(0)
    bar = max(0.5, float(np.quantile(random, 0.95)))
    lower, upper = accuracy.lower or 0.0, 1.0 if accuracy.upper is None else accuracy.upper
    stance = Stance.FOR if lower > bar else Stance.AGAINST if upper < 0.5 else Stance.UNDECIDED
    evidence = {
        "bag_of_words": stats.accuracy(words, clusters=by, rng=rng).as_dict(),
        "ahead_of_words": stats.difference(right, words, clusters=by, rng=rng).as_dict(),
        "random_direction": {"mean": float(random.mean()), "upper": bar},
    }
    finding = Finding(
        claim="the direction ranks labelled pairs by the concept",
        estimate=accuracy,
        stance=stance,
        evidence=evidence,
    )
    validated = {"accuracy": accuracy.as_dict(), "stance": str(stance), **evidence}
    metadata = {**reward.metadata, "validated": validated}
    metadata["withheld"] = f"labelled pairs that are {stance}: accuracy {accuracy}"
    if stance is Stance.FOR:
        del metadata["withheld"]
    return replace(reward, metadata=metadata), finding


def use_anyway(reward: LinearReward, because: str) -> LinearReward:
    """Return the same reward, no longer withheld; the reason stays in its metadata."""
    if not because.strip():
        raise InputError("an override must say why", got="nothing")
    metadata = {k: v for k, v in reward.metadata.items() if k != "withheld"}
    overridden = {"because": because, "withheld": reward.metadata.get("withheld")}
    return replace(reward, metadata={**metadata, "overridden": overridden})


def _numbers(pairs: Comparisons) -> np.ndarray:
    """Return the number of each pair's prompt, [N]; its own number where all have one prompt."""
    names = [group_of(pair.prompt) for pair in pairs]
    if len(set(names)) == 1:
        names = ["-".join(sorted((pair.chosen.key, pair.rejected.key))) for pair in pairs]
    return np.asarray(np.unique(names, return_inverse=True)[1])


def _separations(rows: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return mean over sd of the mean difference's held-out margins: on all folds, then without
    each in turn, which is for choosing a part that this fold has no say in; [1 + K]."""
    num = int(fold.max()) + 1
    sums = np.array([rows[fold == k].sum(0) for k in range(num)])
    ratios = []
    for skip in range(-1, num if num > 1 else 0):
        used = [k for k in range(num) if k != skip]
        margins = np.concatenate(
            [rows[fold == k] @ sums[[j for j in used if j != k]].sum(0) for k in used]
        )
        spread = float(margins.std())
        ratios.append(float(margins.mean()) / spread if spread > 0 else 0.0)
    return np.array(ratios)


def _precision(rows: np.ndarray, scale: float) -> np.ndarray:
    """Return the Cholesky factor of the precision of `scale` times the mean of the rows; a column
    of zeros (surprisals) is certain to weigh nothing."""
    shut = np.asarray(~rows.any(axis=0))
    open_rows = rows[:, ~shut]
    num, width = open_rows.shape
    share = width / (width + num)
    off = open_rows - open_rows.mean(0) if num > 1 else open_rows
    spread = (1 - share) * (off.T @ off) / max(num - 1, 1)
    spread.flat[:: width + 1] += share * float(np.mean(open_rows**2)) + 1e-12
    inverse = cho_solve(cho_factor(spread, lower=True), np.eye(width)) * (num / scale**2)
    precision = _SHUT * np.eye(len(shut))
    precision[np.ix_(~shut, ~shut)] = (inverse + inverse.T) / 2
    return np.asarray(cholesky(precision, lower=True))


def _right(margins: np.ndarray) -> np.ndarray:
    return np.asarray((np.sign(margins) + 1) / 2)
