"""Where a run stands between two rounds: policies, reward, readings, budget, what was measured.

A checkpoint is a whole folder that appears at once after a round; a round that was cut short is
done again from the one before it, with the same random streams and the stored labels, and comes
to the same result. Readings are kept, not read again: the last bits of a float may depend on
which texts shared a batch.

It holds the adapters, the reward's posterior, the round's readings and what was spent. The round's
number is the position of all else: every random stream is keyed by it (`trueline.rng.stream`), and
labels in the store carry it, those of a round cut short being found there, not asked again. Nothing
else is state: an optimiser's moments live for one `improve`, and a kill amid a long one costs that
act, whose length is seconds to a few minutes, and no label.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trueline.data.comparisons import Comparisons
from trueline.loop.budget import Budget
from trueline.loop.gate import Decision
from trueline.loop.task import Task
from trueline.models.adapters import LoraPolicy
from trueline.models.reading import Readings
from trueline.models.trunk import Trunk
from trueline.rewards.protocols import Fitted
from trueline.rewards.saved import load_reward
from trueline.runs import RunFolder

__all__ = ["KNOWN", "State"]

KNOWN = "known.jsonl"
"""In the first round's checkpoint: the comparisons that were known before it."""


@dataclass
class State:
    """The working policy goes on being trained; the certified one is what the gate let through."""

    working: LoraPolicy
    certified: LoraPolicy
    certified_round: int = 0
    readings: Readings | None = None
    reward: Fitted | None = None
    spent: dict[str, int] = field(default_factory=dict)
    """Labels of the budget, by purpose."""
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start_or_resume(
        cls,
        folder: RunFolder,
        task: Task,
        budget: Budget,
        *,
        rank: int,
        rng: np.random.Generator,
    ) -> State:
        """From the last whole checkpoint of the folder, or from the beginning."""
        if cls.rounds_of(folder):
            return cls.load(folder, task.trunk, max_new_tokens=task.max_new_tokens)
        budget.check_learning(task.helper_cost)
        parts = [] if task.readings is None else [task.readings]
        read = {key for part in parts for key in part.keys}
        if unread := [r for r in task.comparisons.responses if r.key not in read]:
            parts.append(task.trunk.read(unread))
        first = task.policy or LoraPolicy.create(
            task.trunk, rank=rank, rng=rng, max_new_tokens=task.max_new_tokens
        )
        return cls(
            working=first,
            certified=first,
            readings=Readings.concat(parts) if parts else None,
            spent=dict(budget.spent),
        )

    @staticmethod
    def rounds_of(folder: RunFolder) -> int:
        """How many rounds of a run are whole."""
        done = 0
        while folder.has(f"round-{done + 1}"):
            done += 1
        return done

    @classmethod
    def load(cls, folder: RunFolder, trunk: Trunk, *, max_new_tokens: int | None = None) -> State:
        """The last whole checkpoint of a run's folder, which must have one."""
        done = cls.rounds_of(folder)
        here = folder.path(f"round-{done}")
        written = json.loads((here / "state.json").read_text())

        def policy(name: str) -> LoraPolicy:
            return LoraPolicy.load(trunk, here / name, max_new_tokens=max_new_tokens)

        working = policy("working")
        certified = working if written["certified_is_working"] else policy("certified")
        parts = [
            Readings.load(folder.path(f"round-{t}") / "readings.safetensors")
            for t in range(1, done + 1)
        ]
        return cls(
            working=working,
            certified=certified,
            certified_round=written["certified_round"],
            readings=Readings.concat(parts),
            reward=load_reward(here / "reward", trunk),
            spent=written["spent"],
            rounds=written["rounds"],
        )

    def after(
        self,
        candidate: LoraPolicy,
        decision: Decision | None,
        readings: Readings,
        reward: Fitted,
        budget: Budget,
        record: dict[str, Any],
    ) -> State:
        """Where the run stands after a round. A candidate that was not accepted goes on being
        trained without a certificate, unless it was found worse: then it is dropped."""
        accepted = decision is Decision.ACCEPT
        return State(
            working=self.certified if decision is Decision.ROLL_BACK else candidate,
            certified=candidate if accepted else self.certified,
            certified_round=len(self.rounds) + 1 if accepted else self.certified_round,
            readings=readings,
            reward=reward,
            spent=dict(budget.spent),
            rounds=[*self.rounds, record],
        )

    def stalled(self, patience: int | None) -> bool:
        """Whether so many rounds in a row have certified nothing."""
        return patience is not None and len(self.rounds) - self.certified_round >= patience

    def save(self, folder: RunFolder, fresh: Readings, known: Comparisons) -> None:
        """Log the round just done and write its checkpoint; `fresh` are its new readings, `known`
        the comparisons from before the first."""
        assert self.reward is not None and self.readings is not None
        folder.log({"kind": "round", **self.rounds[-1]})
        with folder.checkpoint(f"round-{len(self.rounds)}") as here:
            self.working.save(here / "working")
            if self.certified is not self.working:
                self.certified.save(here / "certified")
            self.reward.save(here / "reward")
            # The first round's part also holds what was known before it.
            part = self.readings if len(self.rounds) == 1 else fresh
            part.save(here / "readings.safetensors")
            if known and len(self.rounds) == 1:
                known.save(here / KNOWN)
            written = {
                "certified_is_working": self.certified is self.working,
                "certified_round": self.certified_round,
                "spent": self.spent,
                "rounds": self.rounds,
            }
            (here / "state.json").write_text(json.dumps(written, allow_nan=False))
