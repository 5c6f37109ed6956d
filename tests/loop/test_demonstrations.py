"""Demonstrations come first: learned from, measured, resumed, refused where they must be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.loop.conftest import QUICK, comparable, run
from tests.material import prompts_in
from trueline.data.files import write_jsonl
from trueline.data.prompts import load_demonstrations
from trueline.errors import DataError, InputError
from trueline.loop.online import Online
from trueline.loop.resume import State
from trueline.loop.task import Task
from trueline.models.adapters import LoraPolicy
from trueline.policy import SFT, AdamWSettings
from trueline.recipes import Recipe
from trueline.recipes.runs import run as run_recipe
from trueline.reports import write_report
from trueline.runs import RunFolder
from trueline.worlds.sums import Sums, gold

FEW = SFT(adamw=AdamWSettings(learning_rate=3e-3, epochs=2, batch_size=8))


@pytest.fixture
def taught_task(sums_task: Task) -> Task:
    shown = Sums().demonstrations(24, np.random.default_rng(0))
    return replace(sums_task, demonstrations=shown, sft=FEW)


def test_the_worlds_own_are_right() -> None:
    shown = Sums().demonstrations(30, np.random.default_rng(1))
    assert min(gold(answer) for answer in shown) > 1.5 and len({a.prompt.key for a in shown}) == 30


def test_answers_become_likelier_and_prompts_are_not_learned(taught_task: Task) -> None:
    trunk, shown = taught_task.trunk, taught_task.demonstrations
    before = LoraPolicy.create(trunk, rank=4, rng=np.random.default_rng(0))
    after, told = FEW.fit(before, shown, rng=np.random.default_rng(0))
    gained = after.logp(shown, grad=False) - before.logp(shown, grad=False)
    assert gained.mean() > 0 and told["loss_last"] < told["loss_first"]
    assert told["demonstrations"] == 24
    # The first step's loss is that of the untrained policy on its batch: tokens of answers alone.
    one = SFT(adamw=AdamWSettings(batch_size=24))
    logps, mask = before.token_logps(shown, grad=False)
    expected = float((-(logps * mask).sum(1) / mask.sum(1)).mean())
    first = one.fit(before, shown, rng=np.random.default_rng(0))[1]["loss_first"]
    assert first == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="a demonstration"):
        FEW.fit(before, [], rng=np.random.default_rng(0))


def test_a_run_begins_with_what_they_taught(
    taught_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(QUICK, taught_task, tmp_path / "whole")
    assert whole["supervised"]["demonstrations"] == 24 and whole["supervised"]["kl"]["value"] > 0
    round_of = Online.round

    def killed(self: Online, now: Any, *rest: Any) -> Any:
        if now.t == 2:
            raise KeyboardInterrupt
        start = rest[0]
        assert start.working is start.certified is start.start
        return round_of(self, now, *rest)

    monkeypatch.setattr(Online, "round", killed)
    with pytest.raises(KeyboardInterrupt):
        run(QUICK, taught_task, tmp_path / "cut")
    monkeypatch.setattr(Online, "round", round_of)
    monkeypatch.setattr(SFT, "fit", lambda *_: pytest.fail("they were learned from already"))
    assert comparable(run(QUICK, taught_task, tmp_path / "cut")) == comparable(whole)
    state = State.load(RunFolder.view(tmp_path / "cut"), taught_task.trunk)
    assert state.start is not None and state.taught["demonstrations"] == 24


def test_what_they_can_be_read_from(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "response": "b"},
        {"instruction": "c", "output": "d"},
        {"messages": [{"role": "user", "content": "e"}, {"role": "assistant", "content": "f"}]},
        {"prompt": "g", "chosen": "h", "rejected": "i"},
        {"prompt": "j", "completion": "k", "label": False},
        {"prompt": "l"},
    ]
    write_jsonl(tmp_path / "shown.jsonl", rows)
    found, left = load_demonstrations(tmp_path / "shown.jsonl")
    assert [(a.prompt.text, a.text) for a in found] == [*zip("aceg", "bdfh", strict=True)]
    assert left["unwanted"] == 1 and left.total() == 2
    write_jsonl(tmp_path / "none.jsonl", rows[4:5])
    with pytest.raises(DataError, match="must hold demonstrations"):
        load_demonstrations(tmp_path / "none.jsonl")


TINY: dict[str, Any] = {
    "reward": {"kind": "rule", "name": "/sure/"},
    "judge": {"kind": "rule", "name": "/sure/"},
    "budget": {"rounds": 1, "labels": 8, "prompts_per_round": 4},
    "evaluate": {"prompts": 4, "curve_prompts": 1, "curve_samples": 1, "oracle_samples": 1},
}


def test_a_recipe_names_them(tmp_path: Path) -> None:
    rows = ({"prompt": f"start {n} , + 2", "response": f"answer {n + 2}"} for n in range(4))
    write_jsonl(tmp_path / "shown.jsonl", rows)
    data = {"prompts": str(prompts_in(tmp_path / "asks.jsonl"))}
    table = {**TINY, "start": {"adamw": {"epochs": 1}}, "data": data}
    with pytest.raises(InputError, match=r"data\.demonstrations must name a file"):
        run_recipe(table, out=tmp_path / "none")
    table["data"] = {**data, "demonstrations": str(tmp_path / "shown.jsonl")}
    left = run_recipe(table, out=tmp_path / "run")
    assert left.result is not None and left.result["supervised"]["demonstrations"] == 4
    kept = json.loads((tmp_path / "run" / "environment.json").read_text())["data_hashes"]
    assert len(kept["demonstrations"]) == 64
    assert Recipe.of(left.recipe.as_table()) == left.recipe
    page = write_report([tmp_path / "run"]).read_text()
    assert "4 demonstrations came first" in page
    with pytest.raises(InputError, match="begins with that run's policy"):
        run_recipe(table, out=tmp_path / "on", start=tmp_path / "run")
