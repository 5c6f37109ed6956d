"""`judge`: resumable, never a score from a failure, comparable; wrong input is one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from trueline.cli import main
from trueline.cli.judge import JudgeVerb
from trueline.errors import InputError
from trueline.oversight.debate import Debate
from trueline.oversight.direct import Direct
from trueline.testing import FakeEndpoint
from trueline.worlds.sums import Sums
from trueline.worlds.sums.language import render
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.writers import Writer, write

TRICK = "<script>alert(1)</script> \x1b[2J </details>"


def run(capsys, *arguments, code=0, verb="judge"):
    """Exit code checked; the JSON object, or the one line of an error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([verb, *(str(a) for a in arguments), "--json"])
    captured = capsys.readouterr()
    assert ended.value.code == code, captured.err
    if code:
        assert captured.out == ""
        (line,) = [line for line in captured.err.splitlines() if line.strip()]
        assert line.startswith("trueline: ")
        return line
    (line,) = captured.out.splitlines()
    return json.loads(line)


def write_rows(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def sums(tmp_path) -> Path:
    """Right working against wrong, the right one first in every other case."""
    rng = np.random.default_rng(0)
    rows = []
    for i, prompt in enumerate(Sums().prompts(12, rng, "eval")):
        task = Problem.read(prompt.text)
        good, bad = (render(write(task, Writer(wrong_step=w), rng)) for w in (0.0, 1.0))
        both = (bad, good) if i % 2 else (good, bad)
        rows.append({"prompt": prompt.text, "first": both[0], "second": both[1], "correct": i % 2})
    return write_rows(tmp_path / "cases.jsonl", rows)


@pytest.fixture
def texts(tmp_path) -> Path:
    rows = [
        {"prompt": f"q{i} {TRICK}", "first": "right", "second": "wrong", "correct": 0}
        for i in range(12)
    ]
    return write_rows(tmp_path / "texts.jsonl", rows)


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
    found = run(capsys, sums, "--protocol", "direct", "critique", *common)
    direct, critique = found["arms"]["direct"], found["arms"]["critique"]
    assert min(direct["accuracy"]["value"], critique["accuracy"]["value"]) > 0.6
    assert (direct["calls"]["value"], critique["calls"]["value"]) == (1, 3)
    assert critique["judge_s"]["value"] > direct["judge_s"]["value"] > 0
    assert found["contrasts"]["critique - direct"]["n"] == 12
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 24 and all(row["verdict"]["transcript"] for row in rows)


def test_a_killed_run_goes_on_to_the_same_result(sums, tmp_path, capsys):
    options = ("--protocol", "direct", "planted_flaws", "--judge", "simulated")
    whole = run(capsys, sums, *options, "--out", tmp_path / "whole")
    killed = tmp_path / "killed"
    run(capsys, sums, *options, "--out", killed)
    lines = (killed / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (killed / "metrics.jsonl").write_bytes(b"".join(lines[:9]) + lines[9][:40])
    (killed / "result.json").unlink()
    resumed = run(capsys, sums, *options, "--out", killed)
    assert resumed["arms"] == whole["arms"] and resumed["contrasts"] == whole["contrasts"]
    assert (killed / "metrics.jsonl").read_bytes().startswith(b"".join(lines[:9]))
    other = lines[0].replace(b'"answers": ["', b'"answers": ["other ')
    (killed / "metrics.jsonl").write_bytes(other)
    assert "cases must be" in run(capsys, sums, *options, "--out", killed, code=2)
    error = run(capsys, sums, *options, "--seed", 1, "--out", killed, code=2)
    assert "another seed" in error


def test_an_endpoint_judges_and_helps_and_what_it_writes_is_only_text(texts, tmp_path, capsys):
    with FakeEndpoint(obedient) as server:
        name = f"endpoint:{server.url}#small"
        options = ("--protocol", "direct", "critique", "--helper", name, "--judge", name)
        found = run(capsys, texts, *options, "--parallel", 4, "--out", tmp_path / "judged")
    assert [arm["accuracy"]["value"] for arm in found["arms"].values()] == [1.0, 1.0]
    page = (tmp_path / "judged" / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    place = tmp_path / "judged" / "report.html"
    place.unlink()
    assert run(capsys, tmp_path / "judged", verb="report")["report"] == str(place)
    assert place.read_text() == page
    two = (tmp_path / "judged", "--out", tmp_path / "other.html")
    assert "one folder at a time" in run(capsys, *two, verb="report", code=2)


def test_an_endpoint_that_fails_loses_no_verdict_and_gives_no_score(texts, tmp_path, capsys):
    with FakeEndpoint(obedient, faults=("hostile", "cut text"), share=1.0) as server:
        name = f"endpoint:{server.url}#small"
        options = ("--judge", name, "--helper", name, "--protocol", "critique", "--parallel", 6)
        found = run(capsys, texts, *options, "--out", tmp_path / "judged")
    arm = found["arms"]["critique"]
    assert arm["n"] == 12 and arm["accuracy"]["value"] is None
    assert arm["undecided"]["value"] == 1.0 and sum(arm["failed"].values()) >= 1


def test_limits_hold_for_every_case(sums, tmp_path, capsys):
    options = ("--judge", "simulated", "--helper", "sums", "--protocol", "critique")
    found = run(
        capsys, sums, *options, "--set", "oversight.limit.calls=1", "--out", tmp_path / "judged"
    )
    assert found["arms"]["critique"]["calls"]["value"] == 1
    none = run(
        capsys, sums, *options, "--set", "oversight.limit.calls=0", "--out", tmp_path / "none"
    )
    assert none["arms"]["critique"]["undecided"]["value"] == 1.0
    assert none["arms"]["critique"]["failed"] == {"the budget allowed no judgement": 12}


def test_a_change_of_one_protocol_leaves_the_others_alone():
    verb = JudgeVerb(protocol=("direct", "debate"), set=("oversight.rounds=3",))
    recipes = verb.checked()
    assert recipes["debate"].oversight == Debate(rounds=3)
    assert recipes["direct"].oversight == Direct()
    with pytest.raises(InputError, match=r"oversight must have no keys but .*'runds'"):
        JudgeVerb(protocol=("direct", "debate"), set=("oversight.runds=3",)).checked()


def test_without_a_file_the_embedded_world_judges_its_own(tmp_path, capsys):
    found = run(capsys, "--num-cases", 4, "--out", tmp_path / "judged")
    assert found["arms"]["direct"]["n"] == 4 and (tmp_path / "judged" / "report.html").is_file()


def test_wrong_input_is_one_line_and_leaves_nothing(sums, texts, tmp_path, capsys):
    bad = write_rows(tmp_path / "bad.jsonl", [{"prompt": "p", "first": "a"}])
    for cases, options, says in (
        (sums, "", "give --judge"),
        (sums, "--judge oracle", "judge must be one of"),
        (sums, "--judge simulated --protocol critique --helper x", "helper must be one of"),
        (sums, "--judge simulated --protocol debate", "needs a helper"),
        (sums, "--judge simulated --protocol séance", "oversight.kind must be one of"),
        (sums, "--judge simulated --parallel 0", "at least 1"),
        (sums, "--judge simulated --parallel 2", "only endpoints"),
        (sums, f"--judge reward:{tmp_path}", "card.json"),
        (sums, "--judge endpoint:http://x", "URL#MODEL"),
        (texts, "--judge simulated", ""),
        (tmp_path / "none.jsonl", "--judge simulated", ""),
        (bad, "--judge simulated", "bad.jsonl:1"),
    ):
        out = ("--out", tmp_path / "judged")
        assert says in run(capsys, cases, *options.split(), *out, code=2)
    assert not (tmp_path / "judged").exists()


def test_a_person_at_the_terminal_judges(texts, tmp_path, capsys, monkeypatch):
    answers = iter(["A", "90", ""] * 12)
    monkeypatch.setattr("builtins.input", lambda: next(answers))
    found = run(capsys, texts, "--judge", "people", "--out", tmp_path / "judged")
    arm = found["arms"]["direct"]
    assert arm["n"] == 12 and arm["undecided"]["value"] == 0
    assert 0 < arm["accuracy"]["value"] < 1  # the order is drawn, so "A" is right by half
