"""Flags fill in a recipe, --set changes it, and a run on from another says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from trueline.cli import main
from trueline.cli.run import RunVerb
from trueline.errors import InputError
from trueline.models.engine import Engine
from trueline.oversight.direct import Direct
from trueline.policy import GRPO, BestOfN
from trueline.recipes import Recipe
from trueline.recipes.players import RuleJudge, ServedModel
from trueline.recipes.runs import make_loop, make_task
from trueline.recipes.session import Session


def test_without_a_flag_it_is_the_shipped_recipe():
    assert RunVerb().checked() == Recipe.of("sums")
    assert RunVerb(optimiser="best_of_n", rounds=4).checked() == Recipe.of("sums")


def test_flags_fill_in_the_recipe():
    verb = RunVerb(
        model="folder",
        prompts=Path("prompts.txt"),
        rater="rule:joy",
        labels=10,
        rounds=2,
        optimiser="grpo",
        set=("policy.beta=0.5",),
    )
    recipe = verb.checked()
    assert (recipe.model.path, recipe.data.prompts) == ("folder", Path("prompts.txt"))
    assert recipe.judge == RuleJudge(name="joy") and recipe.policy == GRPO(beta=0.5)
    assert (recipe.budget.labels, recipe.budget.rounds) == (10, 2)
    loop = make_loop(recipe, seed=7)
    assert (loop.labels, loop.seed, loop.optimiser) == (10, 7, recipe.policy)


def test_judge_and_helper_are_tables_behind_their_short_forms():
    named = "endpoint:http://h/v1#m"
    recipe = RunVerb(rater=named, helper=named, protocol="debate").checked()
    assert recipe.judge == recipe.helper == ServedModel(url="http://h/v1", model="m")
    assert isinstance(RunVerb(protocol="direct").checked().oversight, Direct)


def test_another_optimiser_takes_none_of_the_fields_of_the_recipes_own(tmp_path):
    (tmp_path / "r.toml").write_text('[policy]\nkind = "grpo"\nbeta = 0.5\n')
    verb = RunVerb(recipe=str(tmp_path / "r.toml"), optimiser="best_of_n")
    assert verb.checked().policy == BestOfN()


def test_an_engine_samples_for_the_optimiser():
    session = Session()
    named = Recipe.of("sums", changes=["model.engine=http://localhost:8000/v1#org/model"])
    sampler = make_task(named, session).sampler
    assert isinstance(sampler, Engine)
    assert make_task(Recipe.of("sums"), session).sampler is None
    for wrong in ("http://localhost", "#model", "http://localhost#"):
        with pytest.raises(InputError, match="URL#MODEL"):
            make_task(Recipe.of("sums", changes=[f"model.engine='{wrong}'"]), session)


def test_a_source_that_cannot_be_continued_is_one_line(tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "--from", str(tmp_path / "none"), "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must hold config.json" in line
    assert not (tmp_path / "run").exists()
