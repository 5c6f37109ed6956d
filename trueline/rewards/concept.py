r"""A concept as a direction in the trunk's latents, found by contrast, borne out before it is used.

    mean difference   w ∝ mean of d,  d = z(shows it) − z(does not)        posterior N(w, S / N)
    logistic          Bradley–Terry on d with a Gaussian prior by evidence   (Laplace, `laplace`)

Marks and Tegmark 2023 (2310.06824) for the mean difference; Zou et al. 2023 (2310.01405) for
contrast prompts. One layer and one pool are read, those of largest held-out separation: mean over
standard deviation of the mean difference's margins on prompts that took no part in it. The sign
comes from the training pairs and is never turned afterwards.

**A concept is no reward until labelled pairs bear it out.** Pairs of contrast prompts only show
that their wordings differ, so a direction fitted on them alone is withheld: `on(trunk)` refuses it
till `validate` has found it ahead of chance and of random directions on labelled pairs, bag of
words beside. Pairs with raters are labelled: there the held-out folds decide. `use_anyway` lifts
the ban by name and writes the reason into its metadata.

**A policy learns to evade a probe that it is optimised against** (Bailey et al. 2024, 2412.09565).
Measured (`benchmarks/concept_evasion.py`): the best of 1,024 by a probe for "right" that validation
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
from trueline.records import Comparison, Finding, Prompt, Response, Stance
from trueline.rewards.features import Features, Part
from trueline.rewards.fitted import FittedReward
from trueline.rewards.laplace import Belief, Dense, belief_of, dual_mode, primal_mode
from trueline.rewards.training import Training

__all__ = ["CONTRAST", "Concept", "contrast_pairs", "from_principle", "use_anyway", "validate"]

CONTRAST = "contrast prompt"
"""The rater of pairs that nobody judged."""
TEMPLATES = ("The assistant's answer is {}.", "This answer is {}.", "Anybody would call this {}.")
_SHUT = 1e12
"""Prior precision of a weight that is to stay 0."""
_DRAWS = 200

_Table = tuple[Features, np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A direction from contrast pairs; its fields are its configuration."""

    method: str = "mean_difference"
    """"mean_difference" or "logistic"."""
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
            'method must be "mean_difference" or "logistic"': self.method
            in ("mean_difference", "logistic"),
            "folds must be at least 3": self.folds >= 3,
            "winsor must be positive": self.winsor > 0,
        }.items():
            if not holds:
                raise InputError(must, got=repr(self))

    def fit(
        self, readings: Readings, comparisons: Sequence[Comparison], *, rng: np.random.Generator
    ) -> FittedReward:
        """The direction from `rejected` to `chosen`; `rng`: for its interval alone."""
        training = Training.of(readings, comparisons)
        groups = _groups(training, comparisons)
        layers = readings.layers if isinstance(self.layer, str) else (self.layer,)
        pools = readings.poolings if self.pooling == "separation" else (self.pooling,)
        fold = groups % min(self.folds, int(groups.max()) + 1)
        parts = [(at, pool) for at in layers for pool in pools]
        apart = np.array([_separations(*self._open(training, p)[1:], fold) for p in parts])
        choices = [int(i) for i in apart.argmax(0)]
        tables = {i: self._open(training, parts[i]) for i in set(choices)}
        honest = self._held_out([tables[i] for i in choices[1:]], fold)
        features, rows, shut = tables[choices[0]]
        weights, belief = self._direction(rows, shut, honest)
        reward = FittedReward.of(
            features=features,
            readings=training.readings,
            weights=weights,
            belief=belief,
            temperatures={},
        )
        held_out = stats.accuracy(_right(honest), clusters=groups, rng=rng)
        contrast = all(rater == CONTRAST for rater in training.raters)
        reward.metadata = {
            "head": "concept",
            "spec": asdict(self),
            "n": len(training.raters),
            "separation": [
                {"part": p, "value": v} for p, v in zip(parts, apart[:, 0], strict=True)
            ],
            "held_out": held_out.as_dict(),
            "trunk_fingerprint": training.readings.trunk,
            "validated": None,
        }
        if contrast:
            reward.metadata["withheld"] = "a direction that contrast prompts alone speak for"
        elif held_out.lower is None or held_out.lower <= 0.5:
            reward.metadata["withheld"] = f"a held-out accuracy of {held_out}"
        return reward

    def _open(self, training: Training, part: Part) -> _Table:
        """Features, differences [N, F], and which columns (surprisals) are to weigh nothing."""
        features = Features.learn(training.readings, (part,), winsor=self.winsor)
        shut = np.repeat([True, False], [5 * features.surprisals, features.width])
        return features, training.differences(features).astype(np.float64), shut

    def _held_out(self, chosen: list[_Table], fold: np.ndarray) -> np.ndarray:
        """Margins [N] of each fold by a direction of the others, in the part chosen on those; 0
        where there is only one fold."""
        margins = np.zeros(len(fold))
        for k, (_, rows, shut) in enumerate(chosen):
            out = fold == k
            weights = self._weights(rows[~out], shut)
            # Folds are put on one scale before they are compared.
            size = np.sqrt(np.mean((rows[~out] @ weights) ** 2)) or 1.0
            margins[out] = rows[out] @ weights / size
        return margins

    def _weights(self, rows: np.ndarray, shut: np.ndarray) -> np.ndarray:
        if self.method == "mean_difference":
            return np.where(shut, 0.0, rows.mean(0))
        return _logistic(rows, shut)[0]

    def _direction(
        self, rows: np.ndarray, shut: np.ndarray, margins: np.ndarray
    ) -> tuple[np.ndarray, Belief]:
        """Weights in nats of log-odds and the belief about them."""
        if self.method == "logistic":
            weights, prior, curvature = _logistic(rows, shut)
            return weights, belief_of(prior, rows, curvature)
        weights = self._weights(rows, shut)
        size = np.sqrt(np.mean((rows @ weights) ** 2)) or 1.0
        heat = max(float(primal_mode(margins[:, None], np.array([0.1]))[0][0]), 1e-3) / size
        return heat * weights, Dense(_precision(rows, shut, heat))


def contrast_pairs(
    shows: Sequence[str], lacks: Sequence[str], *, prompts: Sequence[Prompt] | None = None
) -> Comparisons:
    """Pairs of texts, the first of each showing the concept and its partner not."""
    asked = prompts or [Prompt.of("Say something.")] * len(shows)
    if not len(shows) == len(lacks) == len(asked):
        raise InputError(
            "each text that shows the concept needs one that does not, and a prompt",
            got=f"{len(shows)}, {len(lacks)} and {len(asked)}",
        )
    return Comparisons(
        tuple(
            Comparison(
                chosen=Response(prompt=prompt, text=a),
                rejected=Response(prompt=prompt, text=b),
                rater=CONTRAST,
            )
            for prompt, a, b in zip(asked, shows, lacks, strict=True)
        )
    )


def from_principle(
    principle: str,
    responses: Sequence[Response],
    *,
    opposite: str | None = None,
    templates: Sequence[str] = TEMPLATES,
) -> Comparisons:
    """Pairs from a written principle, such as "honest about what it does not know".

    To each answer a sentence is added that says so, in one text, and in the other one that says
    the opposite ("not …" if none is given). What the sentences have in common besides is what the
    direction may pick up too, so that it must be validated on answers without them.
    """
    negation = opposite or f"not {principle}"
    texts = [(r, t) for r in responses for t in templates]
    shows, lacks = (
        [f"{r.text}\n\n{t.format(word)}" for r, t in texts] for word in (principle, negation)
    )
    return contrast_pairs(shows, lacks, prompts=[r.prompt for r, _ in texts])


def validate(
    reward: FittedReward,
    readings: Readings,
    comparisons: Comparisons,
    *,
    trained_on: Comparisons,
    rng: np.random.Generator,
    clusters: Sequence[Any] | None = None,
) -> tuple[FittedReward, Finding]:
    """The same reward with what labelled pairs say of it in its metadata, and that finding.

    For: accuracy above 1/2 and above 95 % of random directions whose sign the training pairs fix,
    both by the interval's lower end. `clusters`: what pairs belong together by; prompts if absent.
    """
    shared = {*trained_on.chosen_keys, *trained_on.rejected_keys} & {
        *comparisons.chosen_keys,
        *comparisons.rejected_keys,
    }
    if shared:
        raise InvalidExperiment(
            "no text of the training pairs may stand in those that validate",
            got=f"{len(shared)} that do",
        )
    by = np.asarray(comparisons.groups if clusters is None else clusters)
    old, new = (_gaps(reward, readings, pairs) for pairs in (trained_on, comparisons))
    right = _right(new @ reward.weights)
    accuracy = stats.accuracy(right, clusters=by, rng=rng)
    words = bag_of_words(trained_on, comparisons, rng=rng)
    draws = rng.standard_normal((_DRAWS, len(reward.weights))) * (reward.weights != 0)
    draws *= np.where(_right(old @ draws.T).mean(0) < 0.5, -1.0, 1.0)[:, None]
    random = _right(new @ draws.T).mean(0)
    bar = max(0.5, float(np.quantile(random, 0.95)))
    lower, upper = accuracy.lower or 0.0, 1.0 if accuracy.upper is None else accuracy.upper
    stance = Stance.FOR if lower > bar else Stance.AGAINST if upper < 0.5 else Stance.UNDECIDED
    scores = np.concatenate(
        [
            reward.margin(readings, readings.rows(keys), [0] * len(by))[0]
            for keys in (comparisons.chosen_keys, comparisons.rejected_keys)
        ]
    )
    labels = np.repeat([1, 0], len(by))
    evidence = {
        "auc": stats.auc(scores, labels, clusters=np.tile(by, 2)).as_dict(),
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
    metadata = {k: v for k, v in reward.metadata.items() if k != "withheld"} | {
        "validated": validated
    }
    if stance is not Stance.FOR:
        metadata["withheld"] = f"labelled pairs that are {stance}: accuracy {accuracy}"
    return replace(reward, metadata=metadata), finding


def use_anyway(reward: FittedReward, because: str) -> FittedReward:
    """The same reward, no longer withheld; the reason stays in its metadata."""
    if not because.strip():
        raise InputError("an override must say why", got="nothing")
    metadata = {k: v for k, v in reward.metadata.items() if k != "withheld"}
    overridden = {"because": because, "withheld": reward.metadata.get("withheld")}
    return replace(reward, metadata=metadata | {"overridden": overridden})


def _groups(training: Training, comparisons: Sequence[Comparison]) -> np.ndarray:
    """Number of each row's prompt, [N], in the order of content hashes; rows' own where all have
    one prompt."""
    of = {frozenset((c.chosen.key, c.rejected.key)): group_of(c.prompt) for c in comparisons}
    keys = training.readings.keys
    pairs = [
        frozenset((keys[a], keys[b]))
        for a, b in zip(training.chosen, training.rejected, strict=True)
    ]
    names = [of[pair] for pair in pairs]
    if len(set(names)) == 1:
        names = ["-".join(sorted(pair)) for pair in pairs]
    return np.asarray(np.unique(names, return_inverse=True)[1])


def _separations(rows: np.ndarray, shut: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Mean over sd of the mean difference's held-out margins: on all folds, then without each in
    turn, which is for choosing a part that this fold has no say in; [1 + K]."""
    num = int(fold.max()) + 1
    sums = np.array([rows[fold == k].sum(0) for k in range(num)]) * ~shut
    found = []
    for skip in range(-1, num if num > 1 else 0):
        used = [k for k in range(num) if k != skip]
        margins = np.concatenate(
            [rows[fold == k] @ sums[[j for j in used if j != k]].sum(0) for k in used]
        )
        spread = float(margins.std())
        found.append(float(margins.mean()) / spread if spread > 0 else 0.0)
    return np.array(found)


def _logistic(rows: np.ndarray, shut: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mode, prior and curvature at the most probable of some precisions."""
    priors = [np.where(shut, _SHUT, 10.0**power) for power in range(-1, 5)]
    found = [(dual_mode((rows / prior) @ rows.T), prior) for prior in priors]
    (dual, terms, _, _), prior = max(found, key=lambda each: each[0][2])
    return np.where(shut, 0.0, (rows.T @ dual) / prior), prior, terms.curvature


def _precision(rows: np.ndarray, shut: np.ndarray, heat: float) -> np.ndarray:
    """Cholesky factor of the precision of `heat` times the mean of the rows."""
    open_rows = rows[:, ~shut]
    num, width = open_rows.shape
    share = width / (width + num)
    off = open_rows - open_rows.mean(0) if num > 1 else open_rows
    spread = (1 - share) * (off.T @ off) / max(num - 1, 1)
    spread.flat[:: width + 1] += share * float(np.mean(open_rows**2)) + 1e-12
    inverse = cho_solve(cho_factor(spread, lower=True), np.eye(width)) * (num / heat**2)
    precision = np.diag(np.full(len(shut), _SHUT))
    precision[np.ix_(~shut, ~shut)] = (inverse + inverse.T) / 2
    return np.asarray(cholesky(precision, lower=True))


def _gaps(reward: FittedReward, readings: Readings, pairs: Comparisons) -> np.ndarray:
    sides = (readings.take(readings.rows(k)) for k in (pairs.chosen_keys, pairs.rejected_keys))
    chosen, rejected = (reward.features.clipped(side) for side in sides)
    return np.asarray(chosen - rejected)


def _right(margins: np.ndarray) -> np.ndarray:
    return np.asarray((np.sign(margins) + 1) / 2)
