"""A run that goes on from another, and says what was cut short."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.loop.conftest import FREE, QUICK, comparable, make_sums_task, run
from trueline.data.store import LabelStore
from trueline.errors import InvalidExperiment, SetupError
from trueline.loop.resume import State, continue_from
from trueline.loop.task import Task
from trueline.models.rollouts import Sampling
from trueline.policy import DPO, BestOfN, Limits
from trueline.runs import RunFolder
from trueline.testing import FakeTrunk


@pytest.fixture(scope="module")
def first(sums_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "first"
    assert run(QUICK, sums_task, place)["certified_round"] > 0
    return place


@pytest.fixture(scope="module")
def second(sums_task: Task, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With other raters and another optimiser."""
    place = tmp_path_factory.mktemp("runs") / "second"
    other = make_sums_task(sums_task.trunk, "exact", seed=1)
    run(replace(QUICK, seed=1, optimiser=DPO(limits=FREE)), continue_from(first, other), place)
    return place


def test_it_begins_from_the_certified_policy_and_all_learned(sums_task, first, tmp_path):
    task = continue_from(first, sums_task)
    state = State.load(RunFolder.view(first), sums_task.trunk)
    for ours, theirs in zip(task.policy.trainable(), state.certified.trainable(), strict=True):
        assert torch.equal(ours, theirs)
    told = LabelStore(first / "labels.sqlite").comparisons()
    assert [c.chosen.key for c in task.comparisons] == [c.chosen.key for c in told]
    assert {c.round for c in task.comparisons} == {0}, "known before the first round"
    read = set(task.readings.keys)
    assert {r.key for r in task.comparisons.responses} <= read, "nothing is read twice"
    assert f"run first certified in its round {state.certified_round}" in task.about["certificate"]
    # Nothing is learned from single samples: the policy taken over is what the gate goes on from.
    still = replace(QUICK, rounds=1, optimiser=BestOfN(num_samples=1, limits=FREE))
    result = run(still, task, tmp_path / "still")
    assert result["certified_round"] == 0 and result["rounds"][0]["gate"]["labels"] == 0
    kept = State.load(RunFolder.view(tmp_path / "still"), sums_task.trunk).certified
    for ours, theirs in zip(kept.trainable(), task.policy.trainable(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_chain_of_runs_knows_all_their_comparisons(sums_task, first, second):
    known = continue_from(first, sums_task).comparisons
    own = LabelStore(second / "labels.sqlite").comparisons()
    third = continue_from(second, sums_task)
    assert [c.chosen.key for c in third.comparisons] == [c.chosen.key for c in (*known, *own)]
    assert third.data_hashes["source"] != continue_from(first, sums_task).data_hashes["source"]


def test_a_continued_run_is_resumed_only_on_the_source_as_it_was(sums_task, first, tmp_path):
    source, place = tmp_path / "source", tmp_path / "next"
    shutil.copytree(first, source)
    task = continue_from(source, sums_task)
    expected = run(QUICK, task, place)
    # As if killed after its first round.
    shutil.rmtree(place / "checkpoints" / "round-2")
    (place / "result.json").unlink()
    assert comparable(run(QUICK, continue_from(source, sums_task), place)) == comparable(expected)
    shutil.rmtree(source / "checkpoints" / "round-2")
    with pytest.raises(InvalidExperiment, match="changed: source"):
        run(QUICK, continue_from(source, sums_task), place)


def test_what_cannot_be_continued_is_refused(sums_task, first, tmp_path):
    RunFolder.resume(tmp_path / "empty", {}, data_hashes={}).close()
    with pytest.raises(SetupError, match=r"no checkpoint in .*empty"):
        continue_from(tmp_path / "empty", sums_task)
    with pytest.raises(SetupError, match=r"must hold config\.json"):
        continue_from(tmp_path / "nothing", sums_task)
    other = replace(sums_task, trunk=FakeTrunk(planted={"good": 1.0}))
    with pytest.raises(SetupError, match="the trunk it was trained on"):
        continue_from(first, other)


def test_why_less_was_done_and_how_many_answers_were_cut_is_recorded(sums_task, tmp_path):
    near = BestOfN(num_samples=2, limits=Limits(novelty_limit=1e-6))
    spec = replace(QUICK, rounds=1, optimiser=near)
    short = replace(sums_task, sampling=Sampling(max_new_tokens=4, cut="score"))
    (row,) = run(spec, short, tmp_path / "run")["rounds"]
    assert row["cut"] == 4, "no answer of this world is over after four tokens"
    assert row["stopped"] in ("unscored", "novelty")
    rate = row["gate"]["win_rate_at_equal_length"]
    assert rate["n"] == 0 == row["gate"]["labels"]
