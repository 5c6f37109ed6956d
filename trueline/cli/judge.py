"""`trueline judge`: pairs of answers judged with help or without.

The folder is a run folder (`trueline.runs`): metrics.jsonl holds one verdict a line, appended and
synced before the next case is begun, with its transcript and cost; result.json what they show.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from trueline import reports
from trueline.atomic import to_json
from trueline.audits.judgements import JudgedCase, by_arm, contrasts, measure, samples
from trueline.cli.common import Place
from trueline.data.cases import LabelledCase, load_cases
from trueline.errors import InputError, SetupError
from trueline.oversight import PROTOCOLS
from trueline.progress import stage
from trueline.protocols import Oversight, Rater
from trueline.recipes.judges_and_helpers import (
    HELPERS,
    JUDGES,
    from_short,
    open_helper,
    sha256_of,
    sums_cases,
)
from trueline.recipes.schema import Recipe, read
from trueline.recipes.session import Session
from trueline.rng import stream
from trueline.runs import RunFolder

__all__ = ["JudgeVerb"]


@dataclass(frozen=True, kw_only=True)
class JudgeVerb(Place):
    """Have pairs of answers judged, with help or without, and say how well that went.

    On the embedded world's own cases, and on those of a file:

        trueline judge --protocol direct critique

        trueline judge cases.jsonl --judge endpoint:http://localhost:8000/v1#small --out judged

    The same command with the same --out goes on where a stopped one stands.
    """

    goes_on = "every verdict given is kept: the same command goes on with the next case"
    cases: tyro.conf.Positional[Path | None] = None
    """Prompt, first, second (or answers, or chosen and rejected), optional source and correct:
    .jsonl, .jsonl.gz, .json, .csv or .parquet; the embedded world's if not given."""
    recipe: str | None = None
    """TOML file, or the name of a shipped recipe, whose judge, oversight and helper are used."""
    protocol: tuple[str, ...] = ()
    """How they are judged: direct, critique, debate, consultancy, recursive, constitution,
    planted_flaws; several are compared, each with the first."""
    helper: str | None = None
    """Who helps: none, sums or sums:trained (the embedded model), raised, model:PATH or
    endpoint:URL#MODEL; with the embedded world's cases sums if not given, or else none."""
    judge: str | None = None
    """Who judges: simulated[:POPULATION], rule:NAME, reward:FOLDER, people (you, at this terminal),
    model:PATH, forced_choice:PATH (a model's probabilities of A and B) or endpoint:URL#MODEL; with
    the embedded world's cases simulated if not given."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUE: change one key of the recipe, such as oversight.rounds=2; may be repeated."""
    num_cases: int = 100
    """How many cases of the embedded world."""
    both_orders: bool = False
    """Ask about every case twice, each answer shown first once; if not given the order is drawn
    for each case, the same for all protocols."""
    temperature: float | None = None
    """At which language models judge and help; 0 if not given."""
    parallel: int | None = None
    """Cases judged at the same time; if not given 8 where language models judge and help, or 1."""
    out: Path = Path("judged")
    """Folder of verdicts, result.json and report.html."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Judge what is not judged yet, measure, write the report; return the numbers."""
        queue = self.out.with_name(f"{self.out.name}.queue")
        session = self.session(console, queue=queue)
        if min(self.num_cases, 1 if self.parallel is None else self.parallel) < 1:
            raise InputError("--parallel and --num-cases must be at least 1")
        recipes = self.checked()
        at_once = self._at_once(next(iter(recipes.values())))
        arms = self._arms(recipes, session)
        if self.cases is not None:
            cases, skipped = load_cases(self.cases)
        else:
            cases, skipped = sums_cases(self.num_cases, session.load(None), seed=session.seed), {}
        asked = [
            _Asked(arm, one, number, order)
            for number, one in enumerate(cases)
            for order in self._orders(number)
            for arm in arms
        ]
        # What is wrong with the set-up shows in the first case, before there is a folder.
        with stage("judging cases", len(asked)):
            probe = None if self.out.exists() else asked[0].judge()
        with self._folder(recipes) as folder:
            if probe is not None:
                folder.log(probe.as_dict())
            rows = self._judge(asked, folder, at_once)
            if skipped:
                left = ", ".join(f"{n} {reason}" for reason, n in skipped.items())
                console.print(f"left out: {left}")
            return {**self._conclude(console, rows, folder), "skipped": skipped}

    def checked(self) -> dict[str, Recipe]:
        """Return a recipe for each protocol, its flags filled in; nothing is loaded yet."""
        own = self.cases is None
        if self.judge is None and self.recipe is None and not own:
            raise InputError("cases of one's own need a judge", got="none", do="give --judge")
        table: dict[str, Any] = {} if self.recipe is None else read(self.recipe)
        if self.judge is not None:
            table["judge"] = from_short(JUDGES, self.judge, key="judge")
        helper = table.get("oversight", {}).get("helper", {"kind": "sums" if own else "none"})
        if self.helper is not None:
            helper = from_short(HELPERS, self.helper, key="oversight.helper")
        named = table.get("oversight", {"kind": "direct"})
        names = list(dict.fromkeys(self.protocol)) or [named["kind"]]
        recipes = {}
        for name in names:
            section = named if name == named["kind"] else {"kind": name}
            changes = [change for change in self.set if _is_for(name, change, names)]
            arm = {**table, "oversight": {**section, "helper": helper}}
            recipes[name] = self._at_temperature(Recipe.of(arm, changes=changes))
        return recipes

    def _at_temperature(self, recipe: Recipe) -> Recipe:
        parts = {name: getattr(recipe, name) for name in ("judge", "helper")}
        speak = {name: part for name, part in parts.items() if hasattr(part, "temperature")}
        if self.temperature is None:
            return recipe
        if not speak:
            raise InputError("--temperature is of language models that judge or help", got="none")
        changed = {n: replace(part, temperature=self.temperature) for n, part in speak.items()}
        return replace(recipe, **changed)

    def _at_once(self, recipe: Recipe) -> int:
        most = min(getattr(part, "at_once", 1) for part in (recipe.judge, recipe.helper))
        if most == 1 < (self.parallel or 1):
            must = "judge and helper must be language models to work on several cases at once"
            raise InputError(must, got=f"--parallel {self.parallel}")
        return most if self.parallel is None else self.parallel

    def _arms(self, recipes: dict[str, Recipe], session: Session) -> list[_Arm]:
        rater = next(iter(recipes.values())).judge.open(session).rater
        arms = []
        for name, recipe in recipes.items():
            helper, _ = open_helper(name, recipe.helper, session, rater)
            arms.append(_Arm(name, recipe.oversight, helper, rater, self.seed))
        return arms

    def _judge(self, asked: Sequence[_Asked], folder: RunFolder, at_once: int) -> list[JudgedCase]:
        """Judge every case in every arm, but for what the folder holds already."""
        rows = [JudgedCase.read(line) for line in folder.metrics()]
        cases = {str(one.number): one.case for one in asked}
        if any(row.answers != _answers(cases[row.id]) for row in rows):
            raise SetupError(
                "the cases must be those that judging began with",
                got=f"others in {folder.folder}",
                do="give the same --device and --threads, or choose another --out",
            )
        done = {(row.protocol, *row.asked) for row in rows}
        todo = [one for one in asked if (one.arm.name, str(one.number), one.order) not in done]
        with stage("judging cases", len(asked)) as told:
            told.resume(len(rows))
            for row in _judged(todo, at_once):
                folder.log(row.as_dict())
                rows.append(row)
                told.advance()
        order = list(dict.fromkeys(one.arm.name for one in asked))
        return sorted(rows, key=lambda row: (order.index(row.protocol), int(row.id), row.asked))

    def _orders(self, number: int) -> tuple[int, ...]:
        """Return which answer a case is judged with as the first: one drawn by lot, or both."""
        drawn = int(stream(self.seed, "order", number).integers(2))
        return (0, 1) if self.both_orders else (drawn,)

    def _conclude(
        self, console: Console, rows: Sequence[JudgedCase], folder: RunFolder
    ) -> dict[str, Any]:
        arms = {arm: measure(some, seed=self.seed) for arm, some in by_arm(rows).items()}
        result: dict[str, Any] = {
            "verb": "judge",
            "arms": arms,
            "contrasts": contrasts(rows),
        }
        folder.finish({**result, "samples": [row.as_dict() for row in samples(rows)]})
        page = reports.write_judging(folder.folder)
        for arm, found in arms.items():
            if found["warning"]:
                console.print(f"[bold]{escape(arm)}: {escape(found['warning'])}[/]")
        console.print(_table(arms))
        for arm, found in arms.items():
            for why, count in found["failed"].items():
                console.print(f"{escape(arm)}, {count} undecided: {escape(why)}")
        warned = {arm for arm, found in arms.items() if found["warning"]}
        for name, difference in result["contrasts"].items():
            if warned & {*name.split(" - ")}:
                continue  # It would compare nothing.
            console.print(f"accuracy, {escape(name)}: {difference}")
        console.print(f"report: {page}")
        return {**jsonlib.loads(to_json(result)), "out": str(folder.folder), "report": str(page)}

    def _folder(self, recipes: dict[str, Recipe]) -> RunFolder:
        config: dict[str, Any] = {
            "verb": "judge",
            "seed": self.seed,
            "num_cases": self.num_cases,
            "both_orders": self.both_orders,
            **{f"recipe {name}": recipe.as_toml() for name, recipe in recipes.items()},
        }
        hashes = {} if self.cases is None else {"cases": sha256_of(self.cases)}
        return RunFolder.resume(self.out, config, data_hashes=hashes)


@dataclass(frozen=True)
class _Arm:
    """One protocol with its helper, before the judge of all."""

    name: str
    protocol: Oversight
    helper: Any
    rater: Rater
    seed: int


@dataclass(frozen=True)
class _Asked:
    """A case to be judged in an arm, with the answer of that number shown first."""

    arm: _Arm
    case: LabelledCase
    number: int
    order: int

    def judge(self) -> JudgedCase:
        """Judge it, by a stream of its own."""
        arm, case = self.arm, replace(self.case.case, shown_first=self.order)
        rng = stream(arm.seed, "judge", arm.name, self.number)
        return JudgedCase(
            id=str(self.number),
            group=self.case.group,
            protocol=arm.name,
            question=case.prompt.text,
            answers=_answers(self.case),
            verdict=arm.protocol.judge(case, helper=arm.helper, judge=arm.rater, rng=rng),
            correct=self.case.correct,
        )


def _judged(todo: Sequence[_Asked], parallel: int) -> Iterator[JudgedCase]:
    """Yield verdicts as they come; no new case is begun once the reader is gone."""
    if parallel == 1:
        yield from (asked.judge() for asked in todo)
        return
    pool = ThreadPoolExecutor(parallel)
    try:
        waiting = [pool.submit(asked.judge) for asked in todo]
        yield from (future.result() for future in as_completed(waiting))
    finally:
        pool.shutdown(cancel_futures=True)


def _is_for(name: str, change: str, compared: Sequence[str]) -> bool:
    """Return whether a change is of a field of this protocol, or of none of those compared."""
    section, _, rest = change.partition("=")[0].strip().partition(".")
    known = {n: {"helper", *(f.name for f in fields(PROTOCOLS[n]))} for n in PROTOCOLS}
    have = [n for n in compared if rest.partition(".")[0] in known.get(n, ())]
    return section != "oversight" or not have or name in have


def _answers(one: LabelledCase) -> tuple[str, str]:
    return one.case.first.text, one.case.second.text


def _table(arms: dict[str, dict[str, Any]]) -> RichTable:
    names = {"shown_first": "first shown", "same_answer": "same both ways"}
    names |= {"undecided": "undecided", "calibration_error": "ECE", "brier": "Brier"}
    names |= {"calls": "calls", "tokens": "tokens", "judge_s": "judge s"}
    table = RichTable(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("", "accuracy", "n", *names.values()):
        table.add_column(name)
    for arm, found in arms.items():
        right = found["accuracy"]
        values = (found[name].value for name in names)
        cells = ["" if value is None else f"{value:.3g}" for value in values]
        table.add_row(escape(arm), str(right).partition(" (n=")[0], str(right.n), *cells)
    return table
