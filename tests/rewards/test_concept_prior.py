"""Principles before labels: the concept without any, the head with many, never far below either."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.rewards.material import Planted, planted, swapped
from trueline.data.comparisons import Comparisons
from trueline.errors import DataError, InputError
from trueline.models.reading import Readings
from trueline.records import Comparison, Prompt, Response
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.concept import Concept
from trueline.rewards.concept_prior import ConceptPrior, crossing, worth_in_labels
from trueline.rewards.evidence import MarginalLikelihood, climb
from trueline.rewards.protocols import Fitted
from trueline.rng import stream

RNG = stream(0, "test")
BOTH = ConceptPrior(principles=("good",))


def world(width: int = 40, seed: int = 0) -> tuple[Planted, list[Comparison]]:
    """A thousand labelled pairs, and forty contrasts that show the direction clearly."""
    known = planted(1_040, width=width, layer=1, seed=seed)
    best = np.argsort(-np.abs(known.gold[::2] - known.gold[1::2]))[:40]
    by_key = {r.key: r for c in known.comparisons for r in (c.chosen, c.rejected)}
    contrasts = []
    for i in best:
        first, second = (by_key[known.readings.keys[row]] for row in (2 * i, 2 * i + 1))
        if known.gold[2 * i] < known.gold[2 * i + 1]:
            first, second = second, first
        contrasts.append(Comparison(chosen=first, rejected=second, rater="principle:good"))
    left = [pair for i, pair in enumerate(known.comparisons) if i not in set(best.tolist())]
    return replace(known, comparisons=left), contrasts


def right(reward: Fitted, known: Planted) -> float:
    """Share of all pairs that are ranked as gold ranks them."""
    rows = np.arange(0, len(known.gold), 2)
    margin, _ = reward.margin(known.readings, rows, rows + 1)
    return float(np.mean((margin > 0) == (known.gold[rows] > known.gold[rows + 1])))


def test_it_is_the_concept_without_labels_and_no_worse_than_either_with_them() -> None:
    found = []
    for seed in range(4):
        known, contrasts = world(seed=seed)
        concept = right(Concept(principle="good").fit(known.readings, contrasts, rng=RNG), known)
        alone = BOTH.fit(known.readings, contrasts, rng=RNG)
        assert right(alone, known) == concept and "labels" not in alone.parts
        for num in (20, 1_000):
            some = known.comparisons[:num]
            plain = right(Bayesian().fit(known.readings, some, rng=RNG), known)
            both = right(BOTH.fit(known.readings, [*contrasts, *some], rng=RNG), known)
            found.append((num, concept, plain, both))
    few, many = (np.array([row[1:] for row in found if row[0] == n]).mean(0) for n in (20, 1_000))
    assert few[2] > few[1] + 0.1 and few[2] > few[0] - 0.02
    assert many[2] > many[1] - 0.01 and many[2] > many[0] + 0.02


def test_labels_against_a_principle_take_its_weight_away_and_withhold_its_concept() -> None:
    known, contrasts = world()
    against = [replace(pair, rater="principle:good") for pair in swapped(contrasts)]
    weights = [
        BOTH.fit(known.readings, [*against, *known.comparisons[:num]], rng=RNG).settings["weights"]
        for num in (5, 1_000)
    ]
    assert weights[0]["good"] > 0 == weights[1]["good"]
    concept = Concept(principle="good")
    found = concept.fit(known.readings, [*against, *known.comparisons[:200]], rng=RNG)
    assert "labelled pairs" in found.metadata["withheld"]
    found = concept.fit(known.readings, [*contrasts, *known.comparisons[:200]], rng=RNG)
    assert "withheld" not in found.metadata and found.metadata["validated"]["value"] > 0.7


def test_each_principle_has_its_own_contrasts_and_the_head_learns_from_none() -> None:
    known, contrasts = world()
    flat = [replace(pair, rater="principle:flat") for pair in known.comparisons[-30:]]
    whole = [*contrasts, *flat, *known.comparisons[:60]]
    one = Concept(principle="good").fit(known.readings, contrasts, rng=RNG)
    same = Concept(principle="good").fit(known.readings, whole, rng=RNG)
    np.testing.assert_array_equal(one.weights, same.weights)
    fitted = ConceptPrior().fit(known.readings, whole, rng=RNG)
    assert fitted.parts["labels"].summary()["n"] == 60
    with pytest.raises(DataError, match="'kind'"):
        Concept(principle="kind").fit(known.readings, whole, rng=RNG)
    named = [replace(pair, rater="principle:labels") for pair in contrasts]
    with pytest.raises(InputError, match="'labels'"):
        ConceptPrior().fit(known.readings, named, rng=RNG)


def test_a_layer_that_knows_the_wordings_alone_is_not_taken() -> None:
    """Layer 0 tells each wording from each; layer 1 knows what is good, with noise."""
    rng, keys, latents, pairs = np.random.default_rng(0), [], [], []
    codes, meaning = rng.standard_normal((8, 16)), rng.standard_normal(16)
    for q in range(10):
        ask = Prompt.of(f"q{q}")
        answers = [Response(prompt=ask, text=f"wording {k}") for k in range(8)]
        for k, answer in enumerate(answers):
            sign = 1.0 if k < 4 else -1.0
            knows = sign * meaning + 1.5 * rng.standard_normal(16)
            keys.append(answer.key)
            latents.append(np.stack([np.tile(x, (2, 1)) for x in (codes[k], knows)]))
        pairs += [Comparison(chosen=answers[k], rejected=answers[k + 4]) for k in range(4)]
    table = np.array(latents, np.float32)
    readings = Readings(keys=tuple(keys), latents=table, layers=(0, 1), trunk="made")
    reward = Concept(num_layers=1).fit(readings, pairs, rng=RNG)
    assert reward.layers == (1,) and "withheld" not in reward.metadata


@pytest.mark.parametrize("width", [5, 90])
def test_what_is_added_to_margins_is_learned_around(width: int) -> None:
    """In both forms of the evidence: beside the truth there is nothing left to learn."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, width))
    truth = 3.0 * rows[:, 0]
    signs = np.where(rng.random(60) < 1 / (1 + np.exp(-truth)), 1.0, -1.0)
    rows, truth = rows * signs[:, None], truth * signs
    plain, beside, wrong = (
        MarginalLikelihood(rows, np.zeros(width, int), 0.0, offset)
        for offset in (0.0, truth, -truth)
    )
    found = [climb(each) for each in (plain, beside, wrong)]
    assert found[1].value > found[0].value > found[2].value
    alone, around = plain.posterior(found[0])[0], beside.posterior(found[1])[0]
    assert abs(around[0]) < 0.5 * abs(alone[0])


def test_what_principles_are_worth_in_labels_lies_where_the_curve_of_labels_reaches_them() -> None:
    known, contrasts = world()
    both = Comparisons((*contrasts, *known.comparisons))
    worth = worth_in_labels(known.readings, both, stream(0, "worth"))
    value, lower, upper = (float(x or np.inf) for x in (worth.value, worth.lower, worth.upper))
    assert lower <= value <= upper and worth.n == len(known.comparisons)
    alone = right(ConceptPrior().fit(known.readings, contrasts, rng=RNG), known)
    less, more = (
        np.mean([right(Bayesian().fit(known.readings, pairs, rng=RNG), known) for pairs in some])
        for some in (
            [known.comparisons[i : i + int(value / 3)] for i in (0, 300, 600)],
            [known.comparisons[i : i + int(min(value * 3, 300))] for i in (0, 300, 600)],
        )
    )
    assert less < alone < more + 0.02
    few = worth_in_labels(known.readings, both.take(range(80)), stream(0, "worth"))
    assert (few.value, few.n) == (None, 40)


def test_a_curve_is_crossed_between_two_sizes_or_not_at_all() -> None:
    curve, sizes = [0.5, 0.6, 0.7], [25, 100, 400]
    assert crossing(0.4, curve, sizes) == 25 and crossing(0.8, curve, sizes) is None
    assert crossing(0.65, curve, sizes) == pytest.approx(200)
