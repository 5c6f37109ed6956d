"""The loop on the embedded world, small: what it writes and promises, whatever the reward; and
that a kill at any moment changes nothing."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.loop.conftest import FREE, QUICK, comparable, run
from trueline.data.store import LabelStore
from trueline.errors import DataError
from trueline.loop.task import Task, purpose_of
from trueline.policy import GRPO
from trueline.records import Prompt, Scores
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.linear import LinearReward
from trueline.rewards.rules_text import MaxWords
from trueline.worlds.sums import Sums


@pytest.fixture(scope="module")
def whole(sums_task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    place = tmp_path_factory.mktemp("runs") / "whole"
    return place, run(QUICK, sums_task, place)


def test_the_result_holds_what_a_reader_needs(whole):
    _, result = whole
    assert [row["round"] for row in result["rounds"]] == [1, 2]
    for row in result["rounds"]:
        for name in ("gold", "proxy", "kl", "uncertainty", "novelty", "length"):
            assert row[name]["n"] == QUICK.evaluate.prompts
            assert row[name]["lower"] <= row[name]["value"] <= row[name]["upper"]
            assert row[name]["lower"] >= 0 or name in ("gold", "proxy")
        assert row["gate"]["decision"] in ("accept", "hold", "roll_back")
        assert row["gate"]["threshold"] == pytest.approx(2 / QUICK.alpha)
    assert result["rounds"][0]["accuracy"] is None, "nothing was known before the first round"
    second = result["rounds"][1]
    assert 0 < second["accuracy"]["n"] <= second["labels"]["learn"]
    accepted = [r["round"] for r in result["rounds"] if r["gate"]["decision"] == "accept"]
    assert result["certified_round"] == (accepted[-1] if accepted else 0)


def test_the_budget_is_kept_and_every_label_is_in_the_store(whole):
    place, result = whole
    assert result["labels_used"] == sum(result["labels"].values()) <= QUICK.labels
    store = LabelStore(place / "labels.sqlite")
    assert store.spent() == result["labels"]
    seconds = {
        p: math.fsum(s for t in (1, 2) for s in store.seconds(p, round=t))
        for p in ("learn", "gate")
    }
    assert result["judge_s"] == pytest.approx(seconds) and seconds["learn"] > 0
    assert {purpose_of(c.prompt) for c in store.comparisons()} == {"learn"}


def labels_in(place: Path) -> int:
    """Labels that a run has stored so far, seen from outside."""
    try:
        with closing(sqlite3.connect(f"file:{place}/labels.sqlite?mode=ro", uri=True)) as store:
            tables = ("learn_labels", "gate_labels")
            return sum(store.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in tables)
    except sqlite3.OperationalError:
        return 0  # not there yet, or being made


@pytest.mark.parametrize("labels", [5, 30])
def test_a_killed_run_comes_to_the_same_result(labels, sums_task, whole, tmp_path):
    place = tmp_path / "killed"
    child = os.fork()
    if not child:
        try:
            run(QUICK, sums_task, place)
        finally:
            os._exit(0)
    while labels_in(place) < labels:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it could be killed"
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not (place / "result.json").exists()
    assert comparable(run(QUICK, sums_task, place)) == comparable(whole[1])


def test_a_reward_that_cannot_score_every_answer_runs_to_its_end(sums_task, tmp_path, monkeypatch):
    """It cannot score answers of an odd length, however it is asked."""
    score, margin = LinearReward.score, LinearReward.margin

    def known(readings: Any) -> np.ndarray:
        return np.array([len(r.text) % 2 == 0 for r in readings.responses])

    def gaps(self: LinearReward, readings: Any) -> Scores:
        scores, there = score(self, readings), known(readings)
        columns = (scores.mean, scores.std, scores.lower, scores.novelty)
        return Scores(*(np.where(there, column, np.nan) for column in columns), there)

    def between(self: LinearReward, readings: Any, first: Any, second: Any) -> Any:
        both = known(readings)[first] & known(readings)[second]
        return tuple(np.where(both, x, np.nan) for x in margin(self, readings, first, second))

    monkeypatch.setattr(LinearReward, "score", gaps)
    monkeypatch.setattr(LinearReward, "margin", between)
    result = run(replace(QUICK, reward=Bayesian()), sums_task, tmp_path / "run")
    first, second = result["rounds"]
    assert min(first["labels"]["learn"], second["labels"]["learn"]) > 0, "asked all the same"
    assert second["accuracy"]["n"] < second["labels"]["learn"], "but not foretold"
    assert sum(row["unscored"] for row in result["rounds"]) > 0


def test_a_rule_needs_no_labels_to_learn_from(sums_task, tmp_path):
    spec = replace(QUICK, reward=MaxWords(n=30), gate_frac=1.0, optimiser=GRPO(limits=FREE))
    sums_task = replace(sums_task, gold=lambda response: float(len(response.text) > 0))
    result = run(spec, sums_task, tmp_path / "run")
    assert result["labels"]["learn"] == 0 and len(result["rounds"]) == 2
    for gold in (result["gold_base"], *(row["gold"] for row in result["rounds"])):
        assert 0 <= gold["lower"] < gold["upper"] <= gold["value"] == 1, "yes or no, of a few"
    assert {row[name] for row in result["rounds"] for name in ("uncertainty", "novelty")} == {None}
    assert run(spec, sums_task, tmp_path / "run") is not None, "what it saved is read back"


def task(prompts: Any) -> Task:
    return Task(trunk=None, prompts=prompts, rater=None)  # type: ignore[arg-type]


def test_no_prompt_serves_two_purposes():
    ours = task(Sums().prompts)
    rng = np.random.default_rng(0)
    drawn = {p: {x.key for x in ours.draw(60, p, rng)} for p in ("measure", "gate", "learn")}
    assert all(len(keys) == 60 for keys in drawn.values())
    assert len(set.union(*drawn.values())) == 180


def test_a_collection_gives_what_it_holds_and_says_when_a_part_is_empty():
    few = task([Prompt.of(f"prompt {i}") for i in range(50)])
    rng = np.random.default_rng(0)
    assert 0 < len(few.draw(1000, "measure", rng)) < 50
    only = Prompt.of("only one")
    other = {"learn": "gate"}.get(purpose_of(only), "learn")
    with pytest.raises(DataError, match="give more prompts"):
        task([only] * 3).draw(1, other, rng)
