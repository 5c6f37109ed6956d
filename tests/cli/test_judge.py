"""`judge`: resumable, never a score from a failure, comparable; wrong input is one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from tests.material import right_over_wrong, verb
from trueline.cli.judge import JudgeVerb
from trueline.data.files import write_jsonl
from trueline.errors import InputError
from trueline.oversight.debate import Debate
from trueline.oversight.direct import Direct
from trueline.testing import FakeEndpoint

TRICK = "<script>alert(1)</script> \x1b[2J </details>"


@pytest.fixture
def sums(tmp_path) -> Path:
    """Right working against wrong, the right one first in every other case."""
    rows = []
    for i, pair in enumerate(right_over_wrong(12)):
        first, second = (pair.chosen, pair.rejected)[:: -1 if i % 2 else 1]
        both = {"first": first.text, "second": second.text}
        rows.append({"prompt": pair.prompt.text, **both, "correct": i % 2})
    write_jsonl(tmp_path / "cases.jsonl", rows)
    return tmp_path / "cases.jsonl"


@pytest.fixture
def texts(tmp_path) -> Path:
    rows = [
        {"prompt": f"q{i} {TRICK}", "first": "right", "second": "wrong", "correct": 0}
        for i in range(12)
    ]
    write_jsonl(tmp_path / "texts.jsonl", rows)
    return tmp_path / "texts.jsonl"


def obedient(turns):
    """Judges by the word "right", in the form asked for; criticises what is wrong."""
    asked = turns[-1]["content"]
    code = re.search(r"VERDICT ([0-9a-f]{12})", asked)
    if code is None:
        return "no flaw" if "right" in asked else "1. wrong: it says so"
    first = asked.index("right") < asked.index("wrong")
    return f"VERDICT {code[1]}: {'A' if first else 'B'} 90%"


def test_protocols_are_compared_on_the_same_cases_and_cost_is_kept(sums, tmp_path, capsys):
    out = tmp_path / "judged"
    common = ("--judge", "simulated", "--helper", "sums", "--out", out)
    found = verb(capsys, "judge", sums, "--protocol", "direct", "critique", *common)
    direct, critique = found["arms"]["direct"], found["arms"]["critique"]
    assert min(direct["accuracy"]["value"], critique["accuracy"]["value"]) > 0.6
    assert (direct["calls"]["value"], critique["calls"]["value"]) == (1, 3)
    assert critique["judge_s"]["value"] > direct["judge_s"]["value"] > 0
    assert found["contrasts"]["critique - direct"]["n"] == 12
    rows = lines_of(out)
    assert len(rows) == 24 and all(row["verdict"]["transcript"] for row in rows)


def test_a_killed_run_goes_on_to_the_same_result(sums, tmp_path, capsys):
    options = ("--protocol", "direct", "planted_flaws", "--judge", "simulated")
    whole = verb(capsys, "judge", sums, *options, "--out", tmp_path / "whole")
    killed = tmp_path / "killed"
    verb(capsys, "judge", sums, *options, "--out", killed)
    lines = (killed / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (killed / "metrics.jsonl").write_bytes(b"".join(lines[:9]) + lines[9][:40])
    (killed / "result.json").unlink()
    resumed = verb(capsys, "judge", sums, *options, "--out", killed)
    assert resumed["arms"] == whole["arms"] and resumed["contrasts"] == whole["contrasts"]
    assert (killed / "metrics.jsonl").read_bytes().startswith(b"".join(lines[:9]))
    other = lines[0].replace(b'"answers": ["', b'"answers": ["other ')
    (killed / "metrics.jsonl").write_bytes(other)
    assert "cases must be" in verb(capsys, "judge", sums, *options, "--out", killed, code=2)
    error = verb(capsys, "judge", sums, *options, "--seed", 1, "--out", killed, code=2)
    assert "another seed" in error


def test_an_endpoint_judges_and_helps_and_what_it_writes_is_only_text(texts, tmp_path, capsys):
    with FakeEndpoint(obedient) as server:
        name = f"endpoint:{server.url}#small"
        options = ("--protocol", "direct", "critique", "--helper", name, "--judge", name)
        found = verb(
            capsys, "judge", texts, *options, "--parallel", 4, "--out", tmp_path / "judged"
        )
    assert [arm["accuracy"]["value"] for arm in found["arms"].values()] == [1.0, 1.0]
    page = (tmp_path / "judged" / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    place = tmp_path / "judged" / "report.html"
    place.unlink()
    assert verb(capsys, "report", tmp_path / "judged")["report"] == str(place)
    assert place.read_text() == page


def test_mostly_undecided_is_said_before_every_number(texts, tmp_path, capsys):
    out = tmp_path / "judged"
    with FakeEndpoint(lambda _: "Hard to say.") as server:
        judge = JudgeVerb(cases=texts, judge=f"endpoint:{server.url}#m", out=out)
        judge.execute(Console(soft_wrap=True))
    told, page = capsys.readouterr().out, (out / "report.html").read_text()
    says = "direct: 12 of 12 verdicts are undecided, most because: no verdict in the form asked for"
    assert told.index(says) < told.index("accuracy")
    assert page.index(says) < page.index("<table>")


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def leaning(letter, share=1.0):
    """A judge that says this letter to a share of the cases, and else what `obedient` says."""

    def judge(turns):
        asked = turns[-1]["content"]
        code = re.search(r"VERDICT ([0-9a-f]{12})", asked)
        if code is None:
            return obedient(turns)
        case = int(re.search(r"q(\d+) ", asked)[1])
        return f"VERDICT {code[1]}: {letter} 90%" if case < 12 * share else obedient(turns)

    return judge


@pytest.mark.parametrize(("letter", "place"), [("A", "first"), ("B", "second")])
def test_a_judge_who_goes_by_the_place_is_named_and_no_protocol_comes_out_ahead(
    letter, place, texts, tmp_path, capsys
):
    with FakeEndpoint(leaning(letter)) as server:
        options = ("--judge", f"endpoint:{server.url}#m", "--helper", f"endpoint:{server.url}#m")
        options += ("--protocol", "direct", "consultancy")
        found = verb(capsys, "judge", texts, *options, "--out", tmp_path / "one")
        both = verb(capsys, "judge", texts, *options, "--both-orders", "--out", tmp_path / "two")
        JudgeVerb(
            cases=texts,
            judge=options[1],
            helper=options[3],
            protocol=("direct", "consultancy"),
            out=tmp_path / "one",
        ).execute(Console(soft_wrap=True))
        told = capsys.readouterr().out
        assert f"shown {place} in 100%" in told and "consultancy - direct" not in told
        error = verb(capsys, "judge", texts, *options, "--out", tmp_path / "two", code=2)
        assert "both_orders" in error
    for arm in found["arms"].values():
        assert arm["shown_first"]["value"] == float(letter == "A")
        assert f"shown {place} in 100% of 12 decided cases" in arm["warning"]
        assert arm["same_answer"]["value"] is None
    orders = {arm: {} for arm in found["arms"]}
    for row in lines_of(tmp_path / "one"):
        orders[row["protocol"]][row["id"]] = row["verdict"]["shown_first"]
    assert orders["direct"] == orders["consultancy"] and {*orders["direct"].values()} == {0, 1}
    # So that the judge was right equally often.
    assert found["contrasts"]["consultancy - direct"]["value"] == 0
    page = (tmp_path / "one" / "report.html").read_text()
    assert f"shown {place} in 100%" in page and "points of accuracy" not in page
    for arm in both["arms"].values():
        assert (arm["n"], arm["accuracy"]["value"]) == (24, 0.5)
        assert (arm["same_answer"]["value"], arm["same_answer"]["n"]) == (0.0, 12)


def test_a_fair_judge_and_a_few_slips_to_one_side_are_no_bias(texts, tmp_path, capsys):
    for share in (0.0, 0.16):
        with FakeEndpoint(leaning("A", share)) as server:
            options = ("--judge", f"endpoint:{server.url}#m", "--both-orders")
            arm = verb(capsys, "judge", texts, *options, "--out", tmp_path / f"{share}")["arms"]
        assert arm["direct"]["warning"] is None
        assert arm["direct"]["same_answer"]["value"] == pytest.approx(1 - 2 / 12 * (share > 0))


def test_the_page_calls_the_answer_that_the_judge_saw_first_a(texts, tmp_path, capsys):
    with FakeEndpoint(obedient) as server:
        options = ("--judge", f"endpoint:{server.url}#m", "--out", tmp_path / "judged")
        verb(capsys, "judge", texts, *options)
    rows = json.loads((tmp_path / "judged" / "result.json").read_text())["samples"]
    page = (tmp_path / "judged" / "report.html").read_text()
    for row, told in zip(rows, re.findall(r"preferred ([AB]), better: ([AB])", page), strict=True):
        said = re.search(": ([AB]) 90%", row["verdict"]["text"])[1]
        assert told == (said, said)


def test_who_stops_judging_is_told_of_judging_and_goes_on_where_it_was(
    texts, tmp_path, capsys, monkeypatch
):
    said = iter(["a", "", "q"])
    monkeypatch.setattr("builtins.input", lambda: next(said))
    command = ("judge", texts, "--judge", "people", "--out", tmp_path / "judged")
    line = verb(capsys, *command, code=130)
    assert "every verdict given is kept" in line and "round" not in line
    said = iter(["b", "90"] * 11)
    arm = verb(capsys, *command)["arms"]["direct"]
    assert arm["n"] == 12 and arm["shown_first"]["value"] == pytest.approx(1 / 12)


def test_language_models_speak_at_temperature_0_unless_told_otherwise():
    both = {"judge": "endpoint:http://localhost/v1#m", "helper": "model:here", "cases": "x.jsonl"}
    for given, temperature in ((None, 0.0), (0.7, 0.7)):
        recipe = JudgeVerb(**both, temperature=given).checked()["direct"]
        assert recipe.judge.temperature == recipe.helper.temperature == temperature
    with pytest.raises(InputError, match="language models"):
        JudgeVerb(temperature=0.5).checked()


def test_an_endpoint_that_fails_loses_no_verdict_and_gives_no_score(texts, tmp_path, capsys):
    with FakeEndpoint(obedient, faults=("hostile", "cut text"), share=1.0) as server:
        name = f"endpoint:{server.url}#small"
        options = ("--judge", name, "--helper", name, "--protocol", "critique", "--parallel", 6)
        found = verb(capsys, "judge", texts, *options, "--out", tmp_path / "judged")
    arm = found["arms"]["critique"]
    assert arm["n"] == 12 and arm["accuracy"]["value"] is None
    assert arm["undecided"]["value"] == 1.0 and sum(arm["failed"].values()) >= 1


def test_limits_hold_for_every_case(sums, tmp_path, capsys):
    options = ("--judge", "simulated", "--helper", "sums", "--protocol", "critique")
    for calls, undecided in ((1, 0.0), (0, 1.0)):
        limit = ("--set", f"oversight.limit.calls={calls}", "--out", tmp_path / str(calls))
        arm = verb(capsys, "judge", sums, *options, *limit)["arms"]["critique"]
        assert (arm["calls"]["value"], arm["undecided"]["value"]) == (calls, undecided)
    assert arm["failed"] == {"the budget allowed no judgement": 12}


def test_a_change_of_one_protocol_leaves_the_others_alone():
    verb = JudgeVerb(protocol=("direct", "debate"), set=("oversight.rounds=3",))
    recipes = verb.checked()
    assert recipes["debate"].oversight == Debate(rounds=3)
    assert recipes["direct"].oversight == Direct()
    with pytest.raises(InputError, match=r"oversight must have no keys but .*'runds'"):
        JudgeVerb(protocol=("direct", "debate"), set=("oversight.runds=3",)).checked()


def test_wrong_input_is_one_line_and_leaves_nothing(sums, texts, tmp_path, capsys):
    for cases, options, says in (
        (sums, "", "give --judge"),
        (sums, "--judge simulated --protocol debate", "needs a helper"),
        (sums, "--judge simulated --parallel 2", "several cases at once"),
        (sums, f"--judge reward:{tmp_path}", "card.json"),
        (texts, "--judge simulated", ""),
        (tmp_path / "none.jsonl", "--judge simulated", ""),
    ):
        out = ("--out", tmp_path / "judged")
        assert says in verb(capsys, "judge", cases, *options.split(), *out, code=2)
    assert not (tmp_path / "judged").exists()
