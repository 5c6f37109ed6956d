"""Read recorded acts of judging: the public debates of NYU, and what `trueline judge` wrote.

nyu_debate (Michael et al. 2023, arXiv 2311.08702): people or GPT-4 argue about a story that the
judge has not read, and the judge states a belief before the first speeches and after each round of
them. `NyuRow` is the form; quotes stand between <quote> and </quote>. A row may hold its `source`,
without which no quote can be verified.

Where we differ: (1) a judge's round is the number of rounds of speeches before it, so that round 0
is the belief from question and answers alone; (2) the story, by which intervals are clustered, is
the id without its number and without punctuation ("kal-jmar" is "kaljmar"); (3) judgements made
offline, with the story at hand, are not read.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictBool, TypeAdapter, ValidationError

from trueline.data.files import Record, read_records
from trueline.errors import DataError
from trueline.records import Preference, Quote, Turn, Verdict

__all__ = ["RecordedVerdict", "from_nyu", "from_saved", "load_transcripts"]


@dataclass(frozen=True, kw_only=True)
class RecordedVerdict:
    """One act of judging that is over, and beside it the truth."""

    id: str
    group: str
    """What intervals are clustered by."""
    protocol: str
    question: str
    answers: tuple[str, str]
    verdict: Verdict
    correct: int | None = None
    """Which answer, 0 or 1, is the better; None where nobody knows."""
    speakers: str = ""
    """Who argued ("human", "AI"), where several kinds are compared."""
    source: str | None = None

    @property
    def arm(self) -> str:
        """What it is compared under: the protocol, with who argued."""
        return f"{self.speakers} {self.protocol}".strip()

    @property
    def right(self) -> float | None:
        """1 if the better answer was preferred, else 0; None if undecided or nobody knows."""
        sides = {Preference.FIRST: 0, Preference.SECOND: 1}
        side = sides.get(self.verdict.preference)
        return None if side is None or self.correct is None else float(side == self.correct)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that `from_saved` reads; the critiques are in it as turns."""
        row = asdict(self)
        del row["verdict"]["critiques"]
        return row


def load_transcripts(path: str | os.PathLike[str]) -> list[RecordedVerdict]:
    """Return the recorded judgements of a file, at least one, in its order."""
    return [
        (from_saved if "verdict" in record.fields else from_nyu)(record)
        for record in read_records(path)
    ]


def from_saved(record: Record) -> RecordedVerdict:
    """Return a row that `RecordedVerdict.as_dict` wrote; `DataError` where it is none."""
    row: RecordedVerdict = _read(_SAVED, record)
    turns = row.verdict.transcript
    beliefs = [row.verdict.belief, *(turn.belief for turn in turns)]
    sides = [row.correct, *(turn.side for turn in turns), *(side for side, _ in row.verdict.found)]
    if any(belief is not None and not 0 <= belief <= 1 for belief in beliefs):
        raise DataError("a belief must lie between 0 and 1", got=record.where)
    if not {0, 1, None}.issuperset(sides):
        raise DataError("a side must be 0 or 1", got=record.where)
    return row


def _adds_up(belief: tuple[float, float]) -> tuple[float, float]:
    if abs(sum(belief) - 1) > 0.01:
        raise ValueError("the two probabilities must add up to 1")
    return belief


_Probability = Annotated[float, Field(ge=0, le=1)]
_Belief = Annotated[tuple[_Probability, _Probability], AfterValidator(_adds_up)]


class NyuRound(BaseModel):
    """The judge's belief, both sides' speeches, or a kind that is not read."""

    kind: str
    belief: _Belief | None = None
    text: str | None = None
    speeches: dict[Literal["0", "1"], str] = {}


class NyuRow(BaseModel):
    """A row of nyu_debate."""

    id: str
    question: str
    answers: tuple[str, str]
    correct: Literal[0, 1] | None = None
    human: StrictBool
    debate: StrictBool
    judge_final: _Belief | None = None
    rounds: list[NyuRound]
    roles: dict[str, str] | None = None
    source: str | None = None


_SAVED, _NYU = TypeAdapter(RecordedVerdict), TypeAdapter(NyuRow)


def from_nyu(record: Record) -> RecordedVerdict:
    """Return a row in the form of nyu_debate; `DataError` where it is none."""
    row: NyuRow = _read(_NYU, record)
    final = None if row.judge_final is None else row.judge_final[0]
    decided = final not in (None, 0.5)
    preferred = Preference.FIRST if (final or 0) > 0.5 else Preference.SECOND
    verdict = Verdict(
        preference=preferred if decided else Preference.UNDECIDED,
        rater=(row.roles or {}).get("Judge", "unknown"),
        belief=final,
        reason="the judge stated no final belief" if final is None else None,
        transcript=_turns(row),
    )
    return RecordedVerdict(
        id=row.id,
        group=re.sub(r"[\W_]+", "", re.sub(r"-\d+$", "", row.id)),
        protocol="debate" if row.debate else "consultancy",
        speakers="human" if row.human else "AI",
        question=row.question,
        answers=row.answers,
        correct=row.correct,
        source=row.source,
        verdict=verdict,
    )


def _turns(row: NyuRow) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    number = 0
    for entry in row.rounds:
        if entry.kind == "judge":
            belief = None if entry.belief is None else entry.belief[0]
            turns.append(Turn(speaker="judge", text=entry.text or "", round=number, belief=belief))
        elif entry.kind == "speeches":
            number += 1
            turns += [_speech(row, side, number, entry.speeches[side]) for side in entry.speeches]
    return tuple(turns)


def _speech(row: NyuRow, side: Literal["0", "1"], number: int, text: str) -> Turn:
    name = "Debater A" if side == "0" else "Debater B"
    quotes = re.findall(r"<quote>(.*?)</quote>", text, re.DOTALL)
    return Turn(
        speaker=(row.roles or {}).get(name, f"side {side}"),
        text=text,
        round=number,
        side=int(side),
        in_favour=True,
        quotes=tuple(Quote(quote, None) for quote in quotes),
    )


def _read(form: TypeAdapter[Any], record: Record) -> Any:
    """Validate a row; the first fault is said in one line."""
    try:
        return form.validate_python(record.fields)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        raise DataError(
            "a transcript must be as nyu_debate or `trueline judge` wrote it",
            got=f"{record.where}: `{field}`: {fault['msg']}",
        ) from None
