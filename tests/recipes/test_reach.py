"""Every name of every dictionary, from one recipe through a run (or a judgement) to its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import trueline as tl
from tests.material import principle_in, prompts_in, right_over_wrong, says, verb
from trueline.oversight import PROTOCOLS
from trueline.policy import OPTIMISERS
from trueline.recipes.judges_and_helpers import HELPERS, JUDGES
from trueline.rewards import REWARDS
from trueline.testing import FakeEndpoint
from trueline.worlds.sums import trunk_path

TINY = {
    "budget": {"rounds": 1, "labels": 24, "prompts_per_round": 4, "samples_per_prompt": 2},
    "evaluate": {"prompts": 4, "curve_prompts": 2, "curve_samples": 2, "oracle_samples": 2},
    "policy": {"kind": "best_of_n", "num_samples": 2},
}
TASTE = {"kind": "bayesian"}
RULE = {"kind": "max_words", "n": 60}
FIELDS: dict[str, dict[str, Any]] = {
    "regex": {"must": ["answer"]},
    "rule": {"name": "/sure/"},
    "json_schema": {"schema": {"type": "object"}},
    "max_sentences": {"n": 3},
    "max_words": {"n": 60},
    "weighted_sum": {"parts": {"a": TASTE, "b": RULE}, "weights": {"a": 1.0, "b": 0.5}},
    "minimum": {"parts": {"a": TASTE, "b": RULE}},
    "lexicographic": {"rule": RULE, "taste": TASTE},
    "set_point": {"head": TASTE, "at": 0.5},
}
"""What a kind of reward cannot do without."""


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    right_over_wrong(24).save(file)
    return file


def run(tmp_path: Path, **sections: Any) -> tl.LoadedRun:
    """Run to the end; everything is in the folder again when it is loaded."""
    table = {**TINY, **sections}
    left = tl.run(table, out=tmp_path / "run", seed=0)
    assert left.result is not None and list(left.rounds["round"]) == [1]
    again = tl.load_run(tmp_path / "run")
    asked = tl.Recipe.of(table)
    assert again.recipe == asked.suited(chat=asked.model.path is not None) == left.recipe
    return left


@pytest.mark.parametrize("kind", REWARDS)
def test_every_reward(kind: str, tmp_path: Path):
    spec, known = {"kind": kind, **FIELDS.get(kind, {})}, {}
    if kind == "concept":
        # It must be validated by labelled pairs before it is used: by more than a tiny run has.
        right_over_wrong(200).save(tmp_path / "many.jsonl")
        known = {"data": {"comparisons": str(tmp_path / "many.jsonl")}}
    if kind == "concept_prior":
        known = {"data": {"principles": [str(principle_in(tmp_path / "right.toml"))]}}
    left = run(tmp_path, reward=spec, **known)
    trunk = tl.Trunk.load(trunk_path())
    reward = tl.load_reward(left.folder / "checkpoints" / "round-1" / "reward", trunk)
    assert len(reward.on(trunk).score(["start 2 , + 3"], ["2 + 3 = 5 ; answer 5 sure"])) == 1


@pytest.mark.parametrize("kind", REWARDS)
def test_every_reward_is_fitted_scored_and_saved_by_the_verbs(kind, pairs_file, tmp_path, capsys):
    section = tmp_path / "recipe.toml"
    recipe = tl.Recipe.of({"reward": {"kind": kind, **FIELDS.get(kind, {})}})
    section.write_text(recipe.as_toml())
    out = tmp_path / "reward"
    command = ("fit", pairs_file, "--model", trunk_path(), "--folds", 2, "--out", out)
    if kind == "concept_prior":
        command += ("--principles", principle_in(tmp_path / "right.toml"))
    fitted = verb(capsys, *command, "--reward", section)
    assert fitted["pairs"] == 24 and fitted["reward"] == str(out)
    scored = verb(capsys, "score", out, pairs_file, "--out", tmp_path / "scores.jsonl")
    assert scored["rows"] == 24
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert {row["chosen"]["outcome"] for row in rows} <= {"scored", "unscored"}


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_every_optimiser(kind: str, tmp_path: Path):
    left = run(tmp_path, policy={"kind": kind})
    assert left.result["rounds"][0]["optimiser"]


@pytest.mark.parametrize("population", ["impressed", "exact"])
def test_every_simulated_population(population: str, tmp_path: Path):
    run(tmp_path, judge={"kind": "simulated", "population": population})


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_every_protocol_in_a_run(kind: str, tmp_path: Path):
    helper = {"kind": "raised" if kind == "recursive" else "none" if kind == "direct" else "sums"}
    small = {"labels": [4, 4, 4]} if kind == "recursive" else {}
    budget = {**TINY["budget"], "labels": 60}
    run(tmp_path, oversight={"kind": kind, "helper": {**helper, **small}}, budget=budget)


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_every_protocol_by_the_verb(kind: str, tmp_path: Path, capsys):
    command = ("judge", "--protocol", kind, "--num-cases", 4, "--out", tmp_path / "judged")
    judged = verb(capsys, *command)
    assert judged["arms"][kind]["n"] == 4


@pytest.mark.parametrize("kind", HELPERS)
def test_every_helper(kind: str, tmp_path: Path, capsys):
    with FakeEndpoint(says) as server:
        rest = {"model": str(trunk_path()), "endpoint": f"{server.url}#fake"}
        name = f"{kind}:{rest[kind]}" if kind in rest else kind
        protocol = {"none": "direct", "raised": "recursive"}.get(kind, "critique")
        changes = []
        if kind == "raised":
            changes = ["--set", "oversight.helper.labels=[4,4]", "--set", "oversight.depth=2"]
        command = ("judge", "--num-cases", 3, "--out", tmp_path / "judged", "--helper", name)
        judged = verb(capsys, *command, "--protocol", protocol, *changes)
    assert judged["arms"][protocol]["n"] == 3


@pytest.mark.parametrize("kind", JUDGES)
def test_every_judge(kind: str, pairs_file, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda: "A" if next(turns) % 3 == 0 else "")
    turns = iter(range(10_000))
    own = {
        "model": {"path": str(trunk_path())},
        "data": {"prompts": str(prompts_in(tmp_path / "prompts.jsonl"))},
    }
    if kind == "reward":
        command = ("fit", pairs_file, "--model", trunk_path(), "--folds", 2)
        verb(capsys, *command, "--out", tmp_path / "reward")
    with FakeEndpoint(says) as server:
        fields = {
            "rule": {"name": "short-sentences"},
            "file": {"path": str(pairs_file)},
            "reward": {"folder": str(tmp_path / "reward")},
            "model": {"path": str(trunk_path())},
            "forced_choice": {"path": str(trunk_path())},
            "endpoint": {"url": server.url, "model": "fake"},
        }
        judge = {"kind": kind, **fields.get(kind, {})}
        if kind in ("model", "forced_choice"):
            # The embedded model is no chat model: its verdicts are undecided, and teach nothing.
            own["data"]["comparisons"] = str(pairs_file)  # type: ignore[index]
        run(tmp_path, judge=judge, **own)
