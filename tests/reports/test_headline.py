"""The sentences say what the numbers say, and broken folders are refused in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.report_runs import e, write
from trueline.errors import SetupError
from trueline.records import Estimate
from trueline.reports.formatting import e_value, number, percent
from trueline.reports.run_page import Change, Tone, change, headline, remarks, run_alpha
from trueline.reports.run_records import RoundRecord, RunRecord, read_run


def made(folder: Path, scenario: str, **changes: Any) -> RunRecord:
    name = f"{scenario}-{len(list(folder.iterdir()))}"
    return read_run(write(folder / name, scenario, **changes))


@pytest.mark.parametrize(
    ("scenario", "tone", "says"),
    [
        ("good", Tone.BETTER, "Gold rose from 0.71 to 2.36 [2.30, 2.42], 85 % of the way"),
        ("wrong", Tone.WORSE, "Gold fell from 0.71 to −0.42 [−0.48, −0.36]; 5 of 5 rounds"),
        ("no_gold", Tone.JUDGED, "3 of 4 rounds were certified by the raters' own judgement (win"),
        ("held", Tone.UNCLEAR, "The policy it began with stays, with gold 0.71"),
        ("unfinished", Tone.UNFINISHED, "Unfinished, 3 of 5 rounds done. So far: gold rose"),
    ],
)
def test_a_run_in_one_sentence(scenario: str, tone: Tone, says: str, tmp_path: Path) -> None:
    run = made(tmp_path, scenario)
    found, sentence = headline(run)
    assert run_alpha(run) == pytest.approx(len(run.rounds) / 50)
    assert found is tone and says in sentence.replace("\u00a0", " ")
    assert ("cannot see that gold fell" in str(remarks(run))) == (scenario == "wrong")


def test_too_few_answers_are_said_to_be_too_few(tmp_path: Path) -> None:
    tone, sentence = headline(made(tmp_path, "good", gold_final=e(0.9, 0.4, 30)))
    assert tone is Tone.UNCLEAR
    assert sentence.startswith("Gold, too few answers to tell whether it changed (n = 30): 0.71")


def test_a_fall_that_raters_like_is_said_to_be_beyond_the_gate(tmp_path: Path) -> None:
    run = made(tmp_path, "wrong", gold_breakdown_base={"flattery": 0.1, "right": 0.6})
    rows = json.loads((run.path / "result.json").read_text())["rounds"]
    texts = " ".join(remarks(run)).replace("\u00a0", " ")
    assert "In 5 of 5 rounds the raters preferred" in texts and "it asks the same raters" in texts
    assert "flattery from 10 % to 50 % of the answers" in texts
    for row in rows:
        row["gate"]["win_rate"] = e(0.4, 0.1, 80)
    disliked = read_run(write(tmp_path / "b", "wrong", rounds=rows, certified_round=0))
    assert "gold fell" not in str(remarks(disliked)) and "flattery" not in str(remarks(disliked))


def test_the_later_of_two_rows_counts_and_a_torn_line_does_not(tmp_path: Path) -> None:
    run = made(tmp_path, "unfinished")
    file = run.path / "metrics.jsonl"
    again = {**json.loads(file.read_text().splitlines()[2]), "gold": e(9.5, 0.1)}
    with file.open("a") as out:
        out.write(json.dumps(again) + "\n" + '{"kind": "round", "round": 4, "go')
    read = read_run(run.path)
    assert [r.round for r in read.rounds] == [1, 2, 3] and read.rounds[1].gold.value == 9.5
    assert read.labels == {"learn": 1080, "gate": sum(r.gate.labels or 0 for r in read.rounds)}


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("config.json", '{"format": 99}', "format 1; got format 99"),
        ("config.json", '{"format": 1, "recipe": "a = "}', "Invalid value"),
        ("result.json", '{"rounds": [{"round": 1, "kl": "far"}]}', r"rounds\.0\.kl.*\('far'\)"),
        ("result.json", '{"rounds": [{"gold": null}]}', r"rounds\.0\.round: Field required"),
    ],
)
def test_a_broken_folder_is_refused_in_one_clear_line(
    file: str, text: str, says: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "run", "good")
    (folder / file).write_text(text)
    with pytest.raises(SetupError, match=says) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


@given(st.floats(-5, 5), st.floats(0.01, 1), st.floats(-5, 5), st.floats(0.01, 1))
def test_change_is_antisymmetric(a: float, half_a: float, b: float, half_b: float) -> None:
    first = Estimate(a, a - half_a, a + half_a, 100)
    second = Estimate(b, b - half_b, b + half_b, 100)
    mirror = {Change.ROSE: Change.FELL, Change.FELL: Change.ROSE, Change.UNTOLD: Change.UNTOLD}
    assert change(second, first) is mirror[change(first, second)]


def test_change_finds_what_the_normal_approximation_finds() -> None:
    """MOVER on symmetric intervals is the usual interval of a difference of independent means."""
    half = math.hypot(0.1, 0.2)
    first = Estimate(1.0, 0.9, 1.1, 100)
    assert change(first, Estimate(1 + half + 0.01, 0.81 + half, 1.21 + half, 9)) is Change.ROSE
    assert change(first, Estimate(1 + half - 0.01, 0.79 + half, 1.19 + half, 9)) is Change.UNTOLD
    assert change(first, Estimate(9.0, None, None, 9)) is Change.UNKNOWN


def test_numbers_are_short_and_never_invented() -> None:
    shown = [number(x) for x in (0.0, -0.001, 2.345678, 20410.2)]
    assert shown == ["0.00", "−1.0 × 10⁻³", "2.35", "20,410"]
    assert [e_value(x) for x in (0, 0.031, 49.96, 8.7e12)] == ["0", "0.031", "50", "8.7 × 10¹²"]
    assert {number(None), e_value(None), percent(None)} == {"not measured"}
    assert RoundRecord(round=1).gold.value is None
