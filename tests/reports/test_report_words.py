"""The sentences say what the numbers say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.errors import SetupError
from trueline.records import Estimate
from trueline.reports import parse
from trueline.reports.folder import read_run
from trueline.reports.remarks import liked_faults, remarks
from trueline.reports.samples import differences
from trueline.reports.tables import win_rate
from trueline.reports.typeset import duration, e_value, estimate, num, percent
from trueline.reports.words import Change, Tone, change, labels, run_alpha, verdict

Make = Callable[..., Path]


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def edit_result(folder: Path, **changes: object) -> Path:
    file = folder / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


def test_good_run_in_one_sentence(make_run: Make) -> None:
    said = verdict(read_run(make_run("good")))
    assert said.tone is Tone.BETTER
    assert plain(said.sentence) == (
        "Gold rose from 0.71 to 2.36 [2.30, 2.42], 85 % of the way to the oracle best-of-16 "
        "(2.64); 4 of 5 rounds were certified; 2,124 labels used."
    )
    assert said.blind_spot is None


def test_a_run_that_ended_early_says_why_and_what_is_left(make_run: Make) -> None:
    folder = make_run("held")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rounds": 6, "patience": 3}))
    said = plain(verdict(read_run(edit_result(folder, unspent=1200.0))).sentence)
    assert "ended after 3 of 6 rounds, none of the last 3 certified, with 1,200 labels" in said
    seconds = {**config, "rounds": 6, "patience": 3, "judge_seconds": 9000.0}
    (folder / "config.json").write_text(json.dumps({**seconds, "from": "runs/first"}))
    said = plain(verdict(read_run(folder)).sentence)
    assert "with 20 min 00 s unspent" in said and "The policy taken over stays" in said


def test_equal_length_and_what_held_a_policy_back_stand_beside_the_win_rate(make_run: Make) -> None:
    folder = make_run("good")
    rows = json.loads((folder / "result.json").read_text())["rounds"]
    assert "At equal length" not in win_rate([read_run(folder)]).head
    rows[1] |= {"stopped": "novelty", "cut": 7}
    rows[-1] |= {"cut": 9}
    even = {"value": 0.61, "lower": 0.5, "upper": 0.72, "n": 40}
    rows[1]["gate"]["win_rate_at_equal_length"] = even
    run = read_run(edit_result(folder, rounds=rows))
    table = win_rate([run])
    assert table.head[-2:] == ("At equal length", "Held back by")
    assert plain(table.rows[1][-2]) == "61 % [50, 72]"
    assert [row[-1] for row in table.rows[:2]] == ["–", "novelty"]
    assert "9 of the last 300 measured answers were cut" in " ".join(remarks(run))


def test_a_fall_the_raters_like_is_said_to_be_beyond_the_gate(make_run: Make) -> None:
    run = read_run(make_run("wrong"))
    said = verdict(run)
    assert said.tone is Tone.WORSE
    assert said.sentence.startswith("Gold fell from 0.71 to −0.42")
    assert "of the way to" not in said.sentence
    assert said.blind_spot is not None
    assert "All the while the raters preferred" in said.blind_spot
    assert "cannot see that gold fell, because it asks the same raters" in said.blind_spot
    found = plain(" ".join(remarks(run)))
    assert (
        "agreed with gold in 43 % [40, 46] of the last round's comparisons: worse than a coin"
        in (found)
    )
    assert "while gold fell" in found
    assert "“flattery” went from 61 % in round 1 to 99 %" in found


def test_a_fall_the_raters_dislike_is_no_blind_spot(make_run: Make) -> None:
    folder = make_run("wrong")
    rounds = json.loads((folder / "result.json").read_text())["rounds"]
    for row in rounds:
        row["gate"]["win_rate"] = {"value": 0.4, "lower": 0.3, "upper": 0.5, "n": 80}
    assert verdict(read_run(edit_result(folder, rounds=rounds))).blind_spot is None


def test_unknown_gold_is_said_to_be_unknown(make_run: Make) -> None:
    said = verdict(read_run(make_run("no_gold")))
    assert said.tone is Tone.JUDGED
    assert "truly worth is not known here; by the raters' own judgement" in said.sentence
    assert "3 of 4 rounds (win rate in the last of them 71 %" in plain(said.sentence)


def test_nothing_certified_leaves_the_base_policy(make_run: Make) -> None:
    said = verdict(read_run(make_run("held")))
    assert said.tone is Tone.UNCLEAR
    assert said.sentence.startswith("The base policy stays, with gold 0.71")
    assert "none of 3 rounds was certified" in said.sentence


def test_unfinished_run_is_called_so_and_gold_is_the_certified_policys(make_run: Make) -> None:
    run = read_run(make_run("unfinished"))
    said = verdict(run)
    assert not run.finished
    assert said.tone is Tone.UNFINISHED
    assert plain(said.sentence).startswith(
        "Unfinished, 3 of 5 rounds done. So far: gold rose from 0.71 to 2.27 [2.21, 2.33]"
    )


def test_unfinished_run_without_any_round(make_run: Make) -> None:
    folder = make_run("unfinished")
    (folder / "metrics.jsonl").unlink()
    assert verdict(read_run(folder)).sentence == "Unfinished, 0 of 5 rounds done."


def test_the_later_of_two_rows_of_a_round_counts_and_a_torn_line_does_not(make_run: Make) -> None:
    folder = make_run("unfinished")
    file = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    again = {**next(r for r in rows if r.get("round") == 2), "gold": {"value": 9.5, "n": 1}}
    with file.open("a") as out:
        out.write(json.dumps(again) + "\n" + '{"kind": "round", "round": 4, "go')
    run = read_run(folder)
    assert [r.index for r in run.rounds] == [1, 2, 3]
    assert run.rounds[1].gold.value == 9.5


def test_alpha_is_the_configured_one_or_summed_over_the_rounds_held(make_run: Make) -> None:
    folder = make_run("no_gold")
    assert run_alpha(read_run(folder)) == 0.1
    config = json.loads((folder / "config.json").read_text())
    del config["alpha"]
    (folder / "config.json").write_text(json.dumps(config))
    assert run_alpha(read_run(folder)) == pytest.approx(4 * 0.02)


def test_another_schema_is_refused_in_one_line(make_run: Make) -> None:
    folder = edit_result(make_run("good"), schema=2)
    with pytest.raises(SetupError, match="schema 1") as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["missing", "empty", "other format"])
def test_what_is_no_run_folder_is_refused_in_one_line(
    what: str, make_run: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "absent"
    if what == "empty":
        folder.mkdir()
    if what == "other format":
        folder = make_run("good")
        (folder / "config.json").write_text('{"format": 99}')
    with pytest.raises(SetupError) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


def test_runs_are_named_by_what_differs(make_run: Make) -> None:
    good, wrong = read_run(make_run("good")), read_run(make_run("wrong"))
    other = read_run(make_run("good", "again", seed=1))
    twin = read_run(make_run("good", "twin"))
    assert labels([good, wrong]) == ["assisted raters", "unassisted raters"]
    assert labels([good, other]) == ["seed 0", "seed 1"]
    assert labels([good, twin]) == ["good", "twin"]
    assert labels([good, good]) == ["good (1)", "good (2)"]


@given(st.floats(-5, 5), st.floats(0.01, 1), st.floats(-5, 5), st.floats(0.01, 1))
def test_change_is_antisymmetric(a: float, half_a: float, b: float, half_b: float) -> None:
    first = Estimate(a, a - half_a, a + half_a, 100)
    second = Estimate(b, b - half_b, b + half_b, 100)
    mirror = {Change.ROSE: Change.FELL, Change.FELL: Change.ROSE, Change.SAME: Change.SAME}
    assert change(second, first) is mirror[change(first, second)]


def test_change_finds_what_the_normal_approximation_finds() -> None:
    """MOVER on symmetric intervals is the usual interval of a difference of independent means."""
    half = math.hypot(0.1, 0.2)
    first = Estimate(1.0, 0.9, 1.1, 100)
    assert change(first, Estimate(1 + half + 0.01, 0.81 + half, 1.21 + half, 9)) is Change.ROSE
    assert change(first, Estimate(1 + half - 0.01, 0.79 + half, 1.19 + half, 9)) is Change.SAME
    assert change(first, Estimate(9.0, None, None, 9)) is Change.UNKNOWN


def test_numbers_are_short_and_never_invented() -> None:
    assert [num(x) for x in (0.0, -0.001, 2.345678, -12.5, 128.44, 20410.2)] == [
        "0.00",
        "−1.0 × 10⁻³",
        "2.35",
        "−12.50",
        "128.4",
        "20,410",
    ]
    assert [e_value(x) for x in (None, 0, 0.031, 1, 49.96, 1235.4, 8.7e12)] == [
        "not measured",
        "0",
        "0.031",
        "1.0",
        "50",
        "1,235",
        "8.7 × 10¹²",
    ]
    assert [duration(x) for x in (8.2, 252.3, 7384)] == ["8 s", "4 min 12 s", "2 h 03 min"]
    assert num(None) == percent(None) == estimate(parse.MISSING) == "not measured"


@pytest.mark.parametrize("raw", [None, "0.5", True, math.nan, math.inf, [], {}, {"value": None}])
def test_what_is_no_number_is_missing_and_not_zero(raw: object) -> None:
    assert parse.estimate(raw).value is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_marking_differences_loses_no_text(before: str, after: str) -> None:
    left, right = differences(before, after)
    assert "".join(p.text for p in left) == before
    assert "".join(p.text for p in right) == after
    same = ["".join(p.text for p in side if not p.changed) for side in (left, right)]
    assert same[0] == same[1]


def test_certified_falls_are_pointed_out(make_run: Make, rng: np.random.Generator) -> None:
    folder = make_run("good")
    rounds = json.loads((folder / "result.json").read_text())["rounds"]
    rounds[2]["gold"] = {"value": 1.0, "lower": 0.9, "upper": 1.1, "n": 300}
    run = read_run(edit_result(folder, rounds=rounds))
    assert any("Round 3 passed the gate although gold fell there" in r for r in remarks(run))


def test_faults_that_were_certified_are_said_to_be_beyond_the_gate(make_run: Make) -> None:
    folder = make_run("wrong")
    result = json.loads((folder / "result.json").read_text())
    last = result["rounds"][-1]
    last["gate"]["decision"] = "accept"
    last["gold_breakdown"] = {"right": 0.95, "flattery": 0.99, "unfounded_claim": 0.4}
    base = {"right": 0.6, "flattery": 0.3, "unfounded_claim": 0.35}
    changed = edit_result(
        folder,
        rounds=result["rounds"],
        certified_round=last["round"],
        gold_breakdown_base=base,
    )
    said = liked_faults(read_run(changed))
    assert said is not None
    assert "flattery from 30 % to 99 % of the answers" in plain(said)
    assert "unfounded" not in said, "a fault that hardly grew is not named"
    nothing = edit_result(folder, certified_round=0)
    assert liked_faults(read_run(nothing)) is None, "nothing was certified"
