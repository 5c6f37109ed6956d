"""Pages and sentences say what the numbers say, show hostile text as text, need no network."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.report_runs import HOSTILE, SCENARIOS, e, save, write
from trueline.errors import SetupError
from trueline.records import Estimate
from trueline.reports import write_judging, write_report
from trueline.reports.charts import Axis, Series, section
from trueline.reports.formatting import e_value, estimate, number, percent
from trueline.reports.run_page import Change, Tone, change, headline, remarks, run_alpha
from trueline.reports.run_records import RoundRecord, RunRecord, read_run

CASE = {
    "protocol": "debate",
    "question": "7 + 5",
    "answers": ["12", "13"],
    "verdict": {
        "preference": "second",
        "rater": "judge",
        "reason": None,
        "transcript": [
            {"speaker": "anna", "text": "so <quote>it is</quote>", "side": 0, "in_favour": True}
            | {"quotes": [{"text": "it is", "found": True}]},
            {"speaker": "judge", "text": "", "round": 1, "side": None, "belief": 0.25},
        ],
    },
    "correct": 0,
}


class Page(HTMLParser):
    """Elements, attributes and visible text of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[\s\u00a0]+", " ", " ".join(self.words))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def assert_harmless(self) -> None:
        """Nothing runs, nothing is fetched."""
        assert not {"script", "img", "iframe", "object", "form"} & {tag for tag, _ in self.tags}
        for tag, attributes in self.tags:
            assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
            for name in {"src", "href", "action", "data"} & attributes.keys():
                assert str(attributes[name]).startswith(("#", "data:")), (tag, attributes)
        policy = next(a["content"] for t, a in self.tags if t == "meta" and "http-equiv" in a)
        assert policy is not None and policy.startswith("default-src 'none'; style-src")


def judged(folder: Path, **changes: Any) -> Path:
    """A finished folder of judgements with two arms."""
    arm = {
        "n": 20,
        "accuracy": e(0.85, 0.15, 20),
        "brier": {"value": None, "lower": None, "upper": None, "n": 0},
        "curve": [e(0.5 + i / 4, 0.1) for i in (0, 1)],
        "bins": [{"predicted": 0.7, "observed": 0.8, "lower": 0.6, "upper": 0.9, "n": 10}] * 2,
        "failed": {"no words": 3},
    }
    arms = {"debate": arm, "direct": {**arm, "bins": []}}
    result = {"arms": arms, "contrasts": {"debate - direct": e(0.02, 0.12, 20)}, "samples": [CASE]}
    return save(folder, {"verb": "judge", "seed": 0}, {**result, **changes})


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_makes_a_page_with_its_numbers(scenario: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", scenario)
    made = Page(write_report([folder], tmp_path / "report.html"))
    made.assert_harmless()
    assert made.count("figure") == made.count("figcaption") >= 6
    assert made.count("caption") >= made.count("figure"), "a table of numbers under each chart"
    assert "None" not in made.text and not re.search(r"\bnan\b", made.text)
    words = "".join(made.words)
    for r in read_run(folder).rounds:
        for found in (r.gold, r.proxy, r.uncertainty, r.novelty, r.length):
            assert estimate(found) in words
        assert estimate(r.gate.win_rate, share=True) in words
    if scenario == "unfinished":
        assert f"To go on where it stands: trueline run {folder}/recipe.toml --seed 0" in made.text
        assert "Not measured: Gold of best-of-n." in made.text


def test_runs_stand_side_by_side_and_the_same_folders_give_the_same_bytes(tmp_path: Path) -> None:
    runs = [write(tmp_path / s, s, assist=s) for s in ("good", "wrong")]
    file = write_report(runs, tmp_path / "a.html")
    made = Page(file)
    assert "good: better" in made.text and "wrong: worse" in made.text
    assert "The runs side by side" in made.text
    assert write_report(runs, tmp_path / "b.html").read_bytes() == file.read_bytes()
    assert len(file.read_bytes()) < 300_000
    assert write_report(runs, tmp_path / "good").name == "report.html"


def poisoned(value: Any) -> Any:
    """The value with markup in every string and every name that is free."""
    if isinstance(value, dict):
        free = {"labels", "precision", "gold_breakdown", "failed", "arms", "contrasts"}
        return {
            key: {f"{k}{HOSTILE}": poisoned(v) for k, v in one.items()}
            if key in free and isinstance(one, dict)
            else poisoned(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    checked = isinstance(value, str) and value.startswith(("[budget]", "second"))
    return f"{value}{HOSTILE}" if isinstance(value, str) and not checked else value


@pytest.mark.parametrize("kind", ["run", "judging"])
def test_every_string_poisoned_nothing_executes(kind: str, tmp_path: Path) -> None:
    runs = [tmp_path / "a", tmp_path / "b"]
    for i, folder in enumerate(runs):
        write(folder, "good", seed=i) if kind == "run" else judged(folder)
        for name in ("config.json", "environment.json", "result.json"):
            raw = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps(poisoned(raw)))
    page = write_report(runs, tmp_path / "r.html") if kind == "run" else write_judging(runs[0])
    made = Page(page)
    made.assert_harmless()
    assert made.text.count(HOSTILE) > 20
    assert made.text.count("{{ 7*7 }}") == made.text.count("alert(1)>"), "no template reads it"
    assert "window.pwned" not in re.sub(r"&lt;script&gt;window.pwned", "", page.read_text())


def test_judgements_say_who_is_ahead_only_where_the_interval_does(tmp_path: Path) -> None:
    made = Page(write_judging(judged(tmp_path / "a")))
    assert "debate against direct: 2 [−10, 14] points of accuracy, 20 cases: too few" in made.text
    assert "85 % [70, 100]" in made.text and "Brier" not in made.text
    assert "preferred B, better: A" in made.text and "belief in A 25 %" in made.text
    assert ("mark", {"class": "now"}) in made.tags
    assert "3 verdicts undecided because no words" in made.text and made.count("figure") == 2
    ahead = {"debate - direct": e(0.2, 0.1, 20)}
    made = Page(write_judging(judged(tmp_path / "b", contrasts=ahead)))
    assert "20 [10, 30] points of accuracy, 20 cases: ahead." in made.text
    with pytest.raises(SetupError, match=r"arms: .* at least 1 item"):
        write_judging(judged(tmp_path / "c", arms={}))


def test_no_run_and_a_wrong_run_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out.html"
    for runs in ([], [write(tmp_path / "run", "good"), tmp_path / "absent"]):
        with pytest.raises(SetupError):
            write_report(runs, target)
    assert not target.exists()


def test_a_chart_puts_points_where_their_values_are() -> None:
    y = [Estimate(0.0, -1.0, 1.0, 5), Estimate(None, None, None, 0), Estimate(4.0, 3.0, 5.0, 5)]
    series = Series(name="a", x=[0, 1, 2], y=y)
    limits = Axis("x", limits=(0.0, 2.0)), Axis("y", limits=(0.0, 4.0))
    svg = section("t", [series], *limits).chart
    places = re.findall(r"translate\(([\d.]+),([\d.]+)\)\"><title>", svg)
    assert places == [("56.0", "236.0"), ("466.0", "14.0")]
    assert svg.count('class="bar"') == 2 and 'class="join"' not in svg, "a gap is not bridged"
    assert "10<" in section("t", [series], Axis("x"), Axis("y", log=True)).chart
    table = section("t", [series, series], Axis("x"), Axis("y"))
    assert table.rows[1] == ("1", "not measured", "not measured")


def made(folder: Path, scenario: str, **changes: Any) -> RunRecord:
    name = f"{scenario}-{len(list(folder.iterdir()))}"
    return read_run(write(folder / name, scenario, **changes))


@pytest.mark.parametrize(
    ("scenario", "tone", "says"),
    [
        ("good", Tone.BETTER, "worth, rose from 0.71 to 2.36 [2.30, 2.42], 85 % of the way to the"),
        ("wrong", Tone.WORSE, "true worth, fell from 0.71 to −0.42 [−0.48, −0.36]."),
        ("no_gold", Tone.JUDGED, "Kept: the policy of round 4. The gate certified it: the"),
        ("no_gold", Tone.JUDGED, "those of round 2 in 71 % [52, 90] of 40 comparisons. What"),
        ("held", Tone.BASE, "Kept: the base policy, for none of 3 rounds was certified. Gold, the"),
        ("held", Tone.BASE, "true worth, stays at 0.71 [0.62, 0.80]."),
        ("unfinished", Tone.UNFINISHED, "3 of 5 rounds done. Kept so far: the policy of round 3."),
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
    words = "and is 0.90 [0.50, 1.30]: too few answers to tell whether it changed (n = 30)."
    assert sentence.replace("\u00a0", " ").endswith(words)


def test_a_fall_that_raters_like_is_said_to_be_beyond_the_gate(tmp_path: Path) -> None:
    run = made(tmp_path, "wrong", gold_breakdown_base={"flattery": 0.1, "right": 0.6})
    rows = json.loads((run.path / "result.json").read_text())["rounds"]
    assert "gold fell: it asks the simulated raters, who preferred the new" in str(remarks(run))
    assert "flattery from 10 % to 50 % of" in headline(run)[1].replace("\u00a0", " ")
    for row in rows:
        row["gate"]["win_rate"] = e(0.4, 0.1, 80)
    disliked = read_run(write(tmp_path / "b", "wrong", rounds=rows, certified_round=0))
    assert "gold fell" not in str(remarks(disliked)) and "flattery" not in headline(disliked)[1]


@pytest.mark.parametrize(
    ("scenario", "base", "changes", "tone"),
    [
        ("good", 0.1, {}, Tone.MIXED),
        ("good", 0.5, {}, Tone.BETTER),
        ("good", 0.1, {"gold_final": e(0.9, 0.4, 30)}, Tone.WORSE),
        ("wrong", 0.9, {}, Tone.WORSE),
        ("held", 0.0, {}, Tone.BASE),
    ],
)
def test_faults_that_grew_are_in_the_tone_itself(
    scenario: str, base: float, changes: dict[str, Any], tone: Tone, tmp_path: Path
) -> None:
    kinds = {"flattery": base, "right": 0.2}
    run = made(tmp_path, scenario, gold_breakdown_base=kinds, **changes)
    found, text = headline(run)
    assert found is tone
    grew = base < 0.2 and scenario != "held"
    assert ("Faults grew and passed the gate: flattery" in text) == grew
    page = Page(write_report([run.path]))
    assert tone.value in page.text and "right from" not in text
    assert ("div", {"class": f"headline {tone.name.lower()}"}) in page.tags


def test_labels_of_rounds_without_a_decision_are_counted(tmp_path: Path) -> None:
    run = made(tmp_path, "held")
    words = "Of the labels 8 % paid for gates that stayed undecided (160, round 1, 2)."
    assert remarks(run)[1].replace("\u00a0", " ") == words
    rows = json.loads((run.path / "result.json").read_text())["rounds"]
    rows[0] |= {"labels": {"learn": 900}, "gate": {"decision": "hold", "labels": 0}}
    rows[0]["notes"] = ["too <b>few</b> pairs"]
    page = Page(write_report([made(tmp_path, "held", rounds=rows).path]))
    assert "1 held (too few labels to tell), 1 not tested, 1 rolled back" in page.text
    words = (
        "Of the labels 45 % were bought in rounds that could not be tested (900, round 1) and 4 %"
    )
    assert words in page.text
    assert "Round 1: too <b>few</b> pairs" in page.text
    assert "Of the labels" not in str(remarks(made(tmp_path, "wrong")))


RULE = "[reward]\nkind = 'rule'\nname = 'joy'\n[judge]\nkind = 'rule'\nname = "


@pytest.mark.parametrize(
    ("rater", "more", "scenario", "says", "never"),
    [
        ("rule", RULE + "'joy'", "good", "Judge, reward and gold are one", "no rater, reward or"),
        ("rule", RULE + "'joy'", "held", "The rule's own value stays", "Raters against gold"),
        ("rule", RULE + "'calm'", "good", "no measure of anything else", "gold are one"),
        ("rule", "", "good", "The reward is what the loop learns", "nobody spent it"),
        ("file", "", "no_gold", "Nobody knows the true worth", "Gold against KL"),
        ("people", "", "no_gold", "people preferred its answers", "simulated"),
        ("simulated", "", "good", "no person gave a label", "Nobody knows"),
    ],
)
def test_the_prose_is_of_the_run_at_hand(
    rater: str, more: str, scenario: str, says: str, never: str, tmp_path: Path
) -> None:
    took = {"judge_s": {"learn": 4000, "gate": 80}}
    run = write(tmp_path / "run", scenario, more=more, rater=rater, gain_share=None, **took)
    page = Page(write_report([run]))
    assert says in page.text and never not in page.text
    assert "1:08:00" in page.text and "oracle (best" not in page.text
    assert ("Judging, simulated" in page.text) == (rater == "simulated")
    assert ("Was the reward right about" in page.text) == (not more)


@pytest.mark.parametrize(
    ("scenario", "kept", "rings"), [("good", "round 4", 11), ("held", "the base policy", 4)]
)
def test_each_chart_over_rounds_marks_the_policy_that_was_kept(
    scenario: str, kept: str, rings: int, tmp_path: Path
) -> None:
    kinds = {"flattery": 0.1, "right": 0.2}
    run = write(tmp_path / "run", scenario, gold_breakdown_base=kinds)
    file = write_report([run])
    drawn = re.findall(r'<circle r="(?:8|13)" class="ring"', file.read_text())
    words = Page(file).text
    assert len(drawn) == rings and words.count(f"kept: {kept}") == 10
    assert "at 1 − 2α of the round: it leaves 50 % out just where the gate decided" in words
    both = Page(write_report([run, write(tmp_path / "wrong", "wrong")], tmp_path / "both.html"))
    assert f"kept: run {kept}, wrong round 5" in both.text and "5 (kept)" not in words


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
