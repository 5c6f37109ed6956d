"""Files of cases: two answers each, the truth beside them, every fault one line with its row."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from trueline.data import Comparisons
from trueline.data.cases import load_cases
from trueline.errors import DataError

PLAIN = {"prompt": "2 + 2", "first": "4", "second": "5", "source": "two and two", "correct": 0}


def put(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_case_keeps_its_order_and_teaches_what_is_known(tmp_path):
    listed = {"question": "q", "answers": ["x", "y"], "correct": "1", "group": "story"}
    rows = [PLAIN, {**PLAIN, "prompt": "3 + 3", "correct": None}, listed]
    path = put(tmp_path / "a.jsonl", rows)
    (one, two, three), skipped = load_cases(path)
    assert (one.case.first.text, one.case.second.text) == ("4", "5")
    assert (one.case.source, one.correct, two.correct) == ("two and two", 0, None)
    assert one.group != two.group and not skipped
    assert (three.case.second.text, three.correct, three.group) == ("y", 1, "story")
    learned = [(pair.chosen.text, pair.rejected.text) for pair in Comparisons.load(path)]
    assert learned == [("4", "5"), ("y", "x")]


def test_the_truth_is_nowhere_in_the_case(tmp_path):
    rows = [{**PLAIN, "prompt": f"p{i}", "correct": i % 2} for i in range(6)]
    rows += [{"prompt": f"q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(40)]
    cases, _ = load_cases(put(tmp_path / "a.jsonl", rows))
    assert all("correct" not in str(dataclasses.asdict(one.case)) for one in cases)
    preferred = cases[6:]
    assert all(one.case.responses[one.correct].text.startswith("good") for one in preferred)
    assert 8 < sum(one.correct for one in preferred) < 32


def test_ties_are_judged_without_truth_and_what_is_no_case_is_counted(tmp_path):
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 1},
        {"prompt": "p", "chosen": "a", "rejected": "a"},
        {"instruction": "p", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 0},
    ]
    cases, skipped = load_cases(put(tmp_path / "a.jsonl", rows))
    assert [one.correct is None for one in cases] == [True, False, True]
    assert skipped == {"identical": 1}
    with pytest.raises(DataError, match=r"none \(identical: 1\)"):
        load_cases(put(tmp_path / "b.jsonl", rows[1:2]))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "p", "first": "a", "second": " "}, "`second`"),
        ({**PLAIN, "correct": 2}, "`correct`"),
        ({"prompt": "p", "answers": ["a"]}, "`answers`"),
        ({"prompt": "p", "response": "a"}, "two answers"),
    ],
)
def test_a_bad_row_is_one_line_with_its_place(tmp_path, row, says):
    path = put(tmp_path / "a.jsonl", [PLAIN, row])
    with pytest.raises(DataError) as error:
        load_cases(path)
    assert says in str(error.value) and f"{path}:2" in str(error.value)
    assert "\n" not in str(error.value)
