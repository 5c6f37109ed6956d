"""A run goes on from another: from the policy certified there, and all that was learned of people.

    task = continue_from("runs/first", task);  Online(...).run(task, folder, reporter)

Taken over: the last certified policy (never a later one without certificate: what nobody vouched
for is no place to start from), every comparison learned from, and the readings of its answers. New
are the reward, the raters, their help, the optimiser and the budget. What the other run's gates
were told stays unlearned, and prompts keep their purposes, which are those of their hashes.

The certificates of the two runs are apart: alpha is each run's own, the new one's first gate tests
against the policy taken over, and the chance that any accepted step of both was none is at most the
sum of their alphas.

The other run is read only while the new one is made or gone on with, and must then be as it was: it
goes into the run folder by its hash. Afterwards the new run stands alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from trueline.data.comparisons import Comparisons
from trueline.data.store import LabelStore
from trueline.errors import SetupError
from trueline.loop.state import KNOWN, State
from trueline.loop.task import Task
from trueline.records import Comparison
from trueline.runs import RunFolder

__all__ = ["certified_of", "continue_from"]


def certified_of(run: str | Path) -> tuple[RunFolder, Path]:
    """A run, to be read only, and the last checkpoint in it; SetupError where it has none."""
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
    """The task with what another run of the same trunk has certified and learned."""
    folder, checkpoint = certified_of(run)
    state = State.load(folder, task.trunk, max_new_tokens=task.max_new_tokens)
    learned = task.trunk.workers.once(lambda: _learned(folder, len(state.rounds)))
    known = Comparisons((*learned, *task.comparisons), ties=task.comparisons.ties)
    name, held = folder.folder.name, state.certified_round
    against = f"the policy that run {name} certified in its round {held}" if held else "the base"
    hashes = {"source": _sha256(checkpoint), "source_comparisons": Comparisons(learned).sha256}
    about = {"certificate": f"{task.about.get('certificate', 'better')}; at first than {against}"}
    return replace(
        task,
        policy=state.certified,
        comparisons=known,
        readings=state.readings,
        about={**task.about, **about, "source": name},
        data_hashes={**task.data_hashes, **hashes},
    )


def _learned(folder: RunFolder, done: int) -> tuple[Comparison, ...]:
    """What that run knew before its first round and was told since; all known beforehand now."""
    before = folder.path("round-1") / KNOWN
    known = Comparisons.load(before).rows if before.exists() else ()
    with LabelStore(folder.folder / "labels.sqlite") as store:
        told = store.comparisons(last_round=done).rows
    return tuple(replace(row, round=0) for row in (*known, *told))


def _sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
