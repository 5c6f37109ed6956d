"""What a round is said to have taken."""

from __future__ import annotations

from types import SimpleNamespace

from trueline.loop.desk import Desk
from trueline.models.workers import Workers


def test_seconds_that_were_not_all_counted_are_left_out():
    """Labels of an older store hold none: unknown, and no part of a sum."""
    kept = {
        "learn": [("direct", 10.0), (None, None)],
        "gate": [("critique", 4.0), ("direct", 6.0)],
        "control": [],
    }
    task = SimpleNamespace(trunk=SimpleNamespace(workers=Workers()))
    desk = Desk(folder=None, task=task, protocol=None, seed=0)  # type: ignore[arg-type]
    vars(desk)["store"] = SimpleNamespace(seconds=lambda purpose, *, round: kept[purpose])
    told = desk.account(1, None)
    assert told["labels"] == {"learn": 2, "gate": 2}
    assert told["judge_s"] == {"gate": 10.0}
