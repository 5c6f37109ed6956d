"""Read recorded acts of judging: the public debates of NYU, and what `trueline judge` wrote.

nyu_debate (Michael et al. 2023, arXiv 2311.08702): people or GPT-4 argue about a story that the
judge has not read, and the judge states a belief before the first speeches and after each round.
Quotes stand between <quote> and </quote>; a row may hold the `source` to verify them in.

Where we differ: (1) a judge's round is the number of rounds of speeches before it, so that round 0
is the belief from question and answers alone; (2) the story, by which intervals are clustered, is
the id without its number and punctuation; (3) judgements made offline, story at hand, are not read.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, TypeAdapter, ValidationError

from trueline.data.files import FileRecord, read_records
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
        if self.correct is None or self.verdict.preference is Preference.UNDECIDED:
            return None
        return float((self.verdict.preference is Preference.SECOND) == bool(self.correct))

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


def from_saved(record: FileRecord) -> RecordedVerdict:
    """Return a row that `RecordedVerdict.as_dict` wrote; `DataError` where it is none."""
    row: RecordedVerdict = _read(_SAVED, record)
    turns = row.verdict.transcript
    beliefs = [row.verdict.belief, *(turn.belief for turn in turns)]
    sides = [row.correct, *(turn.side for turn in turns), *(side for side, _ in row.verdict.found)]
    if not all(b is None or 0 <= b <= 1 for b in beliefs) or not {0, 1, None}.issuperset(sides):
        raise DataError("beliefs must lie in 0..1 and sides be 0 or 1", got=record.where)
    return row


_QUOTE = re.compile(r"(?s)<quote>(.*?)</quote>")
_Probability = Annotated[float, Field(ge=0, le=1)]
_Belief = tuple[_Probability, _Probability] | None


class NyuRound(BaseModel):
    """The judge's belief, both sides' speeches, or a kind that is not read."""

    kind: str
    belief: _Belief = None
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
    judge_final: _Belief = None
    rounds: list[NyuRound]
    roles: dict[str, str] | None = None
    source: str | None = None


_SAVED, _NYU = TypeAdapter(RecordedVerdict), TypeAdapter(NyuRow)


def from_nyu(record: FileRecord) -> RecordedVerdict:
    """Return a row in the form of nyu_debate; `DataError` where it is none."""
    row: NyuRow = _read(_NYU, record)
    final = _first(row.judge_final, record)
    preferred = Preference.FIRST if (final or 0) > 0.5 else Preference.SECOND
    verdict = Verdict(
        preference=Preference.UNDECIDED if final in (None, 0.5) else preferred,
        rater=(row.roles or {}).get("Judge", "unknown"),
        belief=final,
        reason="the judge stated no final belief" if final is None else None,
        transcript=_turns(row, record),
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


def _turns(row: NyuRow, record: FileRecord) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    number, roles = 0, row.roles or {}
    for entry in row.rounds:
        if entry.kind == "judge":
            belief, text = _first(entry.belief, record), entry.text or ""
            turns.append(Turn(speaker="judge", text=text, round=number, belief=belief))
        number += entry.kind == "speeches"
        for side, text in entry.speeches.items():
            name = roles.get(f"Debater {'AB'[int(side)]}", f"side {side}")
            quotes = tuple(map(Quote, _QUOTE.findall(text)))
            turn = Turn(speaker=name, text=text, round=number, side=int(side), quotes=quotes)
            turns.append(replace(turn, in_favour=True))
    return tuple(turns)


def _first(belief: tuple[float, float] | None, record: FileRecord) -> float | None:
    if belief is not None and abs(sum(belief) - 1) > 0.01:
        raise DataError("two probabilities must add up to 1", got=f"{record.where}: {belief}")
    return None if belief is None else belief[0]


def _read(form: TypeAdapter[Any], record: FileRecord) -> Any:
    """Validate a row; the first fault is said in one line."""
    try:
        return form.validate_python(record.fields)
    except ValidationError as error:
        fault = error.errors()[0]
        got = f"{record.where}: `{'.'.join(map(str, fault['loc']))}`: {fault['msg']}"
        must = "a transcript must be as nyu_debate or `trueline judge` wrote it"
        raise DataError(must, got=got) from None
