"""Read a run folder as typed records with nothing invented.

What is absent or null is None, or an `Estimate` whose value is None, which every table prints as
"not measured"; a value of the wrong kind is an error that names its place. An unfinished run is
read from the rows of kind "round" in metrics.jsonl, where the later of two for one round counts;
without a lock, so that a run can be looked at while it works.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from trueline.errors import SetupError
from trueline.records import Estimate
from trueline.runs import RunFolder
from trueline.stats.resampling import wilson

__all__ = ["MISSING", "BinRecord", "Measured", "Record", "RoundRecord", "RunRecord"]
__all__ += ["bare", "parse", "read_run"]


def bare(value: float | None) -> Estimate:
    """Return a number without an interval."""
    return Estimate(value, None, None, 0)


MISSING = bare(None)
"""What was not measured."""
Measured = Annotated[
    Estimate, BeforeValidator(lambda raw: bare(raw) if isinstance(raw, float | int | None) else raw)
]
"""An `Estimate.as_dict`, a bare number, or nothing."""


class Record(BaseModel):
    """A frozen record; what is null, and names that are not known here, are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _present(cls, raw: Any) -> Any:
        known = isinstance(raw, Mapping)
        return {name: v for name, v in raw.items() if v is not None} if known else raw


class GateRecord(Record):
    """What the gate measured in one round; `decision` is None where no gate was held."""

    decision: str | None = None
    e_value: float | None = None
    e_value_worse: float | None = None
    threshold: float | None = None
    labels: int | None = None
    win_rate: Measured = MISSING
    win_rate_at_equal_length: Measured = MISSING


class BinRecord(Record):
    """One bin of a reliability diagram: shares in [0, 1]."""

    predicted: float
    observed: float
    lower: float | None = None
    upper: float | None = None
    n: int = 0

    @property
    def share(self) -> Estimate:
        """The observed share with its interval."""
        return Estimate(self.observed, self.lower, self.upper, self.n)


class CalibrationRecord(Record):
    """How a round's reward predicted comparisons that it had not learned from."""

    bins: tuple[BinRecord, ...] = ()


class RoundRecord(Record):
    """One round of the loop, under the names of metrics.jsonl."""

    round: int
    gold: Measured = MISSING
    proxy: Measured = MISSING
    kl: Measured = MISSING
    uncertainty: Measured = MISSING
    novelty: Measured = MISSING
    length: Measured = MISSING
    accuracy: Measured = MISSING
    rater_gold_agreement: Measured = MISSING
    gate: GateRecord = GateRecord()
    labels: dict[str, int] = {}
    reward: dict[str, Any] = {}
    calibration: CalibrationRecord = CalibrationRecord()
    gold_breakdown: dict[str, float] = {}
    """Share of answers that are right, flatter, ...; empty where gold is unknown."""
    stopped: str | None = None
    """Why the policy was improved less than asked."""
    notes: tuple[str, ...] = ()
    """What was told of the round while it ran."""

    @property
    def breakdown(self) -> dict[str, Estimate]:
        """The shares with their intervals."""
        return _shares(self.gold_breakdown, self.gold.n)


class AnswerRecord(Record):
    """One sampled answer with what gold and the reward say of it."""

    text: str = ""
    gold: float | None = None
    mean: float | None = None
    std: float | None = None


class SampleRecord(Record):
    """The same prompt answered before and after."""

    prompt: str = ""
    before: AnswerRecord = AnswerRecord()
    after: AnswerRecord = AnswerRecord()


class SupervisedRecord(Record):
    """The policy after the demonstrations, before the first round."""

    demonstrations: float | None = None
    loss_first: float | None = None
    loss_last: float | None = None
    gold: Measured = MISSING
    proxy: Measured = MISSING
    kl: Measured = MISSING


class ModelArmRecord(Record):
    """The base model, the model merely asked, or the trained policy."""

    score: Measured = MISSING
    wins: dict[str, Measured] = {}
    """Share of pairs of answers in which this arm's scores higher, by the other arm."""
    kl: Measured = MISSING
    length: Measured = MISSING
    refusals: dict[str, Measured] = {}
    """Of prompts that only look harmful ("safe"), and of harmful ones."""
    skill: Measured = MISSING
    """Share of simple questions answered right."""
    skill_lost: Measured = MISSING
    """That of the base model less this arm's."""
    perplexity: Measured = MISSING
    """Of the right answers to those questions."""


class ModelArmsRecord(Record):
    """The arms of a run on a chat model, side by side."""

    judge: str = "reward"
    """Who scored them: "apart", a reward that the run never saw, or the run's own."""
    asked_with: str | None = None
    prompts: int = 0
    arms: dict[str, ModelArmRecord] = {}


class RunRecord(Record):
    """One run folder, finished or not."""

    path: Path
    finished: bool
    version: Literal[1] = Field(1, alias="schema")
    config: dict[str, Any]
    """What was asked: the keys of the recipe, joined by dots, with seed and the like."""
    environment: dict[str, Any]
    model: str | None = None
    world: str | None = None
    rater: str | None = None
    assist: str | None = None
    certificate: str | None = None
    """What the gate's comparisons tested."""
    rounds: tuple[RoundRecord, ...] = ()
    gold_base: Measured = MISSING
    gold_final: Measured = MISSING
    """Of the last certified policy, also for an unfinished run."""
    gold_oracle: Measured = MISSING
    gain_share: Measured = MISSING
    gold_breakdown_base: dict[str, float] = {}
    certified_round: int = 0
    """The round that made the last certified policy; 0 is the base policy."""
    labels: dict[str, int] = {}
    labels_used: int | None = None
    judge_s: dict[str, float] = {}
    """Seconds of whoever judged, by purpose."""
    best_of_n: dict[str, tuple[Measured, ...]] = {}
    """Sizes n, and gold of the best of n by gold, by the reward's mean and by its lower bound."""
    samples: tuple[SampleRecord, ...] = ()
    supervised: SupervisedRecord = SupervisedRecord()
    arms: ModelArmsRecord = ModelArmsRecord()
    wall_s: float | None = None
    unspent: float | None = None
    """Labels left of the budget of a finished run."""

    @property
    def judge(self) -> str | None:
        """The kind of whoever judged; a rule's own value is the gold of its run."""
        return self.rater or self.config.get("judge.kind")

    @property
    def taught(self) -> bool:
        """Whether its first policy is one that demonstrations taught."""
        return any(name.startswith(("start.", "data.demonstrations")) for name in self.config)

    @property
    def begun(self) -> bool:
        """Whether its first policy is not the base: it goes on from another run, or was taught."""
        return self.taught or bool(self.config.get("from"))

    @property
    def planned_rounds(self) -> int:
        """Rounds asked for; those that were done where the configuration does not say."""
        return int(self.config.get("budget.rounds") or len(self.rounds))

    @property
    def accepted(self) -> list[int]:
        """The rounds that the gate certified."""
        return [r.round for r in self.rounds if r.gate.decision == "accept"]

    @property
    def breakdown_base(self) -> dict[str, Estimate]:
        """The base policy's shares with their intervals."""
        return _shares(self.gold_breakdown_base, self.gold_base.n)


def read_run(path: str | Path) -> RunRecord:
    """Return the run at `path`; `SetupError` on what is no run folder or of another version."""
    run = parse(RunRecord, RunFolder.view(path))
    return run if run.finished else _certified_so_far(run)


Kind = TypeVar("Kind", bound=Record)


def parse(kind: type[Kind], folder: RunFolder) -> Kind:
    """Return what a folder holds as a record; `SetupError` in one line where it is wrong."""
    result = folder.result
    config = {name: value for name, value in folder.config.items() if name != "recipe"}
    try:
        raw = _progress(folder.metrics()) if result is None else result
        recipe = _flat(tomllib.loads(str(folder.config.get("recipe", ""))))
        facts = {"path": folder.folder, "environment": folder.environment}
        facts |= {"config": {**recipe, **config}, "finished": result is not None}
        return kind.model_validate({**raw, **facts})
    except ValueError as error:
        said = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            said = f"{place}: {first['msg']} ({str(first['input'])[:60]!r})"
        raise SetupError(
            "a run's record must be whole",
            got=f"{said} in {folder.folder}",
            do="restore its files, run it again, or use the version of trueline that wrote it",
        ) from None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def _progress(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what metrics.jsonl knows of a run that has not written its result yet."""
    rounds = {row.get("round"): row for row in rows if row.get("kind") == "round"}
    base = {k: v for row in rows for k, v in row.items() if k == "gold_base"}
    return {**base, "rounds": list(rounds.values())}


def _certified_so_far(run: RunRecord) -> RunRecord:
    """Fill in what an unfinished run has certified and spent so far."""
    labels = Counter[str]()
    for one in run.rounds:
        labels.update(one.labels)
    gold = {0: MISSING if run.begun else run.gold_base}
    gold |= {r.round: r.gold for r in run.rounds}
    last = max(run.accepted, default=0)
    changes = {"certified_round": last, "gold_final": gold[last], "labels": dict(labels)}
    return run.model_copy(update={**changes, "labels_used": labels.total()})


def _shares(shares: Mapping[str, float], n: int) -> dict[str, Estimate]:
    return {name: wilson(value * n, n) for name, value in shares.items() if n}
