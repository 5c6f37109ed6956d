"""The pages: their numbers are the run's, their texts are escaped, and they need no network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.reports.report_runs import HOSTILE, SCENARIOS, e, save, write
from trueline.errors import SetupError
from trueline.records import Estimate
from trueline.reports import write_judging, write_report
from trueline.reports.charts import Axis, Series, section
from trueline.reports.formatting import estimate
from trueline.reports.run_records import read_run

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
