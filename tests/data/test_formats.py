"""Formats: each form of preference data reads as the comparisons, ties and counts it is.

Every fixture is written here, in the shape that the data set's own card gives; none is taken from
a data set.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline.data import Comparisons, load_prompts, load_rows
from trueline.data.cases import load_cases
from trueline.data.formats import pair_up
from trueline.errors import DataError, InputError
from trueline.records import Comparison, Message, Prompt, Response
from trueline.rewards.benches import load_bench


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


ASK, GOOD, BAD = turn("user", "Hello?"), turn("assistant", "Hi."), turn("assistant", "No.")
PLAIN = {"prompt": "Hello?", "chosen": "Hi.", "rejected": "No."}
CASE = {"prompt": "2 + 2", "first": "4", "second": "5", "source": "two and two", "correct": 0}
SAID = "\n\nHuman: Hello?\n\nAssistant:"
FORMS: dict[str, list[dict[str, Any]]] = {
    "text": [PLAIN],
    "text dialogues": [{"chosen": f"{SAID} Hi.", "rejected": f"{SAID} No."}],
    "text dialogue as prompt": [{"prompt": SAID, "chosen": " Hi.", "rejected": " No."}],
    "repeated": [{"prompt": f"{SAID} ", "chosen": f"{SAID} Hi.", "rejected": f"{SAID} No."}],
    "messages": [{"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}],
    "message dialogues": [{"chosen": [ASK, GOOD], "rejected": [ASK, BAD]}],
    "messages again": [{"prompt": "Hello?", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}],
    "text prompt, messages": [{"prompt": "Hello?", "chosen": [GOOD], "rejected": [BAD]}],
    "unpaired": [
        {"prompt": "Hello?", "completion": text, "label": text == "Hi."} for text in ("No.", "Hi.")
    ],
    "unpaired messages": [
        {"prompt": [ASK], "completion": [said], "label": int(said is GOOD)} for said in (GOOD, BAD)
    ],
}
"""Each says that "Hi." is the better answer to "Hello?"."""


BINARIZED = {**FORMS["message dialogues"][0], "score_chosen": 8.5, "score_rejected": 3.0}
PANDALM = {
    **{"instruction": "Hello?", "input": "", "response1": "b", "response2": "a"},
    **{"annotator1": 2, "annotator2": 0, "annotator3": 1},
}
REWARDBENCH_2 = {"prompt": "Hello?", "chosen": ["a"], "rejected": ["b", "c"], "num_correct": 1}
RM_BENCH = {"prompt": "Hello?", "chosen": ["a", "A"], "rejected": ["b", "B"], "domain": "chat"}
PAIR, ARENA = {"chosen": "a", "rejected": "b"}, {"model_a": "m", "model_b": "n"}
BOTH = {"chosen": [turn("assistant", "a")], "rejected": [turn("assistant", "b")]}
LOOK = {"type": "function", "function": {"name": "look", "arguments": '{"at": "Rome"}'}}
TEXT_PART = {"type": "text", "text": "Hello?"}
CALLS = turn("assistant", None) | {"tool_calls": [LOOK]}
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "Rome"}}\n</tool_call>'
PUBLIC: dict[str, tuple[dict[str, Any] | list[dict[str, Any]], list[str], dict[str, int]]] = {
    "ultrafeedback binarized": (BINARIZED, ["Hello?: Hi.>No."], {}),
    "pandalm": (PANDALM, ["Hello?: a>b annotator1", "Hello?: b>a annotator3"], {"tie": 1}),
    "rewardbench": (PLAIN | {"subset": "easy", "id": 7}, ["Hello?: Hi.>No."], {}),
    "rewardbench-2": (REWARDBENCH_2, ["Hello?: a>b", "Hello?: a>c"], {}),
    "rm-bench": (RM_BENCH, ["Hello?: a>b", "Hello?: a>B", "Hello?: A>b", "Hello?: A>B"], {}),
    "trl, words shared": ({"chosen": "The sea is deep.", "rejected": "The sea is dry."},
         ["The sea is: deep.>dry."], {}),
    "trl, tools": ({"prompt": [ASK], **BOTH, "tools": [{"name": "look"}]},
         ['system <tools>\n{"name": "look"}\n</tools> / Hello?: a>b'], {}),
    "tool calls in a prompt": ({"prompt": [ASK, CALLS, turn("tool", "9")], **BOTH},
         [f"Hello? / assistant {CALL} / tool 9: a>b"], {}),
    "only a call differs": ({"prompt": [ASK], "chosen": [turn("assistant",
         "So:") | {"tool_calls": [LOOK]}], "rejected": [turn("assistant", "So:")]},
         [f"Hello?: So:\n{CALL}>So:"], {}),
    "only a thought differs": ({"prompt": [ASK],
         "chosen": [GOOD | {"reasoning_content": "Be nice."}], "rejected": [GOOD]},
         ["Hello?: <think>\nBe nice.\n</think>\n\nHi.>Hi."], {}),
    "parts": ({"prompt": [turn("user", [TEXT_PART, {"type": "text", "text": "You?"}])], **BOTH},
         ["Hello?\nYou?: a>b"], {}),
    "messages written as text": ({"prompt": "[{'role': 'user', 'content': 'Hello?'}]",
         "chosen": json.dumps([ASK, GOOD]), "rejected": json.dumps([ASK, BAD])},
         ["Hello?: Hi.>No."], {}),
    "a system turn before repeated ones": ({"prompt": [turn("system", "Be."), ASK], "chosen": [ASK,
         GOOD], "rejected": [ASK, BAD]}, ["system Be. / Hello?: Hi.>No."], {}),
    "a prompt of words, repeated": ({"prompt": "Q: 7 - 4?\nA:", "chosen": "Q: 7 - 4?\nA: 3",
         "rejected": "Q: 7 - 4?\nA: 11"}, ["Q: 7 - 4?\nA:: 3>11"], {}),
    "assistant first": ({"chosen": [GOOD, ASK, GOOD], "rejected": [GOOD, ASK, BAD]},
         ["assistant Hi. / Hello?: Hi.>No."], {}),
    "orca": ({"system": "Be.", "question": "q", **PAIR}, ["system Be. / q: a>b"], {}),
    "orca, no question": ({"system": "Be.", "input": "q", **PAIR}, ["system Be. / q: a>b"], {}),
    "alpaca with history": ({"instruction": "Say", "input": "it", "history": [["u", "v"]],
         "system": "B."} | PAIR, ["system B. / u / assistant v / Say\n\nit: a>b"], {}),
    "context": ({"context": "A cat.", "question": "Who?", **PAIR}, ["A cat.\n\nWho?: a>b"], {}),
    "documents": ({"documents": [{"title": "T", "text": "x"}, {"text": "y"}], "prompt": [ASK],
         **BOTH}, ["T\nx\n\ny\n\nHello?: a>b"], {}),
    "two questions": ({"prompt": "Say:", "question": "Who?", **PAIR}, ["Say:\n\nWho?: a>b"], {}),
    "sharegpt": ({"conversations": [{"from": "system", "value": "Be."}, {"from": "human",
         "value": "q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt",
         "value": "b"}}, ["system Be. / q: a>b"], {}),
    "capybara": ([{"conversation": [{"input": "q", "output": "x"}, {"input": "r", "output": said}],
         "label": n} for n, said in enumerate("ba")], ["q / assistant x / r: a>b"], {}),
    "tulu, equal": ({"prompt": "Hello?", "chosen": [ASK, GOOD], "rejected": [ASK, BAD],
         "chosen_rating": 3, "rejected_rating": 3.0}, [], {"tie": 1}),
    "argilla, equal": (PLAIN | {"chosen-rating": "5", "rejected-rating": "5.0"}, [], {"tie": 1}),
    "a margin of none": (PLAIN | {"margin": 0.0}, [], {"tie": 1}),
    "a status": (PLAIN | {"status": "tie"}, [], {"tie": 1}),
    "nectar": ({"prompt": f"{SAID} ", "answers": [{"answer": "a", "rank": 2}, {"answer": "b",
         "rank": 1}, {"answer": "c", "rank": 2}]}, ["Hello?: b>a", "Hello?: b>c"], {"tie": 1}),
    "ultrafeedback": ({"instruction": "q", "completions": [{"response": "a", "overall_score": 7.5},
         {"response": "b", "overall_score": 2}]}, ["q: a>b"], {}),
    "best of n": ({"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 0.5, None]},
         ["q: a>b"], {"unanswered": 2}),
    "arena": ({"conversation_a": [ASK, BAD], "conversation_b": [ASK, GOOD], "winner": "model_b",
         **ARENA}, ["Hello?: Hi.>No."], {}),
    "arena, bad": ({"conversation_a": [ASK, BAD], "conversation_b": [ASK, GOOD],
         "winner": "tie (bothbad)"}, [], {"tie": 1}),
    "arena, first turn": ({"conversation_a": [ASK, GOOD, ASK, BAD], "conversation_b": [ASK, BAD,
         ASK, BAD], "turn": 1, "winner": "m", **ARENA}, ["Hello?: Hi.>No."], {}),
    "arena, one hot": ({"prompt": '["q", "r"]', "response_a": '["x", "b"]',
         "response_b": '["x", "a"]', "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0},
         ["q / assistant x / r: a>b"], {}),
    "shp": ({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}, ["q: a>b"], {}),
    "helpsteer2": ([{"prompt": "q", "response": said, "helpfulness": n} for n,
         said in enumerate("ba")], ["q: a>b"], {}),
    "helpsteer2, preference": ({"prompt": "q", "response_1": "a", "response_2": "b",
         "preference_strength": -3}, ["q: a>b"], {}),
    "helpsteer3": ({"context": [ASK, GOOD, ASK], "response1": "b", "response2": "a",
         "overall_preference": 1}, ["Hello? / assistant Hi. / Hello?: a>b"], {}),
    "helpsteer3, equal": ({"context": [ASK], "response1": "b", "response2": "a",
         "overall_preference": 0}, [], {"tie": 1}),
    "safe rlhf": ({"prompt": "q", "response_0": "b", "response_1": "a", "better_response_id": 1},
         ["q: a>b"], {}),
    "webgpt": ({"question": {"full_text": "q", "id": 3}, "answer_0": "a", "answer_1": "b",
         "score_0": 0.5, "score_1": -0.5}, ["q: a>b"], {}),
    "summaries": ({"info": {"post": "q"}, "summaries": [{"text": "b"}, {"text": "a"}],
         "choice": 1}, ["q: a>b"], {}),
    "llmbar": ({"input": "q", "output_1": "b", "output_2": "a", "label": 2}, ["q: a>b"], {}),
    "judgebench": ({"question": "q", "response_A": "b", "response_B": "a", "label": "B>A"},
         ["q: a>b"], {}),
    "the better by its name": ({"prompt": "q", "response_a": "a", "response_b": "b",
         "chosen": "a"}, ["q: a>b"], {}),
    "judgebench, equal": ({"question": "q", "response_A": "b", "response_B": "a", "label": "A=B"},
         [], {"tie": 1}),
}  # fmt: skip
"""Rows as their data sets' cards have them, the comparisons in them, and what is counted."""


def put(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    if name.endswith(".csv"):
        pd.DataFrame(rows).to_csv(path, index=False)
    elif name.endswith(".parquet"):
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def shown(comparisons: Comparisons) -> list[str]:
    named = (f"{row.chosen.text}>{row.rejected.text} {row.rater}" for row in comparisons)
    return [name.removesuffix(" unknown") for name in named]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_comparison(tmp_path: Path, form: str, ending: str) -> None:
    path = put(tmp_path, FORMS[form], f"rows.{ending}")
    (row,) = Comparisons.load(path)
    # The blank after a text dialogue's marker belongs to the marker.
    assert (row.chosen.text.strip(), row.rejected.text.strip()) == ("Hi.", "No.")
    assert row.prompt == Prompt.of("Hello?")


@pytest.mark.parametrize("form", PUBLIC)
def test_public_forms(form: str, tmp_path: Path) -> None:
    rows, expected, counts = PUBLIC[form]
    path = put(tmp_path, rows if isinstance(rows, list) else [rows])
    if not expected:
        with pytest.raises(DataError, match=r"tie: 1\); the first at .*:1"):
            Comparisons.load(path)
    pairs, skipped = pair_up([*load_rows(path), *load_rows(put(tmp_path, [PLAIN], "b.jsonl"))], "")
    named = [
        " / ".join(f"{m.role} {m.content}".removeprefix("user ") for m in pair.prompt.messages)
        for pair in pairs
    ]
    asked = [f"{name}: {said}" for name, said in zip(named, shown(Comparisons(pairs)), strict=True)]
    assert sorted(asked) == sorted([*expected, "Hello?: Hi.>No."])
    assert skipped == counts


def test_lists_in_a_csv_are_text_or_refused(tmp_path: Path) -> None:
    plain = {"prompt": "A list?", "chosen": '["a"]', "rejected": "[{'a': 1}]"}
    path = put(tmp_path, [plain], "plain.csv")
    assert shown(Comparisons.load(path)) == ["[\"a\"]>[{'a': 1}]"]
    for bench in (REWARDBENCH_2, RM_BENCH):
        with pytest.raises(DataError, match=r"list of texts; got .*:2"):
            load_bench(put(tmp_path, [bench], "rows.csv"))


def test_dialogues_that_part_early_keep_their_later_turns(tmp_path: Path) -> None:
    start = f"{SAID} Hi.\n\nHuman: And?\n\nAssistant:"
    rows = [
        {"chosen": f"{start} One\n\nHuman: more\n\nAssistant: two", "rejected": f"{start} Three"},
        {"chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant:\n\nAssistant: x",
         "rejected": "\n\nHuman: a\n\nHuman: b\n\nAssistant:\n\nAssistant: y"},
    ]  # fmt: skip
    early, joined = Comparisons.load(put(tmp_path, rows))
    assert [m.role for m in early.prompt.messages] == ["user", "assistant", "user"]
    assert early.chosen.text == "One\n\nHuman: more\n\nAssistant: two"
    assert early.rejected.text == "Three"
    assert joined.prompt.messages == (Message("user", "a\n\nb"),), "roles alternate"


def test_what_is_no_preference_is_counted_and_contradictions_stay(tmp_path: Path) -> None:
    rows = [
        PLAIN,
        PLAIN | {"rejected": "Hi."},
        PLAIN | {"chosen": "No.", "rejected": "Hi."},
        {"chosen": SAID, "rejected": f"{SAID} x"},
        PLAIN | {"chosen": " "},
        {"prompt": "q", "completion": "a", "label": True},
        BINARIZED | {"score_rejected": 8.5},
        PANDALM | {"annotator1": None, "annotator3": None},
    ]
    pairs = Comparisons.load(put(tmp_path, rows))
    assert shown(pairs) == ["Hi.>No.", "No.>Hi."]
    counts = {"identical": 1, "empty_answer": 2, "one_label": 1, "tie": 2}
    assert pairs.skipped == counts | {"unanswered": 2}
    for nothing in (rows[1:2], rows[5:6] * 2):
        with pytest.raises(DataError, match="at least one pair"):
            Comparisons.load(put(tmp_path, nothing))


FAULTS: dict[str, tuple[Any, str]] = {
    "null": (PLAIN | {"rejected": None}, "`rejected`"),
    "NaN": (PLAIN | {"chosen": float("nan")}, "`chosen`"),
    "empty prompt": (PLAIN | {"prompt": ""}, "a prompt must"),
    "ends with the user": ({"chosen": [ASK, GOOD, ASK], "rejected": [ASK, GOOD, BAD]}, "must end"),
    "text ends with the user": (
        {"chosen": f"{SAID} Hi.\n\nHuman: Ta", "rejected": f"{SAID} Hi.\n\nHuman: Ugh"},
        "must end",
    ),
    "the user differs": (
        {"chosen": [ASK, GOOD, turn("user", "x"), GOOD], "rejected": [ASK, GOOD, ASK, BAD]},
        "not in",
    ),
    "text: the user differs": (
        {
            "chosen": f"{SAID} Hi.\n\nHuman: A\n\nAssistant: x",
            "rejected": f"{SAID} Hi.\n\nHuman: B\n\nAssistant: x",
        },
        "not in",
    ),
    "another prompt": (
        {"prompt": "Bye", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        "own dialogue",
    ),
    "an image": ({"prompt": [turn("user", [{"type": "image_url"}])], **BOTH}, "must be text"),
    "images": (PLAIN | {"images": ["a.png"]}, "`images`"),
    "how to render": (
        PLAIN | {"chat_template_kwargs": {"thinking": False}},
        "chat_template_kwargs",
    ),
    "steps": ({"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}, "steps"),
    "another template's": (PLAIN | {"prompt": "<|im_start|>user\nq<|im_end|>"}, "plain words"),
    "no such side": (PUBLIC["judgebench"][0] | {"label": "C>D"}, "`label`"),
    "a number for a letter": (PUBLIC["judgebench"][0] | {"label": 0}, "`label`"),
    "other messages": ({"chosen": [ASK, GOOD], "rejected": [GOOD, BAD]}, "share a prompt"),
    "text against messages": ({"prompt": "q", "chosen": "a", "rejected": [GOOD]}, "both be text"),
    "half a message": ({"prompt": "q", "chosen": [{}], "rejected": [BAD]}, "`chosen`"),
    "unknown role": (PLAIN | {"prompt": [turn("robot", "q")]}, "`prompt`"),
    "answered prompt": (PLAIN | {"prompt": [ASK, GOOD]}, "can answer"),
    "label 0.3": ({"prompt": "q", "completion": "a", "label": 0.3}, "`label`"),
    "no preference": ({"prompt": "q", "response": "a"}, "hold a preference"),
    "vote in words": (PANDALM | {"annotator2": "left"}, "`annotator2`"),
    "no rejected": (REWARDBENCH_2 | {"rejected": []}, "`rejected`"),
    "case: truth": (CASE | {"correct": 2}, "`correct`"),
    "case: one of two": ({"prompt": "p", "answers": ["a"]}, "`answers`"),
    "case: one answer": ({"prompt": "p", "response": "a"}, "two answers"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_its_row(tmp_path: Path, name: str) -> None:
    row, must = FAULTS[name]
    path = put(tmp_path, [PLAIN, row])
    with pytest.raises(DataError) as caught:
        load_cases(path, strict=True) if name.startswith("case") else Comparisons.load(
            path, strict=True
        )
    assert must in caught.value.must and f"{path}:2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_to_score_keep_their_order(tmp_path: Path) -> None:
    unwanted = {"prompt": "q", "completion": "b", "label": False}
    rows = [PLAIN, {"prompt": "q", "response": "a"}, {"messages": [ASK, GOOD]}, unwanted]
    rows += [PLAIN | {"rejected": "Hi."}, {"chosen": SAID, "rejected": f"{SAID} x"}, PANDALM]
    read = load_rows(put(tmp_path, rows))
    texts = [[r.text for r in row.responses] for row in read]
    assert texts == [["Hi.", "No."], ["a"], ["Hi."], ["b"], ["Hi.", "Hi."], [], ["b", "a"]]
    assert [row.label for row in read[1:4]] == [None, None, False]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"prompt": "Hello?"}, "Hello?"),
        ({"instruction": "Say", "input": "hi"}, "Say\n\nhi"),
        ({"messages": [ASK, GOOD]}, "Hello?"),
        ({"conversations": [{"from": "human", "value": "Hello?"}], "system": "Be."}, "Hello?"),
        ({"context": "Cats purr.", "query": "Why?"}, "Cats purr.\n\nWhy?"),
        ({"text": "\n\nOnce upon\na time  there was"}, "Once upon\na time"),
        (FORMS["text dialogues"][0], "Hello?"),
    ],
)
def test_prompts_of_every_form(tmp_path: Path, row: Any, text: str) -> None:
    path = put(tmp_path, [row, row])
    assert [prompt.text for prompt in load_prompts(path, max_words=4)] == [text]


def test_lines_are_prompts_and_bad_ones_are_named(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "prompts.txt").write_text("one two three\n\nfour\r\none two nine\n")
    prompts = load_prompts(tmp_path / "prompts.txt", max_words=2)
    assert [prompt.text for prompt in prompts] == ["one two", "four"]
    with pytest.raises(InputError, match="max_words"):
        load_prompts(tmp_path / "prompts.txt", max_words=0)
    for row in ({"x": 1}, {"prompt": None}, {"text": " "}):
        caplog.clear()
        (prompt,) = load_prompts(put(tmp_path, [{"prompt": "Hello?"}, row]))
        assert prompt.text == "Hello?" and "rows.jsonl:2" in caplog.text
        assert caplog.text.count("\n") == 1


word = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=9)
filled = word.filter(lambda text: bool(text.strip()))


@given(st.lists(st.tuples(filled, word, word), min_size=1, max_size=6))
def test_what_is_saved_loads_back_equal(cases: list[tuple[str, str, str]]) -> None:
    pairs = []
    for ask, first, second in cases:
        prompt = Prompt.of(ask, system="s")
        chosen, rejected = (Response(prompt=prompt, text=t) for t in (first, f"{second}!{first}"))
        pairs.append(Comparison(chosen=chosen, rejected=rejected, rater="ann", round=3))
    saved = Comparisons(tuple(pairs))
    with tempfile.TemporaryDirectory() as folder:
        saved.save(Path(folder) / "a.jsonl.gz")
        again = Comparisons.load(Path(folder) / "a.jsonl.gz")
    assert again.rows == saved.rows and again.sha256 == saved.sha256


def test_public_files_lose_nothing_silently(shared: Path) -> None:
    pairs = Comparisons.load(shared / "data/hh_harmless/pairs.jsonl.gz")
    assert len(pairs) == 1499 and pairs.skipped == {"empty_answer": 1}
    assert all(row.chosen.text and row.rejected.text != row.chosen.text for row in pairs)
    people = Comparisons.load(shared / "data/pandalm/pairs.jsonl.gz")
    assert len(people) + sum(people.skipped.values()) == 3 * 999
    assert people.skipped["tie"] > 250
    stories = load_prompts(shared / "data/tinystories_val/stories.jsonl.gz", max_words=12)
    assert len(stories) > 1500 and all(len(p.text.split()) == 12 for p in stories)


junk = st.sampled_from([None, True, 0, -1.5, "", "a", "0", [], [None], ["a"], [{}], {}, {"a": 1}])


def spoiled(value: Any, where: int, thing: Any) -> Any:
    """The value with one of its parts, at any depth, put in place of another."""
    parts = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    key, part = parts[where % len(parts)]
    deeper = isinstance(part, dict | list) and part and where % 3
    changed = spoiled(part, where // 2, thing) if deeper else thing
    if isinstance(value, dict):
        return {**value, key: changed}
    return [changed if i == key else old for i, old in parts]


@settings(max_examples=60)
@given(st.sampled_from(sorted(PUBLIC)), st.integers(0, 999), junk)
def test_a_spoiled_row_reads_or_is_refused(form: str, where: int, thing: Any) -> None:
    rows = PUBLIC[form][0]
    row = spoiled(rows if isinstance(rows, dict) else rows[0], where, thing)
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), [row])
        for read in (Comparisons.load, load_bench, load_prompts):
            with contextlib.suppress(DataError):
                read(path)


def test_a_case_keeps_its_order_and_teaches_what_is_known(tmp_path):
    listed = {"question": "q", "answers": ["x", "y"], "correct": "1", "group": "story"}
    rows = [CASE, {**CASE, "prompt": "3 + 3", "correct": None}, listed]
    path = put(tmp_path, rows)
    (one, two, three), skipped = load_cases(path)
    assert (one.case.first.text, one.case.second.text) == ("4", "5")
    assert (one.case.source, one.correct, two.correct) == ("two and two", 0, None)
    assert one.group != two.group and not skipped
    assert (three.case.second.text, three.correct, three.group) == ("y", 1, "story")
    learned = [(pair.chosen.text, pair.rejected.text) for pair in Comparisons.load(path)]
    assert learned == [("4", "5"), ("y", "x")]


def test_the_truth_is_nowhere_in_the_case(tmp_path):
    rows = [{**CASE, "prompt": f"p{i}", "correct": i % 2} for i in range(6)]
    rows += [{"prompt": f"q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(40)]
    cases, _ = load_cases(put(tmp_path, rows))
    assert all("correct" not in str(dataclasses.asdict(one.case)) for one in cases)
    preferred = cases[6:]
    assert all(one.case.responses[one.correct].text.startswith("good") for one in preferred)
    assert 8 < sum(one.correct for one in preferred) < 32


def test_what_nothing_reads_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = {"prompt": [ASK | {"weight": 1}], "chosen": [GOOD], "rejected": [BAD], "Model-Name": "m"}
    read = Comparisons.load(put(tmp_path, [odd, PLAIN | {"origin": 1}, odd, {"x": 1}]))
    (said,) = caplog.messages
    assert said.endswith("rows.jsonl: columns not used: model_name, origin, prompt[].weight")
    assert len(read) == 3 and sum(read.skipped.values()) == 1
    caplog.clear()
    assert len(load_prompts(put(tmp_path, [PLAIN, {"x": 1}]))) == 1
    assert "rows.jsonl:2" in caplog.text


def test_ties_are_judged_without_truth_and_what_is_no_case_is_counted(tmp_path):
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 1},
        {"prompt": "p", "chosen": "a", "rejected": "a"},
        {"instruction": "p", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 0},
        PUBLIC["llmbar"][0],
        PUBLIC["judgebench"][0],
        {"prompt": "p", "response_a": "x", "response_b": "y"},
        {"prompt": "p", "first": "x", "second": " "},
    ]
    cases, skipped = load_cases(put(tmp_path, rows))
    assert [one.correct for one in cases[-4:]] == [None, 1, 1, None]
    assert [one.correct is None for one in cases[:3]] == [True, False, True]
    assert skipped == {"identical": 1, "empty_answer": 1}
    with pytest.raises(DataError, match=r"none \(identical: 1\)"):
        load_cases(put(tmp_path, rows[1:2]))
