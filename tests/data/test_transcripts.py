"""Recorded acts of judging: nyu_debate's form and our own, beliefs by round, the truth beside."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from trueline.data.files import FileRecord
from trueline.data.transcripts import from_nyu, from_saved, load_transcripts
from trueline.errors import DataError
from trueline.records import Preference

ROW = {
    "id": "a-tale-3",
    "human": True,
    "debate": True,
    "question": "who?",
    "answers": ["the cat", "the dog"],
    "correct": 1,
    "roles": {"Debater A": "ann", "Debater B": "bob", "Judge": "cy"},
    "judge_final": [0.2, 0.8],
    "rounds": [
        {"kind": "judge", "belief": [0.5, 0.5], "text": ""},
        {"kind": "speeches", "speeches": {"0": "see <quote>it\nwas</quote>", "1": "no"}},
        {"kind": "judge", "belief": [0.2, 0.8], "text": "bob", "end": True},
        {"kind": "OfflineJudgments"},
    ],
}


def changed(**fields: object) -> FileRecord:
    return FileRecord("t.jsonl:7", {**copy.deepcopy(ROW), **fields})


def test_a_debate_becomes_turns_beliefs_and_a_verdict():
    one = from_nyu(changed())
    assert (one.arm, one.group, one.correct, one.right) == ("human debate", "atale", 1, 1.0)
    verdict = one.verdict
    assert (verdict.preference, verdict.belief, verdict.rater) == (Preference.SECOND, 0.2, "cy")
    assert [(t.speaker, t.round, t.side, t.belief) for t in verdict.transcript] == [
        ("judge", 0, None, 0.5),
        ("ann", 1, 0, None),
        ("bob", 1, 1, None),
        ("judge", 1, None, 0.2),
    ]
    (quote,) = verdict.transcript[1].quotes
    assert quote.text == "it\nwas" and quote.found is None


@pytest.mark.parametrize("final", [[0.5, 0.5], None])
def test_an_even_or_missing_belief_is_undecided_and_never_half_right(final):
    row = changed(judge_final=final, roles=None, rounds=[{"kind": "judge", "belief": None}])
    one = from_nyu(row)
    assert (one.verdict.preference, one.right) == (Preference.UNDECIDED, None)
    assert one.verdict.belief == (final and 0.5) and bool(one.verdict.reason) == (final is None)
    assert one.verdict.rater == "unknown" and one.verdict.transcript[0].belief is None


def test_an_unknown_truth_is_neither_right_nor_wrong():
    assert from_nyu(changed(correct=None)).right is None


def test_what_was_written_is_read_back_equal(tmp_path: Path):
    one = from_nyu(changed())
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(one.as_dict()) + "\n" + json.dumps(ROW) + "\n")
    assert load_transcripts(path) == [one, one]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"answers": ["one"]}, "`answers.1`"),
        ({"judge_final": [None, 1]}, "`judge_final.0`"),
        ({"judge_final": [0.9, 0.9]}, "add up"),
        ({"rounds": [{"kind": "judge", "belief": ["a", "b"]}]}, "`rounds.0.belief.0`"),
        ({"rounds": [{"kind": "speeches", "speeches": {"2": "x"}}]}, "`rounds.0.speeches.2"),
        ({"human": "yes"}, "`human`"),
        ({"correct": 3}, "`correct`"),
    ],
)
def test_a_bad_row_is_one_line_with_its_place(fields, says):
    with pytest.raises(DataError) as error:
        from_nyu(changed(**fields))
    assert says in str(error.value) and "t.jsonl:7" in str(error.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.pop("verdict"),
        lambda row: row["verdict"].update(belief=2.0),
        lambda row: row.update(answers=["one"]),
        lambda row: row.update(correct=2),
        lambda row: row["verdict"]["cost"].update(calls="many"),
        lambda row: row["verdict"]["transcript"][1].update(side=5),
        lambda row: row["verdict"]["transcript"][1]["quotes"][0].update(text=None),
    ],
)
def test_a_spoiled_record_of_ours_is_refused(spoil):
    row = json.loads(json.dumps(from_nyu(changed()).as_dict()))
    spoil(row)
    with pytest.raises(DataError, match=r"t\.jsonl:7"):
        from_saved(FileRecord("t.jsonl:7", row))


def test_the_public_debates_are_read_whole(shared):
    path = shared / "data" / "nyu_debate" / "transcripts.jsonl.gz"
    rows = load_transcripts(path)
    assert len(rows) == 207 and len({row.group for row in rows}) < 100
    assert {row.arm for row in rows} == {
        f"{who} {how}" for who in ("human", "AI") for how in ("debate", "consultancy")
    }
    assert all(row.verdict.transcript[-1].belief == row.verdict.belief for row in rows)
    again = [from_saved(FileRecord("", json.loads(json.dumps(row.as_dict())))) for row in rows[:20]]
    assert again == rows[:20]
