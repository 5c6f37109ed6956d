"""The contract of every policy optimiser, on a bandit whose reward counts a word."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import permutation_test

from tests.policy.conftest import COUNTS, LOST, By, blind
from trueline.errors import InputError
from trueline.policy import DPO, GRPO, OPTIMISERS, AdamWSettings, BestOfN, Limits, Samples
from trueline.policy.adamw import GradientSteps


def p_value(a: np.ndarray, b: np.ndarray) -> float:
    """One-sided, of "a is larger than b in the mean"."""

    def gap(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis) - y.mean(axis)

    rng = np.random.default_rng(2)
    return permutation_test((a, b), gap, alternative="greater", rng=rng).pvalue


FREE = Limits(kl_budget=math.inf, novelty_limit=math.inf)
ADAMW = AdamWSettings(learning_rate=1e-2, epochs=6, batch_size=8)
FAST = {
    "best_of_n": BestOfN(num_samples=6, limits=FREE, adamw=ADAMW),
    "dpo": DPO(num_samples=6, limits=FREE, adamw=ADAMW),
    "grpo": GRPO(num_samples=6, limits=FREE, adamw=replace(ADAMW, learning_rate=5e-3, epochs=2)),
}
assert FAST.keys() == OPTIMISERS.keys(), "the contract holds for every kind"
every = pytest.mark.parametrize("optimiser", FAST.values(), ids=FAST)


def improve(optimiser: Any, policy: Any, prompts: Any, scorer: Any, **changes: Any) -> Any:
    rng = np.random.default_rng(1)
    return replace(optimiser, **changes).improve(policy, prompts, scorer, rng=rng)


def answers(
    policy: Any, prompts: Any, num_samples: int = 8, seed: int = 9, scorer: Any = COUNTS
) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples.draw(policy, prompts, scorer, num_samples, rng=rng)


def distance(policy: Any, prompts: Any) -> tuple[float, float]:
    """KL(policy || trunk) in nats on samples of its own, and its standard error."""
    gaps = answers(policy, prompts, num_samples=32, seed=5).log_ratio
    return float(gaps.mean()), float(gaps.std() / math.sqrt(gaps.size))


def weights(policy: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in policy.trainable()]


def same(one: Any, two: Any, atol: float = 0.0) -> bool:
    pairs = zip(weights(one), weights(two), strict=True)
    return all(torch.allclose(a, b, rtol=0, atol=atol) for a, b in pairs)


@every
def test_it_improves_and_leaves_the_old_policy_alone(optimiser, policy, prompts):
    before, old = answers(policy, prompts).lower.ravel(), weights(policy)
    policy.trunk.fingerprint()
    update = improve(optimiser, policy, prompts, COUNTS)
    after = answers(update.policy, prompts).lower.ravel()
    a, b = after[np.isfinite(after)], before[np.isfinite(before)]
    assert a.mean() > b.mean() and update.stopped is None
    assert p_value(a, b) < 0.01
    assert all(torch.equal(a, b) for a, b in zip(old, weights(policy), strict=True))
    assert all(isinstance(v, float) and math.isfinite(v) for v in update.stats.values())
    policy.trunk.verify_frozen()


@every
@pytest.mark.parametrize(
    ("worth", "why"), [(1.0, "alike"), (None, "unscored")], ids=["alike", "unscored"]
)
def test_where_nothing_can_be_told_apart_nothing_changes(optimiser, worth, why, policy, prompts):
    update = improve(optimiser, policy, prompts, By(lambda _: worth), limits=Limits())
    assert update.policy is policy
    assert update.stopped == why
    assert update.stats["prompts_used"] == 0
    assert (update.stats["unscored_frac"] == 1) == (why == "unscored")


@every
def test_an_unscored_sample_counts_for_nothing(optimiser, policy, prompts):
    """Whatever number stands where nothing was scored."""
    one, two = (improve(optimiser, policy, prompts, blind(number)) for number in (0.0, 1e6))
    assert same(one.policy, two.policy) and not same(one.policy, policy)
    assert 0 < one.stats["unscored_frac"] < 1


@pytest.mark.parametrize("name", ["dpo", "grpo"])
def test_a_stronger_kl_weight_ends_nearer(name, policy, prompts):
    optimiser = FAST[name]
    weak, strong = (0.05, 5.0) if isinstance(optimiser, DPO) else (0.0, 5.0)
    extra = {}
    if isinstance(optimiser, DPO):
        extra = {"anchor": 0.0, "adamw": replace(ADAMW, learning_rate=3e-3)}
    near, far = (
        distance(improve(optimiser, policy, prompts, COUNTS, beta=b, **extra).policy, prompts)
        for b in (strong, weak)
    )
    assert near[0] + 2 * near[1] < far[0] - 2 * far[1]


@every
def test_a_kl_budget_is_kept(optimiser, policy, prompts):
    limits = replace(FREE, kl_budget=0.5)
    free = improve(optimiser, policy, prompts, COUNTS)
    update = improve(optimiser, policy, prompts, COUNTS, limits=limits)
    kl, error = distance(update.policy, prompts)
    assert distance(free.policy, prompts)[0] > 2 * 0.5, "the test would show nothing"
    assert update.stopped == "kl" and not same(update.policy, policy)
    assert kl < 0.5 + 3 * error
    assert update.stats["kl"] <= 0.5 and 0 < update.stats["step_frac"] <= 1
    assert kl > 0.1, "it need not stop that early"
    frac = update.stats["step_frac"]
    if isinstance(optimiser, GRPO):
        assert update.stats["steps"] < free.stats["steps"]
        return
    assert (32 * frac).is_integer(), "back along the line to the old policy"
    three = (weights(each) for each in (policy, update.policy, free.policy))
    for old, new, end in zip(*three, strict=True):
        assert torch.allclose(new, torch.lerp(old, end, frac), atol=1e-6)


@every
def test_a_policy_that_is_over_its_budget_is_handed_back(optimiser, policy, prompts):
    with torch.no_grad():
        for parameter in policy.trainable():
            parameter.add_(0.05)
    limits = replace(FREE, kl_budget=0.01)
    update = improve(optimiser, policy, prompts, COUNTS, limits=limits)
    assert update.stopped == "kl" and update.policy is policy
    assert update.stats["kl"] > 0.1


@every
def test_a_reward_that_is_lost_stops_it(optimiser, policy, prompts):
    """At once where half of the old policy's samples are too far, and else on the way."""
    at_once = improve(optimiser, policy, prompts, LOST, limits=replace(FREE, novelty_limit=0.5))
    assert at_once.stopped == "novelty" and at_once.policy is policy
    assert at_once.stats["novelty"] > 1 and at_once.stats["kl"] == pytest.approx(0, abs=1e-4)
    free, update = (
        improve(optimiser, policy, prompts, LOST, limits=limits)
        for limits in (FREE, replace(FREE, novelty_limit=1.5))
    )
    unlimited, limited = (
        float((answers(each.policy, prompts, 32, scorer=LOST).novelty > 1.5).mean())
        for each in (free, update)
    )
    assert unlimited > 0.57, "the test would show nothing"
    assert update.stopped == "novelty" and limited < 0.56


@every
def test_four_accumulated_batches_of_two_are_one_of_eight(optimiser, policy, prompts):
    whole, parts = (
        improve(
            optimiser,
            policy,
            prompts[:8],
            COUNTS,
            adamw=replace(optimiser.adamw, epochs=1, micro_batch_size=size),
        ).policy
        for size in (None, 2)
    )
    assert same(whole, parts, atol=2e-4) and not same(whole, policy)


@every
def test_the_same_stream_gives_the_same_policy(optimiser, policy, prompts):
    limits = replace(FREE, kl_budget=0.5)
    one, two = (improve(optimiser, policy, prompts, COUNTS, limits=limits) for _ in range(2))
    assert same(one.policy, two.policy) and one.stats == two.stats


@pytest.mark.parametrize("anchor", [0.0, 5.0])
def test_dpo_s_first_step_is_that_of_its_formula(anchor, policy, prompts):
    """Of a policy that is not the trunk any more, so that the reference matters."""
    with torch.no_grad():
        for parameter in policy.trainable():
            parameter.add_(0.02)
    samples = answers(policy, prompts, 6)
    best, worst = samples.extremes()
    gap = samples.log_ratio.ravel()[best] - samples.log_ratio.ravel()[worst]
    logp = np.array([samples.logps[i].sum() / len(samples.logps[i]) for i in best])
    expected = (np.log1p(np.exp(-0.3 * gap)) - anchor * logp).mean()
    dpo = DPO(beta=0.3, anchor=anchor, adamw=replace(ADAMW, epochs=1, batch_size=99))
    found = dpo._prefer(policy.copy(), samples, np.random.default_rng(0))
    assert found["loss_first"] == pytest.approx(expected, abs=1e-4) and gap.std() > 0.01


def test_the_rate_warms_up_and_decays_and_there_must_be_something_to_do(policy):
    steps, rates = GradientSteps(replace(ADAMW, learning_rate=1.0), policy, 40), []
    for _ in range(40):
        steps.step(np.arange(2), lambda items: 0.0 * policy.trainable()[0].sum() * torch.ones(2), 8)
        rates.append(steps._adamw.param_groups[0]["lr"])
    assert rates[0] == 0.25 and max(rates) == 1.0 == rates[3]
    assert rates[-1] == pytest.approx(1 / 37)
    assert all(a > b for a, b in pairwise(rates[4:]))
    sizes, loss = [], lambda items: torch.zeros(len(items), requires_grad=True)
    for size in (None, 3):
        settings, longest = replace(ADAMW, micro_batch_size=size), policy.tokens_at_once // 4
        measured = lambda items: sizes.append(len(items)) or loss(items)  # noqa: E731
        GradientSteps(settings, policy, 1).step(np.arange(9), measured, longest)
    assert sizes == [4, 4, 1, 3, 3, 3], "micro-batches are what fits, or what is asked for"
    for wrong in ({"epochs": 0}, {"micro_batch_size": 0}, {"learning_rate": 0.0}):
        with pytest.raises(InputError):
            replace(ADAMW, **wrong)
    for name in ("kl_budget", "novelty_limit"):
        with pytest.raises(InputError, match=name):
            Limits(**{name: 0.0})
