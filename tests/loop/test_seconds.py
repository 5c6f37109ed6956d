"""A budget of judge seconds: shared as labels are, weighed against help, and known after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from trueline.data.store import LabelStore
from trueline.loop.allocator import Allocator
from trueline.loop.online import Online
from trueline.loop.progress import Silent
from trueline.loop.task import Task
from trueline.loop.tasks import Asked, make_task
from trueline.models.trunk import Trunk
from trueline.oversight.critique import WithCritique
from trueline.oversight.direct import Direct
from trueline.protocols import Rater
from trueline.records import Verdict
from trueline.runs import RunFolder
from trueline.worlds.sums import trunk_path

SMALL = Online(
    rounds=2,
    judge_s=1600.0,
    control_frac=0.2,
    prompts_per_round=4,
    samples_per_prompt=2,
    measured_prompts=6,
    curve=(2, 1),
    oracle_samples=2,
)


class Killed(BaseException):
    """The process was killed."""


@dataclass
class Mortal:
    """Raters during whose n-th judgement in all the process dies."""

    raters: Callable[[int], Rater]
    left: int
    rater: Rater | None = None

    def at(self, round: int) -> Mortal:
        self.rater = self.raters(round)
        return self

    def compare(self, *args: Any, **options: Any) -> Verdict:
        self.left -= 1
        if self.left < 0 or self.rater is None:
            raise Killed
        return self.rater.compare(*args, **options)


@pytest.fixture(scope="module")
def task() -> Task:
    asked = Asked(
        model=None,
        prompts=None,
        prompt_words=None,
        rater="simulated",
        assist="critique",
        max_new_tokens=80,
        seed=0,
    )
    return make_task(Trunk.load(str(trunk_path())), asked)


def run(spec: Online, task: Task, place: Path) -> dict[str, Any]:
    """A run, begun or gone on with."""
    new = not (place / "config.json").exists()
    folder = RunFolder.create(place, {}, data_hashes={}) if new else RunFolder.open(place)
    with folder:
        return json.loads(json.dumps(spec.run(task, folder, Silent())))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def whole(task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    place = tmp_path_factory.mktemp("runs") / "whole"
    return place, run(SMALL, task, place)


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in result.items() if k not in ("wall_s", "run", "rounds")}
    rows = [{**r, "reward": {**r["reward"], "fit_s": 0}} for r in result["rounds"]]
    return {**kept, "rounds": rows}


def test_the_seconds_are_kept_to_one_label_and_are_in_the_store(whole):
    place, result = whole
    assert 1400 < sum(result["judge_s"].values()) < 1600 + 120
    assert set(result["judge_s"]) == {"learn", "gate", "control"}
    store = LabelStore(place / "labels.sqlite")
    assert store.spent() == result["labels"]
    for purpose, seconds in result["judge_s"].items():
        kept = [s for t in (1, 2) for _, s in store.seconds(purpose, round=t)]
        assert sum(kept) == pytest.approx(seconds)


def test_what_controls_taught_is_carried_over_and_told(whole):
    _, result = whole
    first, second = (Allocator.of(row["allocator"]) for row in result["rounds"])
    assert first == second
    asked = sum(found.num for found in first.tried.values())
    assert asked == result["labels"]["control"] == result["rounds"][0]["labels"]["control"]
    protocols = result["rounds"][0]["protocols"]["control"]
    assert abs(protocols["direct"] - protocols["critique"]) <= 1, "in turn"


def test_a_run_killed_again_and_again_knows_what_was_spent(task, whole, tmp_path):
    """Killed among the controls, while learning, and while learning in the second round."""
    _, expected = whole
    first = sum(expected["rounds"][0]["labels"].values())
    for labels in (2, 6, first + 1):
        with pytest.raises(Killed):
            run(SMALL, replace(task, rater=Mortal(task.rater, labels).at), tmp_path / "killed")
    assert comparable(run(SMALL, task, tmp_path / "killed")) == comparable(expected)


@pytest.mark.parametrize(
    ("protocol", "frac", "found"),
    [(WithCritique(), 0.0, {"critique"}), (Direct(), 0.2, {"direct"})],
)
def test_without_controls_what_was_asked_for_is_done_with_every_item(
    protocol, frac, found, task, tmp_path
):
    spec = replace(SMALL, rounds=1, judge_s=500.0, protocol=protocol, control_frac=frac)
    (row,) = run(spec, task, tmp_path / "run")["rounds"]
    assert row["allocator"] is None and "control" not in row["labels"]
    assert {name for kinds in row["protocols"].values() for name in kinds} == found
