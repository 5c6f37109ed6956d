"""What optimisers start from: the free reference, abstention, length, samplers that lag; and
best-of-n as a policy."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.policy.conftest import Blind, CountsUp, Mute, Reads
from trueline.models.adapters import LoraPolicy
from trueline.models.fake import ScriptedPolicy
from trueline.policy import GRPO, BestOfNPolicy, Limits, Samples
from trueline.policy.losses import sequence_lag
from trueline.policy.reference import last_iterate, trunk
from trueline.protocols import Policy
from trueline.records import Prompt, Scores
from trueline.stats import kl_best_of_n


def draw(policy: Any, prompts: Any, scorer: Any, **options: Any) -> Samples:
    rng = np.random.default_rng(3)
    return Samples.draw(policy, prompts, scorer, num_samples=8, rng=rng, **options)


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
    by_pass = draw(moved, prompts, CountsUp())
    everything = len(passed)
    assert everything == 8 * len(prompts)
    passed.clear()
    free = draw(moved, prompts, Reads(moved.trunk))
    assert np.allclose(free.reference, by_pass.reference, atol=2e-4)
    assert np.abs(free.log_ratio).mean() > 0.1, "the test would show nothing"
    # Cut answers, and answers with tokens that no text shows, are passed again; others are not.
    assert 0 < len(passed) < everything
    codec = moved.trunk.codec
    again = codec.encode(free.rollouts.flat)
    differ = [a.ids != b.ids for a, b in zip(again, free.rollouts.rows, strict=True)]
    assert len(passed) == sum(differ)
    assert any(d and e for d, e in zip(differ, free.rollouts.ended, strict=True))


def test_readings_of_another_trunk_are_not_taken_for_the_reference(moved, prompts, monkeypatch):
    right = draw(moved, prompts, CountsUp()).reference
    read = moved.trunk.read

    def by_another(responses: Any) -> Any:
        readings = read(responses)
        return replace(readings, trunk="another", surprisals=0 * readings.surprisals)

    monkeypatch.setattr(moved.trunk, "read", by_another)
    assert np.allclose(draw(moved, prompts, Reads(moved.trunk)).reference, right, atol=2e-4)


def test_unscored_and_cut_samples_are_never_chosen(policy, prompts):
    samples = draw(policy, prompts, Blind(nothing=1e6))
    assert 0 < samples.unscored_frac < 1
    for b in samples.informative():
        for row in (samples.best(b), samples.worst(b)):
            assert "down" not in samples.rollouts.flat[row].text.split()
            assert samples.rollouts.ended[row]
    assert samples.stats()["novelty"] < 1e5
    mute = draw(policy, prompts, Mute())
    assert mute.unscored_frac == 1 and not mute.informative() and mute.silence() == "unscored"
    assert "novelty" not in mute.stats(), "what was not measured has no number"


def test_the_length_penalty_is_per_token(policy, prompts):
    plain, charged = (draw(policy, prompts, CountsUp(), length_penalty=p) for p in (0.0, 0.25))
    lengths = np.array([len(row) for row in plain.logps]).reshape(plain.lower.shape)
    known = np.isfinite(plain.lower)
    assert np.allclose((plain.lower - charged.lower)[known], 0.25 * lengths[known])


def test_kl_and_entropy_are_those_of_the_samples(moved, prompts):
    samples = draw(moved, prompts, CountsUp())
    rows = samples.rollouts.rows
    with moved.off():
        reference = moved.logp(rows, grad=False).double().numpy()
    own = moved.logp(rows, grad=False).double().numpy()
    tokens = sum(row.stop - row.start for row in rows)
    stats = samples.stats()
    assert stats["kl"] == pytest.approx((own - reference).mean(), abs=1e-4)
    assert stats["entropy"] == pytest.approx(-own.sum() / tokens, abs=1e-4)


class Lagging:
    """Says what a policy of older weights would say."""

    def __init__(self, older: LoraPolicy) -> None:
        self.older = older

    def roll(self, policy: Any, prompts: Any, **options: Any) -> Any:
        return self.older.roll(prompts, **options)


def test_a_lagging_sampler_is_corrected_for(moved, prompts):
    """Its samples are weighted so that the mean of anything is the policy's own."""
    older = LoraPolicy.create(
        moved.trunk, rank=8, rng=np.random.default_rng(0), max_new_tokens=moved.max_new_tokens
    )
    moved.sampler = Lagging(older)
    samples = draw(moved, prompts * 8, CountsUp())
    said = samples.rollouts
    own = moved.logp(said.rows, grad=False).double().numpy()
    assert np.allclose(samples.logp.ravel(), own, atol=1e-4)
    assert np.abs(samples.logp.ravel() - [row.sum() for row in said.logps]).mean() > 0.1
    old, engine = (
        torch.tensor([[row.sum()] for row in rows]) for rows in (samples.logps, said.logps)
    )
    weight = sequence_lag(old, engine, 1e9).numpy().ravel()
    assert weight.mean() == pytest.approx(1.0, abs=4 * weight.std() / math.sqrt(len(weight)))
    kl = float((weight * samples.log_ratio.ravel()).mean())
    moved.sampler = None
    assert kl == pytest.approx(draw(moved, prompts * 8, CountsUp()).stats()["kl"], rel=0.25)


def test_grpo_weighs_what_a_lagging_sampler_said(moved, prompts):
    older = LoraPolicy.create(
        moved.trunk, rank=8, rng=np.random.default_rng(0), max_new_tokens=moved.max_new_tokens
    )
    moved.sampler = Lagging(older)
    free = Limits(kl_budget=None, entropy_floor=None, novelty_limit=None)
    asked = []

    def lag(own: torch.Tensor, engine: torch.Tensor, cap: float) -> torch.Tensor:
        asked.append(cap)
        return torch.zeros_like(own)

    def after(**options: Any) -> list[torch.Tensor]:
        optimiser = GRPO(num_samples=4, limits=free, **options)
        update = optimiser.improve(moved, prompts, CountsUp(), rng=np.random.default_rng(1))
        return [p.detach() for p in update.policy.trainable()]

    silenced = after(lag=lag, lag_cap=3.0)
    assert set(asked) == {3.0}
    before = [p.detach() for p in moved.trainable()]
    assert all(torch.equal(a, b) for a, b in zip(silenced, before, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(after(), before, strict=True))


def test_limits_are_held_to_what_the_model_itself_says(moved, prompts):
    """An engine that lags says what an older policy would: its KL is not that of the new one."""
    watch = Limits().watch(moved, prompts, CountsUp(), rng=np.random.default_rng(0))
    itself = watch.look(moved)
    moved.sampler = sampler = Lagging(moved.copy())
    moved.sampler.older.trainable()[0].data.mul_(0.0)
    again = watch.look(moved)
    assert moved.sampler is sampler
    assert [r.text for r in again.rollouts.flat] == [r.text for r in itself.rollouts.flat]
    assert watch.broken(again) == watch.broken(itself)


def test_references(moved, prompts):
    samples = draw(moved, prompts, CountsUp())
    assert np.allclose(trunk(moved, samples), samples.reference)
    assert np.allclose(last_iterate(moved, samples), samples.logp, atol=1e-4)


class Worth:
    """An answer's own number; "?" cannot be scored."""

    def score(self, prompts: Any, responses: list[str]) -> Scores:
        known = np.array([text != "?" for text in responses])
        worth = np.array([1e6 if text == "?" else float(text) for text in responses])
        return Scores(worth, np.zeros_like(worth), worth, np.ones_like(worth), known)


def test_best_of_n_as_a_policy_picks_the_best_and_moves_as_far_as_promised():
    """Answers 0..99, all equally likely: P(best of n <= i) = ((i + 1) / 100)^n."""
    base = ScriptedPolicy({"q": [str(i) for i in range(100)], "r": ["?", "3", "-1"]})
    policy = BestOfNPolicy(base, Worth(), 4)
    assert isinstance(policy, Policy)
    rows = policy.sample(
        [Prompt.of("q"), Prompt.of("r")], num_samples=4000, rng=np.random.default_rng(0)
    )
    assert [len(row) for row in rows] == [4000, 4000] and rows[0][0].logp is None
    numbers = np.array([int(r.text) for r in rows[0]])
    chance = np.diff((np.arange(101) / 100) ** 4)
    assert numbers.mean() == pytest.approx((np.arange(100) * chance).sum(), abs=1.0)
    kl = float((chance * np.log(chance * 100)).sum())
    assert kl <= kl_best_of_n(4) and kl == pytest.approx(kl_best_of_n(4), abs=0.01)
    shares = {text: np.mean([r.text == text for r in rows[1]]) for text in ("?", "3", "-1")}
    assert shares["?"] == pytest.approx(3**-4, abs=0.01), "unscored only where all four are"
    assert shares["3"] > shares["-1"]
