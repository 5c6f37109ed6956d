"""The store: nothing acknowledged is lost, nothing counts twice, gate labels stay apart."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from trueline.data.store import FORMAT, LabelStore
from trueline.errors import InvalidExperiment, SetupError
from trueline.records import (
    Case,
    Cost,
    Critique,
    Flaw,
    Preference,
    Prompt,
    Quote,
    Response,
    Turn,
    Verdict,
)

ROOT = Path(__file__).resolve().parents[2]
PROMPT = Prompt.of("2 + 2", system="be brief", truth=4)
A, B = Response(prompt=PROMPT, text="4"), Response(prompt=PROMPT, text="")
AB = Case(first=A, second=B, source="a story")

WRITER = """
import itertools, sys
from trueline.data.store import LabelStore
from trueline.records import Case, Preference, Prompt, Response, Verdict
store, name, last = LabelStore(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for i in itertools.count() if last < 0 else range(last):
    first, second = (Response(prompt=Prompt.of(f"q{i}"), text=text) for text in "ab")
    case = Case(first=first, second=second)
    verdict = Verdict(preference=Preference.SECOND, rater=name)
    store.add(verdict, case, purpose="learn")
    store.add(Verdict(preference=Preference.FIRST, rater="both"), case, purpose="gate")
    print(i, flush=True)
"""


def verdict(preference: str = "first", rater: str = "ann") -> Verdict:
    return Verdict(preference=Preference(preference), rater=rater)


def writer(path: Path, name: str, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(last)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_acknowledged_labels_survive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    process = writer(path, "ann", -1)
    assert process.stdout is not None
    for _ in range(60):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    rest = process.stdout.read().split()
    acknowledged = 1 + max([last, *map(int, rest[:-1])])
    with LabelStore(path) as store:
        asked = [row.prompt.text for row in store.comparisons()]
        assert asked[:acknowledged] == [f"q{i}" for i in range(acknowledged)]
        assert store.spent()["gate"] >= acknowledged
        store.add(verdict(), AB, purpose="learn")
        assert store.spent()["learn"] == len(asked) + 1


def test_several_processes_write_one_store(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    processes = [writer(path, name, 80) for name in ("ann", "bob", "cat")]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]
    with LabelStore(path) as store:
        # Each rater's own label counts; the one all three wrote counts once.
        assert store.spent() == {"learn": 240, "gate": 80}


def test_a_new_store_waits_for_who_else_is_making_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.3, other.execute, ["COMMIT"])
    end.start()
    with LabelStore(path) as store:
        assert store.spent() == {"learn": 0, "gate": 0}
    end.join()
    other.close()


def test_a_repeated_label_counts_once_and_the_first_stays(tmp_path: Path) -> None:
    with LabelStore(tmp_path / "labels.db") as store:
        assert store.add(verdict(), AB, purpose="learn", round=1) == verdict()
        assert store.add(verdict("second"), AB, purpose="learn", round=1) == verdict()
        assert store.spent() == {"learn": 1, "gate": 0}
        store.add(verdict("second"), AB, purpose="learn", round=2)
        store.add(verdict(), AB.mirrored, purpose="learn", round=1)
        store.add(verdict("undecided", "bob"), AB, purpose="learn", round=0)
        store.add(verdict(), AB, purpose="gate", round=1)
        assert store.spent() == {"learn": 4, "gate": 1}
        assert len(store.comparisons(last_round=1)) == 2
        rows = store.comparisons()
    found = [(row.chosen, row.rejected, row.rater, row.round) for row in rows]
    assert found == [(A, B, "ann", 1), (B, A, "ann", 2), (B, A, "ann", 1)], "in their order"
    assert rows.skipped == {"undecided": 1}


def test_a_verdict_comes_back_whole_and_to_its_asking_alone(tmp_path: Path) -> None:
    quote, flaw = Quote(text="four", found=True), Flaw(kind="empty", step=2, evidence="\ud800")
    critiques = (
        Critique(response=B, text="it is empty", flaws=(flaw,), helper="h", num_tokens=4,
                 in_favour=True, quotes=(quote,), round=2, problem="cut off"),
        Critique(response=A, text="???", flaws=None, helper="h"),
    )  # fmt: skip
    seen = Verdict(
        preference=Preference.UNDECIDED,
        rater="ann",
        critiques=critiques,
        belief=0.25,
        found=((1, flaw),),
        text="hm",
        cost=Cost(calls=3, tokens=40, judge_s=12.5),
        transcript=(Turn(speaker="second", text="no", round=2, side=1, quotes=(quote,)),),
        reason="no answer",
    )
    with LabelStore(tmp_path / "labels.db") as store:
        store.add(seen, AB, purpose="gate", round=1)
        store.add(verdict(), AB.mirrored, purpose="gate", round=1)
    with LabelStore(tmp_path / "labels.db") as store:
        assert store.find(AB, purpose="gate", round=1) == seen
        assert store.find(AB, rater="ann", purpose="gate", round=1) == seen
        assert store.seconds("gate", round=1) == [12.5, 0.0] and not store.seconds("gate", round=2)
        assert store.find(AB, rater="bob", purpose="gate", round=1) is None
        assert store.find(AB, purpose="learn", round=1) is None


def test_gate_labels_cannot_be_learned_from(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    with LabelStore(path) as store:
        store.add(verdict(), AB, purpose="gate")
        assert len(store.comparisons()) == 0
        with pytest.raises(InvalidExperiment, match="certify"):
            store.comparisons("gate")
    # Physically apart: the table that learning reads holds no gate label.
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT COUNT(*) FROM learn_labels").fetchone() == (0,)
        assert database.execute("SELECT COUNT(*) FROM gate_labels").fetchone() == (1,)


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database at all " * 50)
    missing = tmp_path / "none" / "labels.db"
    for place in (tmp_path / "text.db", tmp_path, missing, f"sqlite:///{missing}", "nonsense://x"):
        with pytest.raises(SetupError) as caught:
            LabelStore(place)
        assert "\n" not in str(caught.value)


def test_a_store_of_another_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    for _ in range(2):
        LabelStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE schema_version SET version = ?", (FORMAT - 1,))
        database.commit()
        with pytest.raises(SetupError, match=f"got format {FORMAT - 1}"):
            LabelStore(path)
        assert database.execute("SELECT version FROM schema_version").fetchall() == [(FORMAT - 1,)]


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    with LabelStore(tmp_path / "labels.db") as store:
        store.add(verdict(), AB, purpose="learn")
        with store._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        large = Response(prompt=PROMPT, text="x" * 100_000)
        with pytest.raises(OSError, match="No space left"):
            store.add(verdict(), replace(AB, second=large), purpose="learn")
        assert store.spent() == {"learn": 1, "gate": 0}
