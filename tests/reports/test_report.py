"""The page: its numbers are the run's, its texts are escaped, and it needs no network."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.reports.report_runs import HOSTILE, SCENARIOS
from trueline.errors import SetupError
from trueline.reports import summary, write_report
from trueline.reports.parse import estimate as parsed
from trueline.reports.typeset import estimate

Make = Callable[..., Path]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """Elements, attributes and visible text of a page; scripts apart."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._in = ""
        self.file = file
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self._in != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads(next(s for a, s in self.scripts if a.get("id") == "figures"))


@pytest.fixture
def page(make_run: Make, tmp_path: Path) -> Callable[..., Page]:
    def make(*scenarios: str) -> Page:
        runs = [make_run(s) for s in scenarios]
        return Page(write_report(runs, tmp_path / "report.html"))

    return make


def result(tmp_path: Path, scenario: str) -> dict[str, Any]:
    return json.loads((tmp_path / scenario / "result.json").read_text())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_makes_a_page_with_a_table_under_each_plot(
    scenario: str, page: Callable[..., Page]
) -> None:
    made = page(scenario)
    ids = {a["id"] for t, a in made.tags if t == "div" and a.get("class") == "plot"}
    assert ids == set(made.figures)
    assert len(ids) >= 6
    tables = [t for t, _ in made.tags].count("caption")
    assert tables >= len(ids)
    assert "None" not in made.text
    assert "nan" not in re.findall(r"[a-z]+", made.text.lower())


@pytest.mark.parametrize("scenarios", [("good", "wrong"), ("no_gold",), ("hostile",)])
def test_nothing_is_fetched_from_anywhere(
    scenarios: tuple[str, ...], page: Callable[..., Page]
) -> None:
    made = page(*scenarios)
    for tag, attributes in made.tags:
        for name in ("src", "href", "action", "srcset", "poster", "data", "background"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, name, value)
    policy = next(a["content"] for t, a in made.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0]
    ours = [s for a, s in made.scripts if len(s) < 100_000]
    assert len(made.scripts) == 4
    assert not any(w in s for s in ours for w in ("fetch(", "XMLHttpRequest", "import(", "http"))
    style = re.findall(r"<style>(.*?)</style>", made.file.read_text(), re.S)
    assert not any("url(" in s or "@import" in s for s in style)


def test_numbers_in_the_page_are_those_of_the_result(
    page: Callable[..., Page], tmp_path: Path
) -> None:
    made, truth = page("good"), result(tmp_path, "good")
    for row in truth["rounds"]:
        for name in ("gold", "proxy", "proxy_lower", "kl", "doubt", "novelty", "length"):
            assert estimate(parsed(row[name])) in "".join(made.words), (row["round"], name)
        assert estimate(parsed(row["gate"]["win_rate"]), share=True) in "".join(made.words)
    gold = made.figures["gold-0"]["data"][0]
    assert gold["y"] == [truth["gold_base"]["value"]] + [
        r["gold"]["value"] for r in truth["rounds"]
    ]
    assert gold["x"] == [0] + [r["kl"]["value"] for r in truth["rounds"]]
    ups = [r["gold"]["upper"] - r["gold"]["value"] for r in truth["rounds"]]
    assert gold["error_y"]["array"][1:] == pytest.approx(ups)
    marks = [d for d in made.figures["gate-0"]["data"] if d.get("mode") == "markers"]
    assert marks[0]["y"] == pytest.approx([r["gate"]["e_value"] for r in truth["rounds"]])
    assert made.figures["gate-0"]["layout"]["yaxis"]["type"] == "log"
    plain = next(d for d in made.figures["best-of-n-0"]["data"] if d.get("name") == "plain")
    assert plain["y"] == [e["value"] for e in truth["best_of_n"]["plain"]]


def test_labels_are_stacked_by_purpose(page: Callable[..., Page], tmp_path: Path) -> None:
    made, truth = page("good"), result(tmp_path, "good")
    bars = {d["name"]: d["y"] for d in made.figures["labels-0"]["data"]}
    assert bars["to learn from"] == [r["labels"]["learn"] for r in truth["rounds"]]
    assert bars["for the gate"] == [r["labels"]["gate"] for r in truth["rounds"]]
    assert f"{truth['labels_used']:,} labels in all" in made.text


def test_runs_stand_side_by_side(page: Callable[..., Page]) -> None:
    made = page("good", "wrong")
    names = [d.get("name") for d in made.figures["gold-0"]["data"]]
    assert names == ["assisted raters", "unassisted raters"]
    assert "The runs side by side" in made.text
    assert "Evidence at the gate: unassisted raters" in made.text
    assert "The gate cannot see that gold fell" in made.text


def test_missing_gold_is_not_measured_and_never_zero(page: Callable[..., Page]) -> None:
    made = page("no_gold")
    assert "Not measured in this run: Gold against KL." in made.text
    assert "Not measured in this run: Kinds of answer, Raters against gold." in made.text
    assert not any("gold" in str(f["layout"]["yaxis"]["title"]) for f in made.figures.values())
    assert "gold 0" not in made.text.lower()


def test_a_missing_number_leaves_a_gap(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("good")
    truth = result(tmp_path, "good")
    truth["rounds"][2]["doubt"] = {"value": None, "lower": None, "upper": None, "n": 0}
    (folder / "result.json").write_text(json.dumps(truth))
    made = Page(write_report([folder], tmp_path / "r.html"))
    doubt = made.figures["doubt-0"]["data"][0]
    assert doubt["y"][2] is None
    assert doubt["customdata"][2] == "not measured"


def test_hostile_text_is_data(page: Callable[..., Page]) -> None:
    made = page("hostile")
    raw = made.file.read_text(encoding="utf-8")
    assert "<script>window.pwned" not in raw
    assert html.escape("<script>window.pwned=1</script>") in raw
    assert not any(tag == "img" for tag, _ in made.tags)
    assert HOSTILE.split("</article>")[0].replace(" ", "") in "".join(made.words).replace(" ", "")
    assert len(made.scripts) == 4


def test_hostile_configuration_is_data(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("good")
    other = make_run("wrong")
    for run, rater in ((folder, "</script><b>x"), (other, "<a href='http://evil'>y</a>")):
        truth = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps({**truth, "rater": rater}))
    made = Page(write_report([folder, other], tmp_path / "r.html"))
    assert not any("evil" in (a.get("href") or "") for _, a in made.tags)
    names = [d.get("name") for d in made.figures["gold-0"]["data"]]
    assert all("<" not in (name or "") for name in names)


def test_unfinished_run_shows_its_rounds_and_how_to_go_on(page: Callable[..., Page]) -> None:
    made = page("unfinished")
    assert "Unfinished, 3 of 5 rounds done" in made.text
    assert made.figures["gold-0"]["data"][0]["text"] == ["0", "1", "2", "3"]
    assert "To go on where it stands: trueline run --seed 0 --rounds 5" in made.text
    assert "Not measured in this run: Gold of best-of-n." in made.text


def test_the_command_line_repeats_the_configuration(page: Callable[..., Page]) -> None:
    made = page("good")
    assert "trueline run" in made.text
    assert "--rounds 5 --prompts-per-round 200 --labels 2000 --alpha 0.1 --k 1.0" in made.text
    assert "--out runs/again" in made.text


def test_the_same_folders_give_the_same_bytes(make_run: Make, tmp_path: Path) -> None:
    runs = [make_run("good"), make_run("wrong")]
    first = write_report(runs, tmp_path / "a.html").read_bytes()
    assert write_report(runs, tmp_path / "b.html").read_bytes() == first
    assert first.count(b"* plotly.js v") == 1


def test_a_folder_as_target_gets_report_html(make_run: Make) -> None:
    folder = make_run("good")
    assert write_report([folder], folder) == folder / "report.html"


def test_no_run_and_a_wrong_run_are_refused_and_leave_nothing(
    make_run: Make, tmp_path: Path
) -> None:
    target = tmp_path / "out.html"
    with pytest.raises(SetupError):
        write_report([], target)
    with pytest.raises(SetupError):
        write_report([make_run("good"), tmp_path / "absent"], target)
    assert not target.exists()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_summary_prints_each_round(scenario: str, make_run: Make) -> None:
    folder = make_run(scenario)
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(summary(folder))
    text = console.export_text().replace("\u00a0", " ")
    if scenario == "good":
        assert re.search(r"2\s+2\.04 \[1\.98, 2\.10\].*certified", text)
        assert "4 of 5 rounds were certified" in " ".join(text.split())
    if scenario == "no_gold":
        assert "not measured" in text


def test_reports_need_no_torch() -> None:
    code = "import sys, trueline.reports; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium to render the page in")
@pytest.mark.parametrize("scenarios", [("good", "wrong"), ("hostile",)])
def test_a_browser_draws_every_plot(
    scenarios: tuple[str, ...], page: Callable[..., Page], tmp_path: Path
) -> None:
    made = page(*scenarios)
    options = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-sync"
    command = [
        str(CHROMIUM),
        *options.split(),
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=800,4000",
        "--virtual-time-budget=10000",
        "--dump-dom",
        made.file.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    drawn = done.stdout.count('class="cartesianlayer"')
    assert drawn >= len(made.figures)
