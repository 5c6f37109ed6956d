"""`trueline recipe` prints what a run would do, and the flags of `run` fill a recipe in."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.material import prompts_in, says, verb
from trueline.cli import main
from trueline.cli.fit import FitVerb
from trueline.cli.run import RunVerb
from trueline.data.store import LabelStore
from trueline.errors import InputError
from trueline.models.engine import Engine
from trueline.policy import GRPO, BestOfN
from trueline.recipes import KINDS, Recipe
from trueline.recipes.judges_and_helpers import RuleJudge, ServedModel
from trueline.recipes.runs import make_loop, make_task
from trueline.recipes.session import Session
from trueline.testing import FakeEndpoint
from trueline.worlds.sums import trunk_path


def test_a_recipe_is_printed_whole_and_reads_back(tmp_path: Path, capsys):
    changes = ["policy.kind=grpo", "budget.rounds=2"]
    with pytest.raises(SystemExit):
        main(["recipe", "sums", *(part for change in changes for part in ("--set", change))])
    printed = capsys.readouterr().out
    (tmp_path / "mine.toml").write_text(printed)
    assert Recipe.of(tmp_path / "mine.toml") == Recipe.of("sums", changes=changes)
    assert tomllib.loads(printed)["budget"]["alpha"] == 0.1, "defaults are written out"
    again = verb(capsys, "recipe", "own-model")["recipe"]
    assert Recipe.of(tomllib.loads(again)) == Recipe.of("own-model")


def test_shipped_recipes_and_kinds_are_listed(capsys):
    assert set(verb(capsys, "recipe")["recipes"]) >= {"sums", "own-model"}
    listed = verb(capsys, "recipe", "--kinds")
    assert listed.keys() == KINDS.keys()
    assert all(list(listed[role]) == list(kinds) for role, kinds in KINDS.items())


def test_ctrl_c_is_130_and_one_line_that_says_what_is_kept(monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for kind in (RunVerb, FitVerb):
        monkeypatch.setattr(kind, "execute", interrupted)
    assert "goes on" in verb(capsys, "run", code=130)
    assert "begins anew" in verb(capsys, "fit", "pairs.jsonl", "--model", "x", code=130)


def test_flags_fill_in_the_shipped_recipe(tmp_path: Path):
    assert RunVerb(optimiser="best_of_n", rounds=4).checked() == Recipe.of("sums")
    own = RunVerb(model="folder", prompts=Path("prompts.txt"), rater="rule:joy").checked()
    assert (own.model.path, own.data.prompts) == ("folder", Path("prompts.txt"))
    assert own.judge == RuleJudge(name="joy")
    recipe = RunVerb(labels=10, rounds=2, optimiser="grpo", set=("policy.beta=0.5",)).checked()
    loop = make_loop(recipe, seed=7)
    assert (loop.labels, loop.rounds, loop.seed) == (10, 2, 7)
    assert loop.optimiser == recipe.policy == GRPO(beta=0.5)
    named = "endpoint:http://h/v1#m"
    served = RunVerb(rater=named, helper=named, protocol="debate").checked()
    assert served.judge == served.helper == ServedModel(url="http://h/v1", model="m")
    # Another optimiser takes none of the fields of the recipe's own.
    (tmp_path / "r.toml").write_text('[policy]\nkind = "grpo"\nbeta = 0.5\n')
    other = RunVerb(recipe=str(tmp_path / "r.toml"), optimiser="best_of_n")
    assert other.checked().policy == BestOfN()


def test_an_engine_samples_for_the_optimiser():
    session = Session()
    named = Recipe.of("sums", changes=["model.engine=http://localhost:8000/v1#org/model"])
    assert isinstance(make_task(named, session).sampler, Engine)
    assert make_task(Recipe.of("sums"), session).sampler is None
    with pytest.raises(InputError, match="URL#MODEL"):
        make_task(Recipe.of("sums", changes=["model.engine='http://localhost#'"]), session)


def test_a_run_on_ones_own_prompts_judged_and_helped_by_a_served_model(tmp_path: Path, capsys):
    prompts = prompts_in(tmp_path / "prompts.jsonl")
    small = ("--rounds", 1, "--labels", 24, "--set", "evaluate.prompts=4")
    with FakeEndpoint(says) as server:
        name = f"endpoint:{server.url}#fake"
        players = ("--rater", name, "--helper", name, "--protocol", "critique")
        own = ("--model", trunk_path(), "--prompts", prompts, "--out", tmp_path / "run")
        found = verb(capsys, "run", *own, *players, *small, "--set", "budget.prompts_per_round=4")
    assert found["assist"] == "critique" and found["gold_final"] is None
    assert found["judge_s"] == {}, "nobody counted seconds, which is not none"
    assert (tmp_path / "run" / "report.html").is_file()
    learned = LabelStore(tmp_path / "run" / "labels.sqlite").comparisons()
    assert len(learned) > 5
    assert all(len(c.chosen.text) >= len(c.rejected.text) for c in learned)
