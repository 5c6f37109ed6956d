"""One arm in a process of its own, so that its memory is its own: a job in, one line of JSON out.

    python -m benchmarks.trl_arm '{"arm": "ours", "setting": "embedded", "folder": …, …}'

"round": fit the reward on the pairs, then the steps of a round. "steps": the steps alone, with a
reward from the folder. Models are loaded, and TRL's trainers made, before the clock starts.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.trl_clock import Clock, memory_mb
from benchmarks.trl_setting import SETTINGS

__all__ = ["ours", "theirs"]


def ours(job: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """The package's arm; a round leaves its reward in the folder, and exported for TRL."""
    from benchmarks import trl_ours as arm
    from trueline.models.trunk import Trunk
    from trueline.rewards.saved import load_reward

    setting, folder = SETTINGS[job["setting"]], Path(job["folder"])
    found: dict[str, Any] = {"imported": memory_mb(job["device"])["now"]}
    number = "bfloat16" if job["device"] == "cuda" else "float32"
    trunk = Trunk.load(folder / "model", device=job["device"], dtype=number)
    found["loaded"] = memory_mb(job["device"])["now"]
    fitted: Any
    if job["what"] == "round":
        kept: list[Any] = []
        found["fit"] = clock.timed(lambda: kept.append(arm.fit(trunk, folder)))
        fitted = kept[0]
    else:
        fitted = load_reward(folder / "reward", trunk)
    found["improve"] = clock.timed(
        lambda: arm.improve(setting, trunk, fitted, clock, num_steps=job["steps"])
    )
    found["memory"] = memory_mb(job["device"])
    if job["what"] == "round":
        found["accuracy"] = arm.accuracy(fitted, trunk, folder)
        arm.keep(fitted, trunk, folder)
    return found


def theirs(job: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """TRL's arm."""
    from benchmarks import trl_theirs as arm

    setting, folder = SETTINGS[job["setting"]], Path(job["folder"])
    choice = arm.Choice(**job["choice"])
    found: dict[str, Any] = {"imported": memory_mb(job["device"])["now"]}
    if job["what"] == "round":
        model, tokenizer, trainer = arm.reward_trainer(folder, choice, job["device"])
        found["fit"] = clock.timed(trainer.train)
        del trainer
        gc.collect()
    else:
        model, tokenizer = arm.classifier(folder / ("exported" if choice.exported else "model"))
    trainer = arm.grpo_trainer(setting, folder, choice, clock, job["steps"], (model, tokenizer))
    found["loaded"] = memory_mb(job["device"])["now"]
    found["improve"] = clock.timed(trainer.train)
    found["memory"] = memory_mb(job["device"])
    if job["what"] == "round":
        found["accuracy"] = arm.accuracy(model.to("cpu"), folder)
    return found


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    clock = Clock(job["device"])
    found = (ours if job["arm"] == "ours" else theirs)(job, clock)
    found["grpo_steps"] = clock.steps(warm=1)
    found["tokens"] = clock.tokens
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
