"""Formats: each form of preference data reads as the same comparison, each fault names its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from trueline.data import Comparisons, load_prompts, load_rows
from trueline.errors import DataError, InputError, TruelineError


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASK, GOOD, BAD = turn("user", "Hello?"), turn("assistant", "Hi."), turn("assistant", "No.")
PLAIN = {"prompt": "Hello?", "chosen": "Hi.", "rejected": "No."}
FORMS: dict[str, list[dict[str, Any]]] = {
    "text": [PLAIN],
    "question": [{"question": "Hello?", "chosen": "Hi.", "rejected": "No."}],
    "instruction without input": [
        {"instruction": "Hello?", "input": "", "chosen": "Hi.", "rejected": "No."}
    ],
    "implicit text dialogue": [
        {
            "chosen": "\n\nHuman: Hello?\n\nAssistant: Hi.",
            "rejected": "\n\nHuman: Hello?\n\nAssistant: No.",
        }
    ],
    "text dialogue as prompt": [
        {"prompt": "\n\nHuman: Hello?\n\nAssistant:", "chosen": " Hi.", "rejected": " No."}
    ],
    "text dialogue as prompt, repeated": [
        {
            "prompt": "\n\nHuman: Hello?\n\nAssistant: ",
            "chosen": "\n\nHuman: Hello?\n\nAssistant: Hi.",
            "rejected": "\n\nHuman: Hello?\n\nAssistant: No.",
        }
    ],
    "messages": [{"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}],
    "implicit messages": [{"chosen": [ASK, GOOD], "rejected": [ASK, BAD]}],
    "messages that repeat a text prompt": [
        {"prompt": "Hello?", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}
    ],
    "text prompt, messages": [{"prompt": "Hello?", "chosen": [GOOD], "rejected": [BAD]}],
    "unpaired": [
        {"prompt": "Hello?", "completion": "No.", "label": False},
        {"prompt": "Hello?", "completion": "Hi.", "label": True},
    ],
    "unpaired messages": [
        {"prompt": [ASK], "completion": [GOOD], "label": 1},
        {"prompt": [ASK], "completion": [BAD], "label": 0},
    ],
}


def put(folder: Path, rows: list[Any], name: str = "pairs.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_comparison(tmp_path: Path, form: str) -> None:
    comparisons = Comparisons.load(put(tmp_path, FORMS[form]))
    plain = Comparisons.load(put(tmp_path, [PLAIN]))
    # The blank after a text dialogue's marker belongs to the marker.
    read = [
        (row.prompt.key, row.chosen.text.strip(), row.rejected.text.strip()) for row in comparisons
    ]
    assert read == [(plain[0].prompt.key, "Hi.", "No.")]


@pytest.mark.parametrize("form", ["text", "messages", "implicit messages", "unpaired"])
def test_parquet_reads_as_jsonl(tmp_path: Path, form: str) -> None:
    pd.DataFrame(FORMS[form]).to_parquet(tmp_path / "pairs.parquet")
    assert Comparisons.load(tmp_path / "pairs.parquet") == Comparisons.load(
        put(tmp_path, FORMS[form])
    )


def test_labels_in_csv(tmp_path: Path) -> None:
    pd.DataFrame(FORMS["unpaired"]).to_csv(tmp_path / "pairs.csv", index=False)
    assert Comparisons.load(tmp_path / "pairs.csv")[0].chosen.text == "Hi."


def test_dialogues_that_part_early_keep_their_later_turns(tmp_path: Path) -> None:
    shared = "\n\nHuman: Hello?\n\nAssistant: Hi.\n\nHuman: And?\n\nAssistant:"
    rows = [
        {"chosen": f"{shared} One\n\nHuman: more\n\nAssistant: two", "rejected": f"{shared} Three"}
    ]
    (comparison,) = Comparisons.load(put(tmp_path, rows))
    assert [m.role for m in comparison.prompt.messages] == ["user", "assistant", "user"]
    assert comparison.chosen.text == "One\n\nHuman: more\n\nAssistant: two"
    assert comparison.rejected.text == "Three"


def test_roles_alternate_and_empty_turns_go(tmp_path: Path) -> None:
    start = "\n\nHuman: a\n\nHuman: b\n\nAssistant:\n\nAssistant:"
    (comparison,) = Comparisons.load(
        put(tmp_path, [{"chosen": f"{start} x", "rejected": f"{start} y"}])
    )
    assert [(m.role, m.content) for m in comparison.prompt.messages] == [("user", "a\n\nb")]


def test_benign_rows_are_counted_not_lost(tmp_path: Path) -> None:
    start = "\n\nHuman: a\n\nAssistant:"
    rows = [
        PLAIN,
        PLAIN | {"rejected": "Hi."},
        {"chosen": start, "rejected": f"{start} x"},
        {"prompt": "q", "completion": "a", "label": True},
    ]
    comparisons = Comparisons.load(put(tmp_path, rows))
    assert len(comparisons) == 1
    assert comparisons.skipped == {"identical": 1, "empty_answer": 1, "one_label": 1}


def test_contradictory_duplicates_are_kept(tmp_path: Path) -> None:
    turned = PLAIN | {"chosen": "No.", "rejected": "Hi."}
    comparisons = Comparisons.load(put(tmp_path, [PLAIN, PLAIN, turned]))
    assert [row.chosen.text for row in comparisons] == ["Hi.", "Hi.", "No."]
    assert not comparisons.skipped


FAULTS: dict[str, tuple[Any, str]] = {
    "null": (PLAIN | {"rejected": None}, "`rejected`"),
    "NaN": (PLAIN | {"chosen": float("nan")}, "`chosen` must be text"),
    "empty answer": (PLAIN | {"chosen": " "}, "`chosen` must not be empty"),
    "empty prompt": (PLAIN | {"prompt": ""}, "`prompt` must not be empty"),
    "missing": ({"prompt": "q", "chosen": "a"}, "`rejected`"),
    "number": (PLAIN | {"chosen": 4}, "`chosen` must be text"),
    "no shared prompt": ({"chosen": "a", "rejected": "b"}, "share a prompt"),
    "different dialogues": (
        {"chosen": "\n\nHuman: a\n\nAssistant: x", "rejected": "\n\nHuman: b\n\nAssistant: x"},
        "share a prompt",
    ),
    "different messages": (
        {"chosen": [ASK, GOOD], "rejected": [turn("user", "Other?"), BAD]},
        "share a prompt",
    ),
    "text against messages": ({"prompt": "q", "chosen": "a", "rejected": [GOOD]}, "both be text"),
    "several answers": ({"prompt": "q", "chosen": ["a"], "rejected": ["b", "c"]}, "role and"),
    "unknown role": (
        {"prompt": [turn("robot", "q")], "chosen": [GOOD], "rejected": [BAD]},
        "role in `prompt`",
    ),
    "content null": (PLAIN | {"prompt": [{"role": "user", "content": None}]}, "must be text"),
    "answered prompt": (PLAIN | {"prompt": [ASK, GOOD]}, "can answer"),
    "label null": ({"prompt": "q", "completion": "a", "label": None}, "`label`"),
    "label NaN": ({"prompt": "q", "completion": "a", "label": float("nan")}, "`label`"),
    "label 0.3": ({"prompt": "q", "completion": "a", "label": 0.3}, "`label`"),
    "no preference": ({"prompt": "q", "response": "a"}, "hold a preference"),
    "unknown fields": ({"x": 1}, "chosen and rejected"),
    "round": (PLAIN | {"round": 1.5}, "`round`"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, name: str) -> None:
    row, must = FAULTS[name]
    path = put(tmp_path, [PLAIN, row])
    with pytest.raises(DataError) as caught:
        Comparisons.load(path)
    message = str(caught.value)
    assert must in caught.value.must
    assert f"{path}:2" in message and "\n" not in message


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": "q", "completion": t, "label": True} for t in "abc"],
        [{"prompt": "q", "completion": "a", "label": label} for label in (True, False)],
        [{"prompt": t, "completion": "a", "label": t == "q"} for t in "qr"],
        [PLAIN | {"rejected": "Hi."}],
    ],
    ids=["all true", "same text", "no prompt with both", "all identical"],
)
def test_a_file_without_any_preference_is_refused(tmp_path: Path, rows: list[Any]) -> None:
    with pytest.raises(DataError, match="at least one pair"):
        Comparisons.load(put(tmp_path, rows))


def test_rows_to_score_keep_their_order(tmp_path: Path) -> None:
    start = "\n\nHuman: a\n\nAssistant:"
    rows = load_rows(
        put(
            tmp_path,
            [
                {"prompt": "q", "response": "a"},
                PLAIN,
                {"messages": [ASK, GOOD]},
                PLAIN | {"rejected": "Hi."},
                {"chosen": start, "rejected": f"{start} x"},
                {"prompt": "q", "completion": "b", "label": False},
            ],
        )
    )
    assert [[r.text for r in row.responses] for row in rows] == [
        ["a"], ["Hi.", "No."], ["Hi."], ["Hi.", "Hi."], [], ["b"],
    ]  # fmt: skip
    left_out = [dict(row.skipped) for row in rows]
    assert left_out == [{}, {}, {}, {"identical": 1}, {"empty_answer": 1}, {}]
    assert rows[5].label is False


PROMPTS: dict[str, tuple[Any, str]] = {
    "prompt": ({"prompt": "Hello?"}, "Hello?"),
    "question": ({"question": "Hello?", "answer": "x"}, "Hello?"),
    "instruction": ({"instruction": "Say", "input": "hi"}, "Say\n\nhi"),
    "blank instruction": ({"instruction": " ", "input": "hi"}, "hi"),
    "messages": ({"messages": [ASK, GOOD]}, "Hello?"),
    "text": ({"text": "\n\nOnce upon\na time  there was"}, "Once upon\na time"),
    "preference": (FORMS["implicit text dialogue"][0], "Hello?"),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_of_every_form(tmp_path: Path, name: str) -> None:
    row, text = PROMPTS[name]
    path = put(tmp_path, [row])
    assert [prompt.text for prompt in load_prompts(path, max_words=4)] == [text]


def test_prompts_of_lines_are_distinct_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("one two three\n\nfour\r\none two nine\n")
    assert [p.text for p in load_prompts(path)] == ["one two three", "four", "one two nine"]
    assert [p.text for p in load_prompts(path, max_words=2)] == ["one two", "four"]
    with pytest.raises(InputError, match="max_words"):
        load_prompts(path, max_words=0)


@pytest.mark.parametrize("row", [{"x": 1}, {"prompt": None}, {"text": " "}, {"prompt": 3}])
def test_bad_prompts_are_named(tmp_path: Path, row: Any) -> None:
    path = put(tmp_path, [{"prompt": "Hello?"}, row])
    with pytest.raises(DataError, match=r"pairs\.jsonl:2") as caught:
        load_prompts(path)
    assert "\n" not in str(caught.value)


def test_real_pairs_lose_nothing_silently(shared: Path) -> None:
    path = shared / "data/hh_harmless/pairs.jsonl.gz"
    comparisons, rows = Comparisons.load(path), load_rows(path)
    assert len(rows) == 1500
    assert len(comparisons) + sum(comparisons.skipped.values()) == len(rows)
    assert comparisons.skipped == {"empty_answer": 1}
    for row in comparisons:
        roles = [turn.role for turn in row.prompt.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert row.chosen.text and row.rejected.text and row.chosen.text != row.rejected.text


def test_real_stories_and_problems_give_prompts(shared: Path) -> None:
    stories = load_prompts(shared / "data/tinystories_val/stories.jsonl.gz", max_words=12)
    assert len(stories) > 1500 and all(len(p.text.split()) == 12 for p in stories)
    assert len(load_prompts(shared / "data/gsm8k_solutions/solutions.jsonl.gz")) == 660


def test_stories_hold_no_preference(shared: Path) -> None:
    with pytest.raises(TruelineError, match=r"stories\.jsonl\.gz:1"):
        Comparisons.load(shared / "data/tinystories_val/stories.jsonl.gz")
