"""Public formats: rows with the published fields read as the comparisons, ties and counts they are.

Every fixture is written here, in the shape that the data set's own card or code gives; none is
taken from a data set.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline.data import Comparisons, load_bench, load_prompts
from trueline.errors import DataError
from trueline.records import Comparison, Message, Prompt, Response

ASK = "Name a primary colour."


def completion(text: str, score: float | None) -> dict[str, Any]:
    aspect = {"Rating": "4", "Rationale": "clear"}
    return {
        "annotations": {"helpfulness": aspect, "honesty": aspect},
        "critique": "Well.",
        "custom_system_prompt": "Be brief.",
        "fine-grained_score": 4.0,
        "model": "m",
        "overall_score": score,
        "principle": "helpfulness",
        "response": text,
    }


ULTRAFEEDBACK = {
    "source": "evol_instruct",
    "instruction": ASK,
    "models": ["a", "b", "c", "d"],
    "completions": [
        completion("Red.", 8.5),
        completion("Beige.", 3.0),
        completion("Blue.", 8.5),
        completion("", 1.0),
    ],
    "correct_answers": ["None"],
    "incorrect_answers": ["None"],
}
BINARIZED = {
    "prompt": ASK,
    "prompt_id": "0f",
    "chosen": [{"role": "user", "content": ASK}, {"role": "assistant", "content": "Red."}],
    "rejected": [{"role": "user", "content": ASK}, {"role": "assistant", "content": "Beige."}],
    "messages": [{"role": "user", "content": ASK}, {"role": "assistant", "content": "Red."}],
    "score_chosen": 8.5,
    "score_rejected": 3.0,
}
PANDALM = {
    "idx": 0,
    "motivation_app": "Quiz",
    "cmp_key": "a_b",
    "instruction": ASK,
    "input": "",
    "response1": "Beige.",
    "response2": "Red.",
    "annotator1": 2,
    "annotator2": 0,
    "annotator3": 1,
}
REWARDBENCH = {
    "prompt": ASK,
    "chosen": "Red.",
    "chosen_model": "a",
    "rejected": "Beige.",
    "rejected_model": "b",
    "subset": "alpacaeval-easy",
    "id": 7,
}
REWARDBENCH_2 = {
    "id": "12",
    "prompt": ASK,
    "chosen": ["Red."],
    "rejected": ["Beige.", "Pink.", "Teal."],
    "num_correct": 1,
    "num_incorrect": 3,
    "total_completions": 4,
    "models": ["a", "b", "c", "d"],
    "subset": "Factuality",
    "additional_metadata": {"category": None},
}
RM_BENCH = {
    "id": "chat_1",
    "prompt": ASK,
    "chosen": ["Red.", "Red is a primary colour.", "**Red** is a primary colour."],
    "rejected": ["Beige.", "Beige is a primary colour.", "**Beige** is a primary colour."],
    "domain": "chat",
}


def put(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(rows))
    elif name.endswith(".csv"):
        nested = [
            {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
            for row in rows
        ]
        pd.DataFrame(nested).to_csv(path, index=False)
    elif name.endswith(".parquet"):
        # Empty objects have no place in a parquet column.
        kept = [{k: v for k, v in row.items() if v != {}} for row in rows]
        pd.DataFrame(kept).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(comparisons: Comparisons) -> list[tuple[str, str, str]]:
    return [(row.chosen.text, row.rejected.text, row.rater) for row in comparisons]


FORMS: dict[str, tuple[dict[str, Any], list[tuple[str, str, str]], int]] = {
    "ultrafeedback": (
        ULTRAFEEDBACK,
        [
            ("Red.", "Beige.", "unknown"),
            ("Red.", "", "unknown"),
            ("Blue.", "Beige.", "unknown"),
            ("Beige.", "", "unknown"),
            ("Blue.", "", "unknown"),
        ],
        1,
    ),
    "ultrafeedback binarized": (BINARIZED, [("Red.", "Beige.", "unknown")], 0),
    "pandalm": (
        PANDALM,
        [("Red.", "Beige.", "annotator1"), ("Beige.", "Red.", "annotator3")],
        1,
    ),
    "rewardbench": (REWARDBENCH, [("Red.", "Beige.", "unknown")], 0),
    "rewardbench-2": (
        REWARDBENCH_2,
        [("Red.", wrong, "unknown") for wrong in ("Beige.", "Pink.", "Teal.")],
        0,
    ),
    "rm-bench": (
        RM_BENCH,
        [(a, b, "unknown") for a in RM_BENCH["chosen"] for b in RM_BENCH["rejected"]],
        0,
    ),
}


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_every_kind_of_file(form: str, ending: str, tmp_path: Path) -> None:
    row, expected, num_ties = FORMS[form]
    found = Comparisons.load(put(tmp_path, [row], f"rows.{ending}"))
    assert said(found) == expected
    assert len(found.ties) == num_ties == found.skipped.get("tie", 0)
    assert all(row.prompt.text == ASK for row in (*found, *found.ties))


def test_what_pandas_writes_into_a_csv_is_read_and_a_list_in_an_answer_stays_text(tmp_path) -> None:
    pd.DataFrame([BINARIZED]).to_csv(tmp_path / "rows.csv", index=False)
    assert said(Comparisons.load(tmp_path / "rows.csv")) == [("Red.", "Beige.", "unknown")]
    plain = {"prompt": "A list?", "chosen": '["a"]', "rejected": "[{'a': 1}]"}
    pd.DataFrame([plain]).to_csv(tmp_path / "plain.csv", index=False)
    assert said(Comparisons.load(tmp_path / "plain.csv")) == [('["a"]', "[{'a': 1}]", "unknown")]


def test_equal_scores_are_ties_and_missing_ones_are_counted(tmp_path: Path) -> None:
    tied = BINARIZED | {"score_rejected": 8.5}
    unscored = ULTRAFEEDBACK | {"completions": [completion("a", None), completion("b", 2.0)]}
    found = Comparisons.load(put(tmp_path, [BINARIZED, tied, unscored]))
    assert len(found) == 1 and len(found.ties) == 1
    assert found.skipped == {"tie": 1, "unscored": 1}


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "vote": (PANDALM | {"annotator2": 3}, "0 (a tie), 1 or 2"),
    "vote in words": (PANDALM | {"annotator2": "left"}, "must be a number"),
    "answer null": (PANDALM | {"response1": None}, "`response1` must be text"),
    "score in words": (
        ULTRAFEEDBACK | {"completions": [completion("a", "N/A")]},  # type: ignore[arg-type]
        "`overall_score` must be a number",
    ),
    "completion": (ULTRAFEEDBACK | {"completions": ["a"]}, "each of `completions`"),
    "no rejected": (REWARDBENCH_2 | {"rejected": []}, "`rejected` must be a list of texts"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_its_row(name: str, tmp_path: Path) -> None:
    row, must = FAULTS[name]
    path = put(tmp_path, [PANDALM, row])
    with pytest.raises(DataError) as caught:
        Comparisons.load(path)
    assert must in caught.value.must and f"{path}:2" in str(caught.value)
    assert "\n" not in str(caught.value)


word = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=9)
filled = word.filter(lambda text: bool(text.strip()))


@given(
    st.lists(
        st.tuples(filled, filled, filled, st.sampled_from("uvw"), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_saved_loads_back_equal(cases: list[tuple[Any, ...]]) -> None:
    rows, ties = [], []
    for ask, first, second, rater, round, tie in cases:
        prompt = Prompt(messages=(Message("user", ask),))
        chosen, rejected = (Response(prompt=prompt, text=text) for text in (first, second + "!!"))
        if chosen.key != rejected.key:
            pair = Comparison(chosen=chosen, rejected=rejected, rater=rater, round=round)
            (ties if tie else rows).append(pair)
    if not rows:
        return
    saved = Comparisons(tuple(rows), ties=tuple(ties))
    with tempfile.TemporaryDirectory() as folder:
        saved.save(Path(folder) / "a.jsonl")
        again = Comparisons.load(Path(folder) / "a.jsonl")
        assert again.rows == saved.rows and again.ties == saved.ties
        assert again.sha256 == saved.sha256


def test_ties_follow_their_group_and_are_no_rows(tmp_path: Path, rng: Any) -> None:
    rows = [PANDALM | {"instruction": f"Question {i}"} for i in range(10)]
    found = Comparisons.load(put(tmp_path, rows))
    first, rest = found.split(0.5, rng)
    assert len(first.ties) == len(first) / 2 and len(rest.ties) == len(rest) / 2
    assert {t.prompt for t in first.ties} == {row.prompt for row in first}
    assert not found.take([0]).ties and len(found) == 20
    assert len(found.responses) == 20


def test_the_real_people_of_pandalm(shared: Path) -> None:
    found = Comparisons.load(shared / "data/pandalm/pairs.jsonl.gz")
    assert len(found) + sum(found.skipped.values()) == 3 * 999
    assert {row.rater for row in found} == {"annotator1", "annotator2", "annotator3"}
    assert len(found.ties) == found.skipped["tie"] > 250


def test_trl_s_own_conversions_change_nothing(tmp_path: Path) -> None:
    """Its functions turn one form of a preference into another; all read as the same pair."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    rows = [
        {
            "chosen": [{"role": "user", "content": ask}, {"role": "assistant", "content": good}],
            "rejected": [{"role": "user", "content": ask}, {"role": "assistant", "content": bad}],
        }
        for ask, good, bad in (("One?", "Yes.", "No."), ("Two?", "Aye.", "Nay."))
    ]
    implicit = datasets.Dataset.from_list(rows)
    explicit = implicit.map(trl.extract_prompt)
    unpaired = trl.unpair_preference_dataset(explicit)
    assert {"prompt", "completion", "label"} <= set(unpaired.column_names)
    found = []
    for number, dataset in enumerate((implicit, explicit, unpaired)):
        dataset.to_parquet(str(tmp_path / f"{number}.parquet"))
        dataset.to_json(str(tmp_path / f"{number}.jsonl"))
        found += [Comparisons.load(tmp_path / f"{number}.{kind}") for kind in ("parquet", "jsonl")]
    assert all(comparisons.rows == found[0].rows for comparisons in found)


junk = st.sampled_from([None, True, 0, -1.5, "", "a", "0", [], [None], ["a"], [{}], {}, {"a": 1}])


def spoil(value: Any, where: int, thing: Any) -> Any:
    """The value with one of its parts, at any depth, put in place of another."""
    parts = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    key, part = parts[where % len(parts)]
    deeper = isinstance(part, dict | list) and part and where % 3
    changed = spoil(part, where // 2, thing) if deeper else thing
    if isinstance(value, dict):
        return {**value, key: changed}
    return [changed if i == key else old for i, old in parts]


@settings(max_examples=300)
@given(st.sampled_from(sorted(FORMS)), st.integers(0, 999), junk)
def test_a_spoiled_row_reads_or_is_refused(form: str, where: int, thing: Any) -> None:
    row = spoil(FORMS[form][0], where, thing)
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), [row])
        for read in (Comparisons.load, load_bench, load_prompts):
            with contextlib.suppress(DataError):
                read(path)
