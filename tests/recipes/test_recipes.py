"""A recipe is checked whole before anything is loaded: each error names key, must and got."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import trueline.models.trunk as trunk_module
from trueline.data.files import write_jsonl
from trueline.errors import InputError
from trueline.policy import DPO, GRPO, BestOfN
from trueline.recipes import Recipe, runs
from trueline.recipes.judges_and_helpers import HELPERS, JUDGES, from_short
from trueline.recipes.schema import SHIPPED
from trueline.recipes.session import Session
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative


def refused(table, *words: str, changes=()) -> None:
    with pytest.raises(InputError) as caught:
        Recipe.of(table, changes=changes)
    line = str(caught.value)
    assert "\n" not in line and all(word in line for word in words), line


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"policy": {"kind": "best_of_m"}}, ("policy.kind", "grpo", "'best_of_m'", "best_of_n")),
        ({"policy": {"kind": "best_of_n", "num_sample": 4}}, ("policy", "num_samples", "did you")),
        ({"policy": {"kind": "grpo", "beta": "0.1"}}, ("policy.beta", "number", "'0.1'")),
        ({"policy": {"kind": "dpo", "top_p": 0}}, ("policy: ", "top_p above 0")),
        ({"policy": {"cut": "drop"}}, ("policy.cut", "'leave_out'", "'drop'")),
        ({"policy": {"num_samples": 4}}, ("policy must be a table with a kind",)),
        ({"budget": {"rounds": True}}, ("budget.rounds", "integer", "True")),
        ({"bugdet": {}}, ("sections", "'bugdet'")),
        ({"reward": {"kind": "conservative", "head": {"kind": "x"}}}, ("reward.head.kind", "'x'")),
        ({"reward": {"kind": "conservative", "k": -1}}, ("reward: k", "got -1")),
        ({"reward": {"kind": "lexicographic", "rule": "exact"}}, ("reward.taste must be given",)),
        ({"reward": {"kind": "minimum", "parts": [1]}}, ("reward.parts must be a table",)),
        ({"judge": {"kind": "rule", "name": "brevity"}}, ("judge: the rule", "joy", "brevity")),
        ({"oversight": {"kind": "critique", "helper": "nobody"}}, ("oversight.helper.kind",)),
    ],
)
def test_a_wrong_recipe_is_one_line_and_nothing_is_loaded(table, words, monkeypatch):
    monkeypatch.setattr(trunk_module.Trunk, "load", None)
    refused(table, *words)


def test_changes_are_typed_as_in_toml_and_leave_the_source_alone():
    table = {"budget": {"rounds": 4}}
    recipe = Recipe.of(table, changes=["policy.kind=grpo", "budget.rounds=2", "budget.alpha=0.05"])
    assert isinstance(recipe.policy, GRPO) and table == {"budget": {"rounds": 4}}
    assert (recipe.budget.rounds, recipe.budget.alpha) == (2, 0.05)
    inf = Recipe.of({"policy": {"kind": "dpo"}}, changes=["policy.limits.kl_budget=inf"])
    assert isinstance(inf.policy, DPO) and inf.policy.limits.kl_budget == math.inf
    refused({}, "key=value", changes=["budget.rounds"])
    refused({}, "budget.rounds", "'two'", changes=["budget.rounds=two"])


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_a_shipped_recipe_survives_being_written_out_and_says_what_it_is_for(file: Path, tmp_path):
    recipe = Recipe.of(file.stem)
    assert recipe.as_table()["reward"]["kind"], "kinds are named"
    (tmp_path / "again.toml").write_text(recipe.as_toml())
    assert Recipe.of(tmp_path / "again.toml") == recipe == Recipe.of(recipe.as_table())
    assert file.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("kinds", "text", "table"),
    [
        (JUDGES, "rule:joy", {"kind": "rule", "name": "joy"}),
        (JUDGES, "endpoint:http://h:1/v1#a#b",
         {"kind": "endpoint", "url": "http://h:1/v1#a", "model": "b"}),
        (HELPERS, "model:/a:b", {"kind": "model", "path": "/a:b"}),
        (JUDGES, "nobody", None),
        (JUDGES, "endpoint:#m", None),
        (HELPERS, "none:x", None),
    ],
)  # fmt: skip
def test_short_forms(kinds, text, table):
    if table is None:
        with pytest.raises(InputError, match="judge must be"):
            from_short(kinds, text, key="judge")
    else:
        assert from_short(kinds, text, key="judge") == table


def test_a_nested_change_keeps_the_rest_of_the_default():
    plain = BestOfN()
    changed = Recipe.of({}, changes=["policy.kind=best_of_n", "policy.limits.kl_budget=1.5"]).policy
    assert changed == replace(plain, limits=replace(plain.limits, kl_budget=1.5))
    settings = replace(plain.adamw, learning_rate=1e-5)
    nested = Recipe.of({}, changes=["policy.kind=best_of_n", "policy.adamw.learning_rate=1e-5"])
    assert nested.policy == replace(plain, adamw=settings), "its epochs are best-of-n's own"
    head = Recipe.of({"reward": {"kind": "conservative"}}, changes=["reward.head.layer=2"]).reward
    assert head == Conservative(head=Bayesian(layer=2)), "the default's kind is kept"


@pytest.mark.parametrize("kind", ["best_of_n", "dpo", "grpo"])
def test_what_is_left_open_suits_a_model_of_one_s_own_with_a_chat_template(kind):
    """What is given stands, and the embedded world keeps its own."""
    own = {"model": {"path": "x"}, "policy": {"kind": kind}}
    shipped = Recipe.of("chat")
    assert shipped.model.dtype == "auto"
    suited = Recipe.of(own, changes=["policy.limits.novelty_limit=7"]).suited(chat=True)
    assert suited.sampling == shipped.sampling and suited.sampling.cut == "score"
    assert suited.policy.limits == replace(shipped.policy.limits, novelty_limit=7)
    assert suited.policy.adamw.learning_rate == shipped.policy.adamw.learning_rate
    assert suited.policy.adamw.epochs == Recipe.of({"policy": kind}).policy.adamw.epochs
    assert Recipe.of(suited.as_table()).suited(chat=True) == suited, "written out, and given now"
    for as_it_was, chat in ((Recipe.of(own), False), (Recipe.of({"policy": kind}), True)):
        assert as_it_was.suited(chat=chat) == as_it_was
    given = Recipe.of(own, changes=["policy.temperature=0.3", "model.max_new_tokens=9"])
    sampling = given.suited(chat=True).sampling
    assert (sampling.temperature, sampling.max_new_tokens) == (0.3, 9), "under its old key too"


def test_a_missing_or_broken_file_is_one_line(tmp_path):
    refused("nowhere.toml", "sums", "'nowhere.toml'")
    (tmp_path / "x.toml").write_text("a = [")
    refused(tmp_path / "x.toml", "TOML", "x.toml")


def test_a_runs_folder_is_there_before_its_model(tmp_path, monkeypatch):
    place = tmp_path / "run"

    def slow(*_: object, **__: object) -> None:
        assert (place / "config.json").exists() and (place / "recipe.toml").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "make_task", slow)
    for rounds in (1, 2):  # Nothing was done yet: another recipe may begin there.
        with pytest.raises(KeyboardInterrupt):
            runs.run("sums", out=place, changes=[f"budget.rounds={rounds}"])
    assert runs.load_run(place).recipe.budget.rounds == 2


def test_what_a_run_leaves_out_of_files_of_preferences_is_told(tmp_path):
    told, files = io.StringIO(), [tmp_path / "judge.jsonl", tmp_path / "known.jsonl"]
    rows = [{"prompt": f"{i} + {i}", "chosen": "4", "rejected": "5"} for i in range(8)]
    rows += [{"prompt": "2 + 2", "chosen": "4"}, {"prompt": "3", "chosen": "6", "rejected": "6"}]
    for file in files:
        write_jsonl(file, rows)
    judge, data = {"kind": "file", "path": str(files[0])}, {"comparisons": str(files[1])}
    session = Session(console=Console(file=told, width=200))
    runs.make_task(Recipe.of({"judge": judge, "data": data}), session)
    for line, file in zip(told.getvalue().splitlines(), files, strict=True):
        assert file.name in line and "1 identical" in line
        assert "1 `rejected` must not be missing" in line
