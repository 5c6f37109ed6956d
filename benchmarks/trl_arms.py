"""One arm of `benchmarks.trl_grpo` in a process of its own: a job in, one line of JSON out.

    python -m benchmarks.trl_arms '{"arm": "ours", "model": FOLDER, "pairs": FILE, ...}'

Models are loaded, the reward is fitted and the trainer is made before the clock starts. A step
is timed from one drawing of samples to the next; the first step is left out.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from trueline.data.comparisons import Comparisons
from trueline.models.adapters import LoraPolicy
from trueline.models.rollouts import Sampling
from trueline.models.trunk import Trunk
from trueline.policy.adamw import AdamWSettings
from trueline.policy.grpo import GRPO
from trueline.policy.limits import Limits
from trueline.records import Prompt
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rng import stream
from trueline.worlds.sums import Sums

__all__ = ["ours", "theirs"]


class StepClock(TrainerCallback):  # type: ignore[misc]
    """The processor and wall seconds at which steps ended."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        """Note that a step ends now, and the next begins."""
        self.marks.append((time.process_time(), time.perf_counter()))

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Note the start of TRL's training."""
        self.mark()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the end of TRL's step."""
        self.mark()

    def steps(self) -> list[dict[str, float]]:
        """Return the seconds of every step but the first."""
        pairs = zip(self.marks[1:], self.marks[2:], strict=False)
        return [{"cpu_s": b[0] - a[0], "wall_s": b[1] - a[1]} for a, b in pairs]


def prompts_of(job: dict[str, Any]) -> list[Prompt]:
    """Return the prompts of all steps, the same for both arms."""
    num = job["steps"] * job["prompts"]
    return Sums().prompts(num, stream(job["seed"], "trl", "prompts"), "train")


def fitted(trunk: Trunk, job: dict[str, Any]) -> Any:
    """Return our reward, fitted on the pairs' readings."""
    pairs = Comparisons.load(Path(job["pairs"]))
    head = Conservative(head=Bayesian())
    return head.fit(trunk.read(pairs), pairs, rng=stream(job["seed"], "trl", "fit"))


def ours(job: dict[str, Any]) -> StepClock:
    """Make the steps with our GRPO on the reward's lower bound, without limits."""
    trunk = Trunk.load(job["model"])
    scorer, clock = fitted(trunk, job).on(trunk), StepClock()
    optimiser = GRPO(
        num_samples=job["samples"],
        beta=0.04,
        limits=Limits(kl_budget=math.inf, novelty_limit=math.inf),
        adamw=AdamWSettings(learning_rate=1e-4, batch_size=job["prompts"]),
    )
    # A cut answer is learned from, as TRL has it.
    how = Sampling(max_new_tokens=job["max_new_tokens"], cut="score")
    policy = LoraPolicy.create(trunk, rank=16, rng=stream(job["seed"], "adapter"), sampling=how)
    prompts = prompts_of(job)
    with marked_samples(clock):
        optimiser.improve(policy, prompts, scorer, rng=stream(job["seed"], "improve"))
    clock.mark()
    return clock


@contextlib.contextmanager
def marked_samples(clock: StepClock) -> Iterator[None]:
    """Mark a step each time the optimiser draws samples."""
    plain = LoraPolicy.rollouts

    def rollouts(policy: LoraPolicy, *args: Any, **kwargs: Any) -> Any:
        clock.mark()
        return plain(policy, *args, **kwargs)

    LoraPolicy.rollouts = rollouts  # type: ignore[method-assign]
    try:
        yield
    finally:
        LoraPolicy.rollouts = plain  # type: ignore[method-assign]


def theirs(job: dict[str, Any]) -> StepClock:
    """Make the steps with TRL, on a classifier of its own or on our reward's lower bound."""
    from benchmarks import trl_rival
    from trueline import plugs

    if job["reward"] == "classifier":
        reward: Any = trl_rival.classifier(job["model"], job["seed"])
    else:
        trunk = Trunk.load(job["model"])
        reward = plugs.trl(fitted(trunk, job).on(trunk))
    clock = StepClock()
    with tempfile.TemporaryDirectory() as scratch:
        trl_rival.grpo_trainer(
            job["model"],
            prompts_of(job),
            reward,
            Path(scratch),
            [clock],
            per_device_train_batch_size=job["micro"],
            gradient_accumulation_steps=job["prompts"] * job["samples"] // job["micro"],
            num_generations=job["samples"],
            max_completion_length=job["max_new_tokens"],
            max_steps=job["steps"],
            beta=0.04,
            learning_rate=1e-4,
            max_grad_norm=1.0,
            seed=job["seed"],
        ).train()
    return clock


def peak_mb() -> float:
    """Return the most memory that this process has held, by the kernel's count (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) / 1024


def main(words: Sequence[str]) -> None:
    """Do the job and print what it took."""
    job = json.loads(words[0])
    torch.set_num_threads(job["threads"])
    clock = (ours if job["arm"] == "ours" else theirs)(job)
    print(json.dumps({"steps": clock.steps(), "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main(sys.argv[1:])
