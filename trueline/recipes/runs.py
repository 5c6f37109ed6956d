"""Run a recipe to its end, and look at what a run left.

    run = trueline.run("sums", out="runs/first", seed=0, changes=["budget.rounds=2"])
    run.rounds[["round", "kl"]]          # a pandas frame
    run.result["gain_share"]

The run folder keeps the full recipe: `recipe.toml` repeats the run with another seed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueline.atomic import atomic_write
from trueline.data.comparisons import Comparisons
from trueline.data.principles import contrasts_of, load_principles
from trueline.data.prompts import QUESTIONS, load_probes, load_prompts, load_questions
from trueline.errors import InputError, SetupError
from trueline.loop.online import STEPS, Online
from trueline.loop.resume import State, continue_from
from trueline.loop.task import Task
from trueline.models.distributed import Workers
from trueline.models.endpoint import Endpoint
from trueline.models.engine import Engine
from trueline.models.loading import has_chat_template
from trueline.models.unfinished import Unfinished
from trueline.oversight import PROTOCOLS
from trueline.policy.sft import SFT
from trueline.progress import stage
from trueline.recipes.judges_and_helpers import HELPERS, JUDGES, from_short, open_helper, sha256_of
from trueline.recipes.schema import Recipe, read
from trueline.recipes.session import Session
from trueline.registry import name_of
from trueline.rewards.selfcheck import selfcheck
from trueline.rng import stream
from trueline.runs import RunFolder
from trueline.worlds.sums import Sums

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LoadedRun", "load_run", "make_loop", "make_task", "run"]

RECIPE = "recipe.toml"
NUM_SHOWN = 400
"""Demonstrations of the embedded world."""


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
    **session: Any,
) -> LoadedRun:
    """Run a recipe, or go on where a stopped run of it stands, and return what it left.

    Args:
        recipe: a TOML file, the name of a shipped recipe, its table, or a checked `Recipe`.
        out: run folder; runs/<time> if not given.
        seed: all randomness comes from it.
        changes: "key=value" each, applied to the recipe.
        start: run folder to go on from: its certified policy and all comparisons learned there.
        session: `device` of the models, `console` where a person is asked.
    """
    checked = recipe if isinstance(recipe, Recipe) else Recipe.of(recipe, changes=changes)
    if checked.model.path is not None:
        if checked.data.prompts is None:
            must = "data.prompts must name a file for a model of your own"
            raise InputError(must, got="none", do="give --prompts FILE")
        checked = checked.suited(chat=has_chat_template(checked.model.path))
    place = Path(out or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
    loop = make_loop(checked, seed=seed)
    # What is said and read survives a kill; it is in the checkpoints once all is done.
    unfinished = place / "unfinished"
    kept = None if checked.model.path is None else unfinished / "readings"
    session |= {"queue": place.with_name(f"{place.name}.queue"), "dtype": checked.model.dtype}
    opened = Session(model=checked.model.path, seed=seed, cache=kept, **session)
    source = None if start is None else str(start)
    config = {"verb": "run", "recipe": checked.as_toml(), "seed": seed, "from": source}
    held: list[RunFolder] = []
    once = Workers().once

    def hold() -> Path:
        held.append(RunFolder.resume(place, config))
        atomic_write(place / RECIPE, checked.as_toml())
        return place

    # Held by the main process, seen by the others; there before anything slow begins.
    made = once(hold)
    with held[0] if held else RunFolder.view(made) as folder:
        task = make_task(checked, opened, start=None if start is None else Path(start))
        loop.check(task)
        task.trunk.unfinished = Unfinished(unfinished)
        data = {**task.data_hashes, "trunk": task.trunk.fingerprint()}
        once(lambda: folder.confirm(data))
        if once(lambda: folder.result) is None:
            selfcheck(task.trunk, task.specimens())
            with stage("begin", checked.budget.rounds * len(STEPS)) as told:
                told.resume(State.rounds_of(folder) * len(STEPS))
                loop.run(task, folder, told)
            once(lambda: shutil.rmtree(unfinished, ignore_errors=True))
    return load_run(folder.folder)


def load_run(folder: str | Path) -> LoadedRun:
    """Return what a run left in `folder`, finished or not; `SetupError` where that is no run, or
    one without its recipe."""
    view = RunFolder.view(folder)
    file = view.folder / RECIPE
    if not file.is_file():
        raise SetupError(f"a run folder must hold {RECIPE}", got=f"none in {folder}")
    return LoadedRun(
        folder=view.folder, recipe=Recipe.of(read(file)), records=view.metrics(), result=view.result
    )


def make_loop(recipe: Recipe, *, seed: int) -> Online:
    """Return the loop that the recipe configures."""
    return Online(
        **asdict(recipe.budget),
        evaluate=recipe.evaluate,
        rank=recipe.model.rank,
        reward=recipe.reward,
        optimiser=recipe.policy,
        protocol=recipe.oversight,
        seed=seed,
    )


def make_task(recipe: Recipe, session: Session, *, start: Path | None = None) -> Task:
    """Return the task, with its judge and helper at work; InputError where parts do not fit.

    `start`: run folder to go on from: its certified policy and all it learned from.
    """
    data, model, hashes = recipe.data, recipe.model, dict[str, str]()
    prompts: Any = Sums().prompts
    if data.prompts is not None:
        prompts = load_prompts(data.prompts, max_words=data.prompt_words, check=session.check)
        hashes["prompts"] = sha256_of(data.prompts)
    sampler = None
    if model.engine is not None:
        named = from_short(HELPERS, f"endpoint:{model.engine}", key="model.engine")
        server = Endpoint(url=named["url"], model=named["model"], timeout_s=600.0, concurrency=32)
        sampler = Engine(endpoint=server)
    judging = recipe.judge.open(session)
    protocol = name_of(recipe.oversight, PROTOCOLS) or type(recipe.oversight).__name__
    helper, cost = open_helper(protocol, recipe.helper, session, judging.rater)
    known = list(judging.comparisons)
    if data.comparisons is not None:
        known += session.comparisons(data.comparisons)
        hashes["comparisons"] = sha256_of(data.comparisons)
    if data.principles:
        contrasts = contrasts_of(data.principles)
        known += contrasts
        hashes["principles"] = contrasts.sha256
    arms, read = _arms(recipe, session)
    taught, read_too = _demonstrations(recipe, session, own_start=start is None)
    task = Task(
        trunk=session.trunk,
        prompts=prompts,
        rater=judging.rater,
        helper=helper,
        helper_cost=cost,
        gold=judging.gold,
        breakdown=judging.breakdown,
        comparisons=Comparisons(tuple(known)),
        sampler=sampler,
        sampling=recipe.sampling,
        **arms,
        **taught,
        about={
            "model": model.path or "the embedded model",
            "world": "sums" if data.prompts is None else "your prompts",
            "rater": name_of(recipe.judge, JUDGES) or type(recipe.judge).__name__,
            "assist": protocol,
            "certificate": judging.certificate,
        },
        data_hashes={**hashes, **read, **read_too, **judging.data_hashes},
    )
    return task if start is None else continue_from(start, task)


def _demonstrations(
    recipe: Recipe, session: Session, *, own_start: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the policy learns before the first round, as fields of the task, and its hash."""
    file, sft = recipe.data.demonstrations, recipe.start or SFT()
    if file is None and recipe.start is None:
        return {}, {}
    if not own_start:
        must = "a run that goes on from another begins with that run's policy"
        raise InputError(must, got="demonstrations", do="leave them out of the recipe")
    if file is not None:
        found = {"demonstrations": session.demonstrations(file), "sft": sft}
        return found, {"demonstrations": sha256_of(file)}
    if recipe.data.prompts is not None:
        must = "data.demonstrations must name a file for prompts of your own"
        raise InputError(must, got="none", do="give one, or leave out the section start")
    shown = Sums().demonstrations(NUM_SHOWN, stream(0, "demonstrations"))
    return {"demonstrations": shown, "sft": sft}, {}


def _arms(recipe: Recipe, session: Session) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what base, asked and trained are compared by, as fields of the task, and the hashes of
    the files that were read."""
    measure, chat = recipe.evaluate, session.trunk.codec.appends_end
    found, hashes = dict[str, Any](), dict[str, str]()
    if measure.judge is not None:
        trunk, fitted = session.reward(measure.judge)
        found["judge_apart"] = fitted.on(trunk)
    if measure.refusals is not None:
        found["probes"] = load_probes(measure.refusals, check=session.check)
        hashes["refusals"] = sha256_of(measure.refusals)
    if chat:
        names = recipe.data.principles
        says = [principle.says for name in names for principle in load_principles(name)]
        questions = measure.questions or QUESTIONS
        found["asked"] = " ".join(says) or None
        found["questions"] = load_questions(questions, check=session.check)
        hashes["questions"] = sha256_of(questions)
    if measure.asked is not None:
        found["asked"] = measure.asked
    return found, hashes
