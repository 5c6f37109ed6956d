"""A kill within a step costs what was under way, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.loop.conftest import FREE, QUICK, comparable, run
from trueline.loop.task import Task
from trueline.models.adapters import LoraPolicy
from trueline.models.sampling import _Batch
from trueline.models.unfinished import Unfinished
from trueline.policy import DPO, GRPO, BestOfN, adamw
from trueline.progress import Stage
from trueline.recipes import runs

ADAMW = adamw.AdamWSettings(learning_rate=3e-3, epochs=4, batch_size=3)
OPTIMISERS: dict[str, Any] = {
    "best_of_n": BestOfN(num_samples=4, limits=replace(FREE, kl_budget=2.0), adamw=ADAMW),
    "dpo": DPO(num_samples=4, limits=FREE, adamw=ADAMW),
    "grpo": GRPO(num_samples=4, limits=FREE, adamw=ADAMW),
}
STEPS = {"sample": _Batch, "step": adamw.GradientSteps}


def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return what counts the calls of a step from now on, and ends the run at one of them."""
    plain = {name: getattr(kind, name) for name, kind in STEPS.items()}

    def count(which: str, killed_at: int | None = None) -> list[int]:
        calls = [0]

        def counted(*args: Any, **named: Any) -> Any:
            if calls[0] == killed_at:
                raise KeyboardInterrupt
            calls[0] += 1
            return plain[which](*args, **named)

        monkeypatch.setattr(STEPS[which], which, counted)
        return calls

    return count


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_no_batch_and_no_step_is_made_twice(
    kind: str, sums_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, count = replace(QUICK, optimiser=OPTIMISERS[kind], rounds=1), counting(monkeypatch)
    whole = comparable(run(spec, sums_task, tmp_path / "plain"))
    monkeypatch.setattr(sums_task.trunk, "unfinished", Unfinished(tmp_path / "unfinished"))
    calls = [count(which) for which in STEPS]
    assert comparable(run(spec, sums_task, tmp_path / "whole")) == whole
    total = dict(zip(STEPS, [num for (num,) in calls], strict=True))
    monkeypatch.setattr(adamw, "EVERY_S", 0.0)
    for which, num in total.items():
        place = tmp_path / which
        monkeypatch.setattr(sums_task.trunk, "unfinished", Unfinished(place / "unfinished"))
        made = 0
        for part in (1, 3):
            calls = count(which, killed_at=num * part // 4 - made)
            with pytest.raises(KeyboardInterrupt):
                run(spec, sums_task, place)
            made += calls[0]
        calls = count(which)
        assert comparable(run(spec, sums_task, place)) == whole
        assert made + calls[0] == num > 4
        assert not list((place / "unfinished").glob("steps*"))


def test_what_was_kept_is_of_the_same_weights_alone(
    sums_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk, prompts = sums_task.trunk, sums_task.draw(3, "learn", np.random.default_rng(0))
    policy = LoraPolicy.create(trunk, rank=2, rng=np.random.default_rng(0))
    moved = policy.copy()
    with torch.no_grad():
        for parameter in moved.trainable():
            parameter += 0.3

    def said(speaker: LoraPolicy, seed: int = 1, **how: Any) -> list[str]:
        rng = np.random.default_rng(seed)
        return [r.text for r in speaker.rollouts(prompts, num_samples=2, rng=rng, **how).flat]

    asked = ((policy, {}), (moved, {}), (policy, {"seed": 2}), (policy, {"temperature": 0.5}))
    plain = [said(speaker, **how) for speaker, how in asked]
    monkeypatch.setattr(trunk, "unfinished", Unfinished(tmp_path))
    for _ in range(2):
        assert [said(speaker, **how) for speaker, how in asked] == plain
        with moved.off():
            assert said(moved) == plain[0]
    counting(monkeypatch)("sample", killed_at=0)
    assert said(moved) == plain[1]
    monkeypatch.undo()
    monkeypatch.setattr(trunk, "unfinished", Unfinished(tmp_path))
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="made again"):
        assert said(moved) == plain[1]


def test_a_run_keeps_its_parts_until_it_is_whole_and_tells_of_rounds_found_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [f"budget.{key}" for key in ("rounds=2", "labels=24", "prompts_per_round=4")]
    changes += [f"evaluate.{key}=2" for key in ("prompts", "curve_prompts", "oracle_samples")]
    changes += ["policy.num_samples=2"]
    place, count, found = tmp_path / "run", counting(monkeypatch), []
    monkeypatch.setattr(Stage, "resume", lambda self, done: found.append(done))
    for killed_at in (9, 30):
        count("sample", killed_at=killed_at)
        with pytest.raises(KeyboardInterrupt):
            runs.run("sums", out=place, changes=changes)
        assert list((place / "unfinished").iterdir())
        if (place / "checkpoints" / "round-1").exists():
            break
    count("sample")
    runs.run("sums", out=place, changes=changes)
    assert not (place / "unfinished").exists() and found[0] == 0 and found[-1] == 6
