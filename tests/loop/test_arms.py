"""Base, asked and trained side by side: who wins by whose judgement, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.material import principle_in, prompts_in
from trueline.data.files import write_jsonl
from trueline.data.prompts import QUESTIONS, Question, load_probes, load_questions
from trueline.errors import DataError
from trueline.loop import arms
from trueline.loop.arms import Arms, holds
from trueline.models.adapters import LoraPolicy
from trueline.recipes.runs import run
from trueline.records import Prompt, Scores
from trueline.reports import write_report
from trueline.worlds.sums import trunk_path


class Longer:
    """Scores an answer by its characters; what has none is unscored."""

    def score(self, prompts: Any, texts: Any) -> Scores:
        assert all(prompt.messages[0].role == "user" for prompt in prompts), "the bare prompts"
        size = np.array([float(len(text)) for text in texts])
        return Scores(size, 0 * size, size, 0 * size, size > 0)


def test_each_arm_is_scored_on_the_bare_prompts(sums_task: Any) -> None:
    task = replace(sums_task, judge_apart=Longer(), asked="Be brief.", probes={})
    prompts = task.draw(5, "measure", np.random.default_rng(0))
    task = replace(
        task, questions=[Question(prompt, ("the", "answer"), "the answer") for prompt in prompts]
    )
    policy = LoraPolicy.create(task.trunk, rank=2, rng=np.random.default_rng(0))
    nobody: Any = None
    found = Arms(task, prompts, 0).measure(policy, nobody)
    assert found is not None and list(found["arms"]) == ["base", "asked", "trained"]
    base, asked, trained = found["arms"].values()
    # An adapter that changes nothing says what the base says, but for roundings.
    assert abs(trained["kl"]["value"]) < 1e-3 and "kl" not in asked
    assert trained["wins"]["base"]["value"] == pytest.approx(0.5, abs=0.2)
    for name, one in (("base", base), ("trained", trained)):
        assert one["wins"]["asked"]["value"] + asked["wins"][name]["value"] == pytest.approx(1)
    assert asked["score"] != base["score"]
    assert trained["perplexity"] == pytest.approx(base["perplexity"], rel=1e-4)
    assert asked["perplexity"] != pytest.approx(base["perplexity"], rel=1e-4)
    assert base["skill"]["n"] == 5 == asked["skill_lost"]["n"] and "skill_lost" not in base
    bare = replace(task, judge_apart=None, asked=None)
    assert Arms(bare, prompts, 0).measure(policy, nobody) is None


def test_pairs_without_a_score_are_left_out_of_wins() -> None:
    ours = np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, 0.0]])
    theirs = np.array([[0.0, 2.0], [0.0, 0.0], [np.nan, 1.0]])
    found = arms._wins(ours, theirs)
    assert (found["value"], found["n"]) == (0.5, 2)
    assert arms._wins(ours[1:2], theirs[1:2])["value"] is None


@pytest.mark.parametrize(
    ("text", "answers", "right"),
    [
        ("It is Paris.", ["Paris"], 1.0),
        ("the answer: **42**", ["forty-two", "42"], 1.0),
        ("Parisian cafes", ["Paris"], 0.0),
        ("142", ["42"], 0.0),
        ("h₂o or water (h2o)", ["H2O"], 1.0),
        ("", ["x"], 0.0),
    ],
)
def test_an_answer_is_right_that_has_a_right_one_among_its_words(
    text: str, answers: list[str], right: float
) -> None:
    assert holds(text, answers) == right


def test_questions_have_answers(tmp_path: Path) -> None:
    shipped = load_questions(QUESTIONS)
    assert len({each.prompt.text for each in shipped}) == 100
    assert all(holds(text, q.answers) for q in shipped for text in (q.text, *q.answers))
    write_jsonl(file := tmp_path / "q.jsonl", [{"prompt": "a", "answer": "b"}])
    assert load_questions(file)[0].text == "b"
    for bad in (None, [], "", [""], 4):
        write_jsonl(file := tmp_path / "q.jsonl", [{"prompt": "a", "answer": bad}])
        with pytest.raises(DataError, match="must have an answer"):
            load_questions(file)


def test_prompts_for_refusals_say_of_which_kind_they_are(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "type": "homonyms"}, {"prompt": "b", "type": "contrast_homonyms"}]
    write_jsonl(file := tmp_path / "probes.jsonl", [*rows, {"prompt": "c", "label": "unsafe"}])
    found = load_probes(file)
    assert [[p.text for p in found[kind]] for kind in ("safe", "unsafe")] == [["a"], ["b", "c"]]
    for some, says in (([{"prompt": "a"}], "type or label"), (rows[:1], "safe and unsafe")):
        write_jsonl(file, some)
        with pytest.raises(DataError, match=says):
            load_probes(file)


def test_a_run_on_principles_sets_the_arms_side_by_side(tmp_path: Path) -> None:
    own, probes = str(principle_in(tmp_path / "right.toml")), tmp_path / "probes.jsonl"
    kinds = ("safe", "contrast", "safe", "contrast")
    asks = (f"start {n} , + 2" for n in range(4))
    write_jsonl(probes, ({"prompt": p, "type": k} for p, k in zip(asks, kinds, strict=True)))
    questions = tmp_path / "questions.jsonl"
    write_jsonl(questions, ({"prompt": f"start {n} , + 2", "answer": f"{n + 2}"} for n in (3, 4)))
    few = {"prompts": 4, "curve_prompts": 1, "curve_samples": 1, "oracle_samples": 1}
    limits = {"kl_budget": 50.0, "novelty_limit": 50.0}
    left = run(
        {
            "model": {"path": str(trunk_path())},
            "data": {"prompts": str(prompts_in(tmp_path / "asks.jsonl")), "principles": [own]},
            "reward": {"kind": "concept_prior"},
            "judge": {"kind": "rule", "name": "/answer/"},
            "policy": {"kind": "best_of_n", "num_samples": 2, "limits": limits},
            "budget": {"rounds": 1, "labels": 8, "gate_frac": 1.0, "prompts_per_round": 4},
            "evaluate": {**few, "refusals": str(probes), "questions": str(questions)},
        },
        out=tmp_path / "run",
    )
    assert left.result is not None and left.result["labels"]["learn"] == 0
    found = left.result["arms"]
    assert found["judge"] == "reward" and found["asked_with"] == "Be right."
    for arm in found["arms"].values():
        assert {kind: e["n"] for kind, e in arm["refusals"].items()} == {"safe": 2, "unsafe": 2}
        assert arm["skill"]["n"] == 2 and arm["perplexity"] > 1
    page = write_report([tmp_path / "run"]).read_text()
    assert "Asked or trained?" in page and "Be right." in page


def test_prompts_get_the_words_before_their_own_system_turn() -> None:
    plain, told = Prompt.of("hi"), Prompt.of("hi", system="Be kind.")
    assert [turn.content for turn in arms._told(plain, "Be brief.").messages] == ["Be brief.", "hi"]
    found = arms._told(told, "Be brief.").messages
    assert [turn.content for turn in found] == ["Be brief.\n\nBe kind.", "hi"]
