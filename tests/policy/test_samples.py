"""What optimisers start from: the free reference, abstention, length, engines that lag."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.policy.conftest import COUNTS, By, Reads, blind
from trueline.errors import InputError
from trueline.models.adapters import LoraPolicy
from trueline.policy import GRPO, BestOfN, Limits, Samples


def draw(policy: Any, prompts: Any, scorer: Any) -> Samples:
    return Samples.draw(policy, prompts, scorer, 8, rng=np.random.default_rng(3))


@pytest.fixture
def moved(policy: LoraPolicy) -> LoraPolicy:
    """A policy that is not the trunk any more."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.trainable():
            parameter.add_(0.04 * torch.randn(parameter.shape, generator=draw))
    return policy


def test_the_reference_is_the_same_by_the_reading_and_by_a_pass(moved, prompts, monkeypatch):
    passed = []
    logp = LoraPolicy.logp

    def counted(self: Any, rows: Any, *, grad: bool = True) -> torch.Tensor:
        passed.extend(rows)
        return logp(self, rows, grad=grad)

    monkeypatch.setattr(LoraPolicy, "logp", counted)
    # Short enough for some that are cut to be read with the tokens that were sampled.
    moved.sampling = replace(moved.sampling, max_new_tokens=2)
    by_pass = draw(moved, prompts, COUNTS)
    everything = len(passed)
    assert everything == 8 * len(prompts)
    passed.clear()
    free = draw(moved, prompts, Reads(moved.trunk))
    assert np.allclose(free.reference, by_pass.reference, atol=2e-4)
    assert np.abs(free.log_ratio).mean() > 0.1, "the test would show nothing"
    # Answers with tokens that no text shows are passed again; others, cut ones too, are not.
    again = moved.trunk.codec.encode(free.rollouts.flat)
    pairs = list(zip(again, free.rollouts.rows, free.rollouts.ended, strict=True))
    differ = [a.ids[: None if ended else -a.end] != b.ids for a, b, ended in pairs]
    assert 0 < len(passed) == sum(differ) < everything
    assert not free.rollouts.ended[~np.array(differ)].all(), "no answer was cut"


def test_readings_of_another_trunk_are_not_taken_for_the_reference(moved, prompts, monkeypatch):
    right = draw(moved, prompts, COUNTS).reference
    read = moved.trunk.read

    def by_another(responses: Any) -> Any:
        readings = read(responses)
        return replace(readings, trunk="another", surprisals=0 * readings.surprisals)

    monkeypatch.setattr(moved.trunk, "read", by_another)
    assert np.allclose(draw(moved, prompts, Reads(moved.trunk)).reference, right, atol=2e-4)


def test_unscored_and_cut_samples_are_never_chosen(policy, prompts):
    samples = draw(policy, prompts, blind(1e6))
    assert 0 < samples.counts()["unscored_frac"] < 1
    for row in np.concatenate(samples.extremes()):
        assert "down" not in samples.rollouts.flat[row].text.split()
        assert samples.rollouts.ended[row]
    assert samples.stats()["novelty"] < 1e5
    mute = draw(policy, prompts, By(lambda _: None))
    assert mute.counts()["unscored_frac"] == 1 and mute.uninformative() == "unscored"
    assert "novelty" not in mute.stats(), "what was not measured has no number"


def test_kl_and_entropy_are_those_of_the_samples(moved, prompts):
    samples = draw(moved, prompts, COUNTS)
    rows = samples.rollouts.rows
    with moved.off():
        reference = moved.logp(rows, grad=False).double().numpy()
    own = moved.logp(rows, grad=False).double().numpy()
    tokens = sum(row.stop - row.start for row in rows)
    stats = samples.stats()
    assert stats["kl"] == pytest.approx((own - reference).mean(), abs=1e-4)
    assert stats["entropy"] == pytest.approx(-own.sum() / tokens, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_ratio_and_kl_are_of_the_policy_at_its_temperature(temperature, moved, prompts):
    """Whatever the nucleus: a token's ratio to itself is 1, and both sides of the KL are alike."""
    moved.sampling = replace(moved.sampling, temperature=temperature, top_p=0.9)
    samples = draw(moved, prompts, Reads(moved.trunk))
    rows = samples.rollouts.rows
    again, _ = moved.token_logps(rows, grad=False)
    for row, said, known in zip(rows, samples.logps, again.double().numpy(), strict=True):
        assert np.allclose(said, known[: row.stop - row.start], atol=1e-4)
    logits = [moved.network(torch.tensor([row.ids])).logits[0].double() for row in rows[:3]]
    for row, raw, said in zip(rows, logits, samples.logps, strict=False):
        logps = torch.log_softmax(raw[row.start - 1 : row.stop - 1] / temperature, -1)
        own = logps.gather(1, torch.tensor(row.ids[row.start : row.stop])[:, None])[:, 0]
        assert np.allclose(said, own.detach(), atol=1e-4)
    with moved.off():
        reference = moved.logp(rows, grad=False).double().numpy()
    assert np.allclose(samples.reference.ravel(), reference, atol=2e-4)
    assert samples.log_ratio.mean() > 0


@pytest.mark.parametrize("cut", ["score", "leave_out", "charge"])
def test_what_a_cut_answer_is_worth(cut, policy, prompts):
    policy.sampling = replace(policy.sampling, cut=cut, cut_penalty=2.5, max_new_tokens=4)
    samples = draw(policy, prompts, COUNTS)
    plain = COUNTS.score([], [r.text for r in samples.rollouts.flat]).mean
    was_cut, lower = samples.rollouts.cut, samples.lower.ravel()
    assert 0 < was_cut.mean() < 1 and samples.stats()["cut_frac"] == was_cut.mean()
    assert np.array_equal(lower[~was_cut], plain[~was_cut])
    expected = {"score": plain, "charge": plain - 2.5, "leave_out": np.full(len(plain), np.nan)}
    assert np.array_equal(lower[was_cut], expected[cut][was_cut], equal_nan=True)
    kept = [len(row) for row in samples.rollouts.kept(policy.sampling)]
    assert sum(kept) == (len(plain) - was_cut.sum() if cut == "leave_out" else len(plain))


@pytest.fixture
def older(moved: LoraPolicy) -> Any:
    """An engine that says what a policy of older weights would say."""
    rng, room = np.random.default_rng(0), moved.max_new_tokens
    before = LoraPolicy.create(moved.trunk, rank=8, rng=rng, max_new_tokens=room)
    return SimpleNamespace(
        rollouts=lambda policy, prompts, **options: before.rollouts(prompts, **options)
    )


def test_an_engine_s_samples_have_the_policy_s_own_log_probabilities(moved, older, prompts):
    moved.sampler = older
    samples = draw(moved, prompts, COUNTS)
    own = moved.logp(samples.rollouts.rows, grad=False).double().numpy()
    logp = np.array([row.sum() for row in samples.logps])
    assert np.allclose(logp, own, atol=1e-4)
    assert np.abs(logp - [row.sum() for row in samples.rollouts.logps]).mean() > 0.1


def test_grpo_clips_the_ratio_to_what_the_engine_said(moved, older, prompts):
    """One step on fresh samples: only where somebody else said them is there a ratio to clip."""

    def after(sampler: Any, epsilon: float) -> list[torch.Tensor]:
        moved.sampler = sampler
        free = Limits(kl_budget=math.inf, novelty_limit=math.inf)
        optimiser = GRPO(num_samples=4, limits=free, epsilon=epsilon)
        update = optimiser.improve(moved, prompts, COUNTS, rng=np.random.default_rng(1))
        return [p.detach() for p in update.policy.trainable()]

    for sampler, alike in ((None, True), (older, False)):
        pairs = zip(after(sampler, 0.01), after(sampler, 10.0), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == alike


def test_limits_are_held_to_what_the_model_itself_says(moved, older, prompts):
    """An engine that lags says what an older policy would: its KL is not that of the new one."""
    old = moved.copy()
    moved.sampler = older
    limits = Limits(kl_budget=1e9)
    kept = [
        limits.keep(old, each, prompts, COUNTS, seed=0, stats={}).stats["kl"]
        for each in (moved, old.copy())
    ]
    assert kept[0] == kept[1] > 0.1 and moved.sampler is older


def test_a_quantiliser_takes_each_of_the_best_alike_and_never_what_is_unscored(policy, prompts):
    samples, rng = draw(policy, prompts, COUNTS), np.random.default_rng(0)
    lower = np.array([[0.0, 3.0, np.nan, 2.0, 1.0], [5.0, np.nan, np.nan, 4.0, np.nan]])
    alike = np.array([[1.0] * 5])
    samples = replace(samples, lower=np.concatenate([lower, alike]))
    drawn = np.array([BestOfN(num_samples=5, top=3)._chosen(samples, rng) for _ in range(600)])
    assert set(drawn[:, 0]) == {1, 3, 4} and set(drawn[:, 1]) == {5, 8} and drawn.shape[1] == 2
    shares = [np.mean(drawn[:, 0] == row) for row in (1, 3, 4)]
    assert max(shares) - min(shares) < 0.12
    assert BestOfN(num_samples=5)._chosen(samples, rng).tolist() == [1, 5]
    for top in (0, 6):
        with pytest.raises(InputError, match="between 1 and num_samples"):
            BestOfN(num_samples=5, top=top)
