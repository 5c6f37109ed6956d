"""A folder is its own registry: what lies in it is found, what is not an idea is left alone."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

import trueline
from trueline import registry
from trueline.errors import InputError, SetupError

IDEA = """
from dataclasses import dataclass
@dataclass(frozen=True, kw_only=True)
class {name}:
    x: int = 1
    def act(self): ...
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty idea folder `trueline.shelf`, forgotten afterwards."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.setitem(registry.VERBS, "shelf", "act")
    monkeypatch.setattr(trueline, "__path__", [*trueline.__path__, str(tmp_path)])
    yield folder
    for name in [name for name in sys.modules if name.startswith("trueline.shelf")]:
        del sys.modules[name]


def test_ideas_are_found_by_file_name(shelf: Path) -> None:
    (shelf / "best_of_n.py").write_text(IDEA.format(name="BestOfN"))
    (shelf / "dpo.py").write_text(IDEA.format(name="DPO"))
    (shelf / "update.py").write_text("from trueline.shelf.dpo import DPO\nx = 1\n")
    (shelf / "crowd.py").write_text("class Crowd:\n    'A helper: it has no act.'\n")
    (shelf / "_private.py").write_text("raise RuntimeError\n")
    found = registry.ideas("shelf")
    assert {name: idea.__name__ for name, idea in found.items()} == {
        "best_of_n": "BestOfN",
        "dpo": "DPO",
    }
    assert registry.find("shelf", "dpo") is found["dpo"]


def test_unknown_names_list_the_known(shelf: Path) -> None:
    (shelf / "dpo.py").write_text(IDEA.format(name="DPO"))
    (shelf / "ppo.py").write_text(IDEA.format(name="PPO"))
    with pytest.raises(InputError, match="shelf must be one of dpo, ppo; got 'grpo'"):
        registry.find("shelf", "grpo")


@pytest.mark.parametrize(
    "text",
    [
        "class Dpo:\n    def act(self): ...",
        IDEA.format(name="Dpo").replace("frozen=True, ", ""),
        IDEA.format(name="Dpo").replace(", kw_only=True", ""),
    ],
)
def test_an_idea_is_a_frozen_keyword_only_dataclass(shelf: Path, text: str) -> None:
    (shelf / "dpo.py").write_text(text)
    with pytest.raises(SetupError, match="frozen, keyword-only dataclass"):
        registry.ideas("shelf")


def test_entry_points_add_ideas_and_may_not_shadow(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shelf / "dpo.py").write_text(IDEA.format(name="DPO"))
    points = [importlib.metadata.EntryPoint("mine", "trueline.shelf.dpo:DPO", "trueline.shelf")]
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: points if group == "trueline.shelf" else [],
    )
    assert list(registry.ideas("shelf")) == ["dpo", "mine"]
    points[0] = importlib.metadata.EntryPoint("dpo", "trueline.shelf.dpo:DPO", "trueline.shelf")
    with pytest.raises(SetupError, match="must be unique; got a second 'dpo'"):
        registry.ideas("shelf")


def test_the_known_folders() -> None:
    assert {"bayesian", "conservative"} <= registry.ideas("rewards").keys()
    assert {"best_of_n", "dpo"} <= registry.ideas("policy").keys()
    with pytest.raises(InputError, match=r"ideas lie in one of audits, oversight.*got 'nowhere'"):
        registry.ideas("nowhere")
