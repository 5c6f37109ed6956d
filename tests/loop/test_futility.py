"""Labels that could change nothing are not bought, and that is said before the first of them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.loop.conftest import QUICK, run
from trueline.data.store import LabelStore
from trueline.errors import InvalidExperiment
from trueline.loop import futility
from trueline.models.adapters import LoraPolicy
from trueline.models.rollouts import Sampling
from trueline.policy import BestOfN, Limits
from trueline.progress import Telling
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.compose import Lexicographic, Minimum
from trueline.rewards.conservative import Conservative
from trueline.rewards.rules_exact import Exact
from trueline.rewards.rules_text import MaxWords
from trueline.runs import RunFolder

NOWHERE = Exact(expected="nobody has written it")


@pytest.mark.parametrize(
    ("sampling", "reward", "why"),
    [
        (Sampling(max_new_tokens=3), Bayesian(), "100% of the answers were cut"),
        (Sampling(temperature=1e-3), Bayesian(), "no prompt has two different answers"),
        (Sampling(), Lexicographic(rule=NOWHERE, taste=Bayesian()), "the rule exact scores none"),
        (Sampling(), Minimum(parts={"a": Bayesian(), "b": NOWHERE}), "the rule exact scores none"),
    ],
    ids=["cut", "alike", "unscored", "a part unscored"],
)
def test_a_first_round_that_can_teach_nothing_ends_the_run(
    sampling, reward, why, sums_task, tmp_path
):
    spec = replace(QUICK, reward=reward)
    for _ in range(2):  # and again where it stands
        with pytest.raises(InvalidExperiment, match=why) as caught:
            run(spec, replace(sums_task, sampling=sampling), tmp_path / "run")
        assert "\n" not in str(caught.value)
    assert not any(LabelStore(tmp_path / "run" / "labels.sqlite").spent().values())
    (row,) = (r for r in RunFolder.view(tmp_path / "run").metrics() if r["kind"] == "stopped")
    assert why in row["reason"] and row["round"] == 1


def test_a_gate_that_cannot_decide_and_a_rule_that_learns_nothing_are_told(sums_task, tmp_path):
    """And so is that fewer prompts are measured than were asked for."""
    some = sums_task.draw(30, "measure", make_rng()) + sums_task.draw(30, "learn", make_rng())
    task = replace(sums_task, prompts=some + sums_task.draw(30, "gate", make_rng()))
    measured = replace(QUICK.evaluate, prompts=31)
    spec = replace(QUICK, alpha=0.01, reward=MaxWords(n=25), rounds=1, labels=16, evaluate=measured)
    shown = Console(file=io.StringIO(), width=1000)
    with Telling(shown, "run"):
        result = run(spec, task, tmp_path / "run")
    (row,) = result["rounds"]
    assert result["labels_used"] == 0 and result["measured_prompts"] == 30
    for words in ("30 prompts are measured, 31", "8 labels bring its bet", "the reward is a rule"):
        assert any(words in note for note in row["notes"]), words
        assert words in shown.file.getvalue()  # type: ignore[attr-defined]
    assert row["gate"]["decision"] == "hold" and row["gate"]["labels"] == 0


@pytest.mark.parametrize("num", [4, 14])
def test_too_few_prompts_for_the_gate_are_told_and_buy_no_label_in_vain(num, sums_task, tmp_path):
    uses = {"gate": num, "learn": 60, "measure": 4}
    few = [prompt for use, n in uses.items() for prompt in sums_task.draw(n, use, make_rng())]
    spec = replace(QUICK, rounds=1, labels=40, alpha=0.1)
    result = run(spec, replace(sums_task, prompts=few), tmp_path / "r")
    (row,) = result["rounds"]
    assert row["gate"]["decision"] == "hold" and (result["labels"]["gate"] > 0) == (num == 14)
    words = "the gate is undecided: " if num == 14 else "of 4 prompts answered differently"
    assert any(words in note for note in row["notes"])


def test_a_spent_kl_budget_buys_no_labels_to_learn_from(sums_task):
    policy = LoraPolicy.create(sums_task.trunk, rank=2, rng=make_rng(), sampling=sums_task.sampling)
    prompts, case = sums_task.draw(4, "learn", make_rng()), [object()]

    def why(budget: float) -> str | None:
        rolled = policy.rollouts(prompts, num_samples=4, rng=make_rng())
        how = replace(QUICK, optimiser=BestOfN(limits=Limits(kl_budget=budget)))
        return futility.why_not(policy, case, rolled, sums_task.trunk.read(rolled.flat), how)

    assert why(1e-9) is None, "the trunk itself has spent nothing"
    with torch.no_grad():
        for parameter in policy.trainable():
            parameter.add_(0.02)
    assert "the KL budget is spent" in str(why(1e-3)) and why(1e3) is None


def make_rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_which_rewards_learn_nothing():
    rule = MaxWords(n=3)
    for head in (rule, Conservative(head=Minimum(parts={"a": rule, "b": NOWHERE}))):
        assert futility.learns_nothing(head)
    for head in (Bayesian(), Lexicographic(rule=rule, taste=Conservative(head=Bayesian()))):
        assert futility.learns_nothing(head) is None
