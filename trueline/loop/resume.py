"""Where a run stands between two rounds, and how it is gone on with.

A checkpoint is a whole folder that appears at once after a round. A round that was cut short is
done again from the one before it, with the same random streams, the stored labels and what its
steps had done (`models.unfinished`), and comes to the same result. Readings are kept, not read
again: the last bits of a float may depend on which texts shared a batch.

A new run can start from another (`continue_from`): from the policy certified there, and with every
comparison learned from. Alpha is each run's own, the new one's first gate tests against the policy
taken over, and the chance that any accepted step of both was none is at most the sum of the two.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from trueline.data.comparisons import Comparisons
from trueline.data.store import LabelStore
from trueline.errors import SetupError
from trueline.loop.gate import Decision
from trueline.loop.labels import Budget, Labels
from trueline.loop.layers import choose_layers, read_for
from trueline.loop.task import Task
from trueline.models.adapters import LoraPolicy
from trueline.models.reading import Readings
from trueline.models.rollouts import Sampling
from trueline.models.trunk import Trunk
from trueline.records import Comparison
from trueline.rewards.protocols import Fitted, Head, load_reward
from trueline.rng import Rng
from trueline.runs import RunFolder

__all__ = ["State", "certified_of", "continue_from"]

_KNOWN = "known.jsonl"
"""In the first round's checkpoint: the comparisons that were known before it."""
_START = "start"
"""The checkpoint of the policy that demonstrations have taught, before the first round."""


@dataclass
class State:
    """The working policy goes on being trained; the certified one is what the gate let through."""

    working: LoraPolicy
    certified: LoraPolicy
    certified_round: int = 0
    readings: Readings | None = None
    reward: Fitted | None = None
    start: LoraPolicy | None = None
    """The policy after the demonstrations, where there were any."""
    taught: dict[str, float] = field(default_factory=dict)
    """How it learned from them."""
    spent: dict[str, int] = field(default_factory=dict)
    """Labels of the budget, by purpose."""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """What each round recorded."""

    @classmethod
    def start_or_resume(
        cls, folder: RunFolder, task: Task, budget: Budget, head: Head, rank: int, *, rng: Rng
    ) -> State:
        """Return the last whole checkpoint's state, or that before the first round."""
        if cls.rounds_of(folder):
            return cls.load(folder, task.trunk, sampling=task.sampling)
        budget.pay_helpers(task.helper_cost)
        readings, known = task.readings, task.comparisons
        if readings is None and known:
            readings, _ = read_for(head, task.trunk, known, rng=rng)
        read = set() if readings is None else set(readings.keys)
        unread = [r for r in known.responses if r.key not in read]
        if readings is not None and unread:
            more = task.trunk.read(unread, layers=readings.layers)
            readings = Readings.concat([readings, more])
        how: Any = {"rng": rng, "sampling": task.sampling}
        new = task.policy or LoraPolicy.create(task.trunk, rank=rank, **how)
        if task.demonstrations and not folder.path(_START).is_dir():
            taught = task.sft.fit(new, task.demonstrations, rng=rng)
            task.trunk.workers.once(partial(_save_start, folder, *taught))
        start = _start_of(folder, task.trunk, task.sampling)
        new = start.get("start", new)
        return cls(new, new, readings=readings, spent=dict(budget.spent), **start)

    @staticmethod
    def rounds_of(folder: RunFolder) -> int:
        """Return how many rounds of a run are whole."""
        done = 0
        while folder.path(f"round-{done + 1}").is_dir():
            done += 1
        return done

    @classmethod
    def load(cls, folder: RunFolder, trunk: Trunk, *, sampling: Sampling | None = None) -> State:
        """Return the state of a run's last whole checkpoint, which must be there; `SetupError`
        where a part of it cannot be read."""
        done = cls.rounds_of(folder)
        here = folder.path(f"round-{done}")
        try:
            return cls._load(folder, trunk, sampling, done, here)
        except (OSError, ValueError, TypeError, LookupError, SafetensorError, SetupError) as error:
            before = f"round {done - 1}" if done > 1 else "the beginning"
            raise SetupError(
                "a checkpoint must be whole to be gone on from",
                got=f"{here} ({' '.join(str(error).split())[:200]})",
                do=f"remove that folder, and the same command goes on from {before}",
            ) from error

    @classmethod
    def _load(
        cls, folder: RunFolder, trunk: Trunk, sampling: Sampling | None, done: int, here: Path
    ) -> State:
        written = json.loads((here / "state.json").read_text())
        kept = [place for name in ("working", "certified") if (place := here / name).is_dir()]
        policies = [LoraPolicy.load(trunk, place, sampling=sampling) for place in kept]
        places = [folder.path(f"round-{t}") / "readings.safetensors" for t in range(1, done + 1)]
        parts = [Readings.load(place) for place in places]
        return cls(
            working=policies[0],
            certified=policies[-1],
            # Layers become fewer once there are enough comparisons to choose by.
            readings=Readings.concat([part.at(parts[-1].layers) for part in parts]),
            reward=load_reward(here / "reward", trunk),
            **_start_of(folder, trunk, sampling),
            **written,
        )

    @property
    def layers(self) -> tuple[int, ...] | None:
        """Layers at which answers are read; None before the first: all."""
        return None if self.readings is None else self.readings.layers

    def readings_with(
        self, fresh: Readings, head: Head, comparisons: Comparisons, *, rng: Rng
    ) -> Readings:
        """Return all readings with fresh ones, at the layers that `head` needs of them."""
        joined = Readings.concat([self.readings, fresh] if self.readings else [fresh])
        return joined.at(choose_layers(head, joined, comparisons, rng=rng))

    def judged(self, candidate: LoraPolicy, decision: Decision | None) -> State:
        """Return the state with what the gate decided of a candidate. One that was not accepted
        goes on being trained without a certificate, unless it was found worse and is dropped."""
        if decision is Decision.ROLL_BACK:
            return replace(self, working=self.certified)
        state = replace(self, working=candidate)
        if decision is Decision.ACCEPT:
            state.certified, state.certified_round = candidate, len(self.rounds) + 1
        return state

    def restart_metrics(self, folder: RunFolder, labels: Labels, gold_base: Any) -> None:
        """Drop the records of a round that was cut short; begin with the base policy's gold.
        `SetupError` where the store or the log holds less than the rounds that were done."""
        taken = Counter[str]()
        for row in self.rounds:
            taken.update(row["labels"])
        kept = labels.store.spent()
        logged = sum(row["kind"] == "round" for row in folder.metrics())
        lacks = [f"{kept[p]} of {taken[p]} labels '{p}'" for p in kept if kept[p] < taken[p]]
        if logged < len(self.rounds):
            lacks.append(f"{logged} of {len(self.rounds)} rounds in metrics.jsonl")
        if lacks:
            raise SetupError(
                "a run goes on only where the labels and records of its rounds are kept",
                got=f"{', '.join(lacks)} in {folder.folder}",
                do="restore labels.sqlite and metrics.jsonl, or choose another --out",
            )
        done = len(self.rounds)
        folder.rewrite_metrics(lambda row: row["round"] < done + bool(done))
        if not done:
            folder.log({"kind": "base", "round": 0, "gold_base": gold_base})

    def save(self, folder: RunFolder, fresh: Readings, known: Comparisons) -> None:
        """Log the round just done and write its checkpoint, of whose answers `fresh` are the new
        readings and `known` the comparisons from before the first."""
        assert self.reward is not None and self.readings is not None
        folder.log({"kind": "round", **self.rounds[-1]})
        with folder.checkpoint(f"round-{len(self.rounds)}") as here:
            self.working.save(here / "working")
            if self.certified is not self.working:
                self.certified.save(here / "certified")
            self.reward.save(here / "reward")
            # The first round's part also holds what was known before it.
            part = self.readings if len(self.rounds) == 1 else fresh.at(self.readings.layers)
            part.save(here / "readings.safetensors")
            if known and len(self.rounds) == 1:
                known.save(here / _KNOWN)
            names = ("certified_round", "spent", "rounds")
            written = json.dumps({name: getattr(self, name) for name in names}, allow_nan=False)
            (here / "state.json").write_text(written)
        if (unfinished := self.working.trunk.unfinished) is not None:
            unfinished.drop("steps")


def _save_start(folder: RunFolder, policy: LoraPolicy, taught: dict[str, float]) -> None:
    with folder.checkpoint(_START) as here:
        policy.save(here / "policy")
        (here / "taught.json").write_text(json.dumps(taught, allow_nan=False))
    if (unfinished := policy.trunk.unfinished) is not None:
        unfinished.drop("steps")


def _start_of(folder: RunFolder, trunk: Trunk, sampling: Sampling | None) -> dict[str, Any]:
    """Return the fields `start` and `taught` of a run that began with demonstrations."""
    here = folder.path(_START)
    if not here.is_dir():
        return {}
    taught = json.loads((here / "taught.json").read_text())
    return {"start": LoraPolicy.load(trunk, here / "policy", sampling=sampling), "taught": taught}


def certified_of(run: str | Path) -> tuple[RunFolder, Path]:
    """Return a run, to be read only, and its last checkpoint; SetupError where it has none."""
    folder = RunFolder.view(run)
    done, labels = State.rounds_of(folder), folder.folder / "labels.sqlite"
    if not done or not labels.is_file():
        raise SetupError(
            "a run must have done a whole round for its policy to be used",
            got=f"no checkpoint in {run}",
            do="let it finish a round, or name another run",
        )
    return folder, folder.path(f"round-{done}")


def continue_from(run: str | Path, task: Task) -> Task:
    """Return the task with what another run of the same trunk has certified and learned."""
    folder, checkpoint = certified_of(run)
    state = State.load(folder, task.trunk, sampling=task.sampling)
    learned = task.trunk.workers.once(lambda: _learned(folder, len(state.rounds)))
    name, held = folder.folder.name, state.certified_round
    against = f"the policy that run {name} certified in its round {held}" if held else "the base"
    certificate = f"{task.about.get('certificate', 'better')}; at first than {against}"
    hashes = {"source": _sha256(checkpoint), "source_comparisons": Comparisons(learned).sha256}
    return replace(
        task,
        policy=state.certified,
        comparisons=Comparisons((*learned, *task.comparisons)),
        readings=state.readings,
        about={**task.about, "certificate": certificate, "source": name},
        data_hashes={**task.data_hashes, **hashes},
    )


def _learned(folder: RunFolder, done: int) -> tuple[Comparison, ...]:
    """What that run knew before its first round and learned since; all known beforehand now."""
    before = folder.path("round-1") / _KNOWN
    known = Comparisons.load(before).rows if before.exists() else ()
    with LabelStore(folder.folder / "labels.sqlite") as store:
        asked = store.comparisons(last_round=done).rows
    return tuple(replace(row, round=0) for row in (*known, *asked))


def _sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
