"""The README keeps its word: its Python runs, its tree is there, its table is that of results/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.table import BEGIN, END, everything, table
from tests.material import right_over_wrong
from trueline.recipes import Recipe
from trueline.worlds.sums import trunk_path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(block.splitlines()) <= 22
    right_over_wrong(40).save(tmp_path / "pairs.jsonl")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"model": str(trunk_path())})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:8]] == ["scored"] * 8
    assert "gold.value" in printed[8]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_the_python_of_the_pages_runs(page, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)
    right_over_wrong(40).save(tmp_path / "pairs.jsonl")
    monkeypatch.chdir(tmp_path)
    names = {"model": str(trunk_path())}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)


def test_the_table_is_made_from_results():
    assert README.split(BEGIN)[1].split(END)[0].strip() == table().strip(), (
        "run python -m benchmarks.table --write"
    )
    assert (ROOT / "results" / "README.md").read_text() == everything()


def test_every_verb_and_make_target_named_is_real():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"`?make (\w+)`?", README)) - {"s"} <= targets
    verbs = set(re.findall(r"^trueline (\w+)", README, flags=re.M))
    assert verbs == {"fit", "score", "judge", "run", "report", "serve", "export", "recipe"}


def test_the_recipe_of_the_readme_holds_and_its_folders_are_there(tmp_path):
    assert len(README.splitlines()) <= 180, "three screens"
    for folder in ("benchmarks", "docs", "results", "scripts", "trueline/loop"):
        assert (ROOT / folder).is_dir() and f"{folder.rpartition('/')[2]}/" in README
    (block,) = re.findall(r"```toml\n(.*?)```", README, flags=re.S)
    (tmp_path / "mine.toml").write_text(block)
    assert Recipe.of(tmp_path / "mine.toml").budget.rounds == 4
