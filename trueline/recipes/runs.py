"""Run a recipe to its end, and look at what a run left.

    run = trueline.run("sums", out="runs/first", seed=0, changes=["budget.rounds=2"])
    run.rounds[["round", "kl"]]          # a pandas frame
    run.result["gain_share"]

The run folder keeps the full recipe: `recipe.toml` repeats the run with another seed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueline.atomic import atomic_write
from trueline.errors import SetupError
from trueline.loop.progress import Bar
from trueline.loop.task import Task
from trueline.recipes.schema import Recipe, read
from trueline.recipes.session import Session
from trueline.recipes.task import make_loop, make_task
from trueline.rewards.selfcheck import selfcheck
from trueline.runs import RunFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LoadedRun", "execute", "load_run", "run"]

RECIPE = "recipe.toml"


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """What a run left in its folder."""

    folder: Path
    recipe: Recipe
    records: Sequence[Mapping[str, Any]]
    """One record a round, as logged."""
    result: Mapping[str, Any] | None
    """What the whole run came to; None while it is not finished."""

    @property
    def rounds(self) -> pd.DataFrame:
        """One row a round; nested records become dotted columns."""
        import pandas as pd

        rounds = [row for row in self.records if row.get("kind") == "round"]
        return pd.json_normalize(rounds)


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    changes: Sequence[str] = (),
    start: str | Path | None = None,
    device: str = "cpu",
) -> LoadedRun:
    """Run a recipe, or go on where a stopped run of it stands, and return what it left.

    Args:
        recipe: a TOML file, the name of a shipped recipe, its table, or a checked `Recipe`.
        out: run folder; runs/<time> if not given.
        seed: all randomness comes from it.
        changes: "key=value" each, applied to the recipe.
        start: run folder to go on from: its certified policy and all comparisons learned there.
        device: where the models run.

    Raises:
        InputError: the recipe does not hold; nothing has been loaded then.

    >>> run("sums", out="runs/first", changes=["budget.rounds=1"])  # doctest: +SKIP
    """
    checked = recipe if isinstance(recipe, Recipe) else Recipe.of(recipe, changes=changes)
    place = Path(out or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
    session = Session(
        model=checked.model.path,
        seed=seed,
        device=device,
        queue=place.with_name(f"{place.name}.queue"),
        max_new_tokens=checked.model.max_new_tokens,
    )
    execute(checked, session, place, start=None if start is None else Path(start))
    return load_run(place)


def execute(
    recipe: Recipe,
    session: Session,
    place: Path,
    *,
    start: Path | None = None,
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Run or resume a checked recipe in the folder `place`; return the result object."""
    loop = make_loop(recipe, seed=session.seed)
    task = make_task(recipe, session, start=start)
    loop.check(task)
    workers = task.trunk.workers
    with _folder(recipe, task, session, place, start) as folder:
        result: dict[str, Any] | None = workers.once(lambda: folder.result)
        if result is None:
            selfcheck(task.trunk, task.specimens())
            with bar or Bar(recipe.budget.rounds) as shown:
                result = loop.run(task, folder, shown)
    return result


def load_run(folder: str | Path) -> LoadedRun:
    """Return what a run left in `folder`, finished or not.

    Raises:
        SetupError: the folder holds no run, or one without its recipe.
    """
    view = RunFolder.view(folder)
    file = view.folder / RECIPE
    if not file.is_file():
        raise SetupError(f"a run folder must hold {RECIPE}", got=f"none in {folder}")
    return LoadedRun(
        folder=view.folder,
        recipe=Recipe.of(read(file)),
        records=view.metrics(),
        result=view.result,
    )


def _folder(
    recipe: Recipe, task: Task, session: Session, place: Path, start: Path | None
) -> RunFolder:
    """The run's folder: held by the main process, seen by the others."""
    config = {
        "verb": "run",
        "recipe": recipe.as_toml(),
        "seed": session.seed,
        "from": None if start is None else str(start),
        "trunk": task.trunk.fingerprint(),
    }
    held: list[RunFolder] = []

    def hold() -> Path:
        held.append(RunFolder.resume(place, config, data_hashes=task.data_hashes))
        if not (place / RECIPE).exists():
            atomic_write(place / RECIPE, recipe.as_toml())
        return place

    shown = task.trunk.workers.once(hold)
    return held[0] if held else RunFolder.view(shown)
