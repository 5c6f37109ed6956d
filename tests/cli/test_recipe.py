"""`trueline recipe` prints what a run would do; Ctrl-C ends a verb with 130 and one line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from trueline.cli import main, run
from trueline.recipes import KINDS, Recipe


def call(capsys: Any, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["recipe", *arguments])
    assert ended.value.code == 0
    return str(capsys.readouterr().out)


def test_a_recipe_is_printed_whole_and_reads_back(tmp_path: Path, capsys):
    printed = call(capsys, "sums", "--set", "policy.kind=grpo", "--set", "budget.rounds=2")
    (tmp_path / "mine.toml").write_text(printed)
    expected = Recipe.of("sums", changes=["policy.kind=grpo", "budget.rounds=2"])
    assert Recipe.of(tmp_path / "mine.toml") == expected
    assert tomllib.loads(printed)["budget"]["alpha"] == 0.1, "defaults are written out"
    again = json.loads(call(capsys, "own-model", "--json"))["recipe"]
    assert Recipe.of(tomllib.loads(again)) == Recipe.of("own-model")


def test_shipped_recipes_and_kinds_are_listed(capsys):
    assert set(json.loads(call(capsys, "--json"))["recipes"]) >= {"sums", "own-model"}
    listed = json.loads(call(capsys, "--kinds", "--json"))
    assert {role: list(kinds) for role, kinds in listed.items()} == {
        role: list(kinds) for role, kinds in KINDS.items()
    }
    assert "lexicographic" in call(capsys, "--kinds")


def test_ctrl_c_is_130_and_one_line(monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.RunVerb, "execute", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert ended.value.code == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert "goes on" in line
