"""Principles: those that ship, those of a file, and what is wrong with a file in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from trueline.data.principles import contrasts_of, load_principles, principle_of
from trueline.errors import DataError, InputError

SHIPPED = ("harmless", "helpful", "honest", "concise")
OWN = """
[brief]
says = "Be brief."
good = ["Yes."]
[[brief.examples]]
questions = ["Is it far?", "Is it open?"]
bad = ["Well, let me see.", "It is hard to say."]
[[brief.examples]]
questions = ["Why?"]
good = ["Because."]
bad = ["There are many reasons."]
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_has_ten_questions_and_four_answers_of_each_kind(name: str) -> None:
    (principle,) = load_principles(name)
    assert principle.name == name and principle.says.endswith(".")
    pairs = principle.contrasts
    assert len(set(pairs.groups)) == 10 and len(pairs) == 40
    assert {pair.rater for pair in pairs} == {f"principle:{name}"}
    assert principle_of(pairs[0].rater) == name and principle_of("ann") is None


def test_an_examples_own_answers_come_before_the_principles(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    pairs = contrasts_of([file])
    found = [(pair.prompt.text, pair.chosen.text, pair.rejected.text) for pair in pairs]
    assert found == [
        ("Is it far?", "Yes.", "Well, let me see."),
        ("Is it far?", "Yes.", "It is hard to say."),
        ("Is it open?", "Yes.", "Well, let me see."),
        ("Is it open?", "Yes.", "It is hard to say."),
        ("Why?", "Because.", "There are many reasons."),
    ]
    assert contrasts_of([f"{file}#brief"]) == pairs
    assert len(contrasts_of([file, "honest"])) == 45


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must hold one"),
        ("[brief", "must be TOML"),
        (OWN.replace("says", "say"), "brief.says"),
        (OWN.replace("questions = [\"Why?\"]", "questions = []"), "questions"),
        (OWN.replace('good = ["Yes."]', ""), "good and bad answers"),
        (OWN.replace('good = ["Yes."]', "good = [3]"), "brief.good"),
        (OWN + "more = 1", "more"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(DataError) as refusal:
        load_principles(file)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


def test_unknown_and_repeated_names_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    for source in ("kindness", f"{file}#kind", tmp_path, "x" * 5_000):
        with pytest.raises(InputError, match="principle"):
            load_principles(source)
    with pytest.raises(InputError, match="different names"):
        contrasts_of(["harmless", "harmless"])
