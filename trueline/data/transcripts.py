"""Recorded acts of judging: debates and consultancies of others, and what `trueline judge` wrote.

    {"id", "question", "answers": [text, text], "correct": 0 | 1, "human", "debate",
     "judge_final": [p, 1 - p], "rounds": [{"kind": "judge", "belief": [p, 1 - p], "text"},
                                           {"kind": "speeches", "speeches": {"0": text}}, …]}

is the form of nyu_debate (Michael et al. 2023, arXiv 2311.08702): people or GPT-4 argue about a
story that the judge has not read, and the judge states a belief before the first speeches and after
each round of them. Quotes stand between <quote> and </quote>. A row may hold its `source`, without
which no quote can be verified.

Where we differ: (1) a judge's round is the number of rounds of speeches before it, so that round 0
is the belief from question and answers alone; (2) the story, by which intervals are clustered, is
the id without its number and without punctuation ("kal-jmar" is "kaljmar"); (3) judgements made
offline, with the story at hand, are not read.

Fails with a `DataError` that names the row.

>>> turns = [Turn(speaker="judge", text="", belief=0.4)]
>>> one = RecordedVerdict(id="a-1", group="a", protocol="debate", question="q", answers=("x", "y"),
...     verdict=Verdict(preference=Preference.SECOND, rater="r", transcript=tuple(turns)))
>>> from_saved(Record("f:1", one.as_dict())) == one
True
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trueline.data.cases import label_of
from trueline.data.fields import text_in
from trueline.data.files import Record, read_records
from trueline.errors import DataError
from trueline.records import Cost, Flaw, Preference, Quote, Turn, Verdict

__all__ = ["RecordedVerdict", "from_nyu", "from_saved", "load_transcripts"]

_QUOTE = re.compile(r"<quote>(.*?)</quote>", re.DOTALL)


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
    """Which answer is the better, 0 or 1; None where nobody knows."""
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
        """Plain data that `from_saved` reads; the critiques are in it as turns."""
        row = asdict(self)
        del row["verdict"]["critiques"]
        return row


def load_transcripts(path: str | os.PathLike[str]) -> list[RecordedVerdict]:
    """The recorded judgements of a file, at least one, in its order."""
    return [
        (from_saved if "verdict" in record.fields else from_nyu)(record)
        for record in read_records(path)
    ]


def from_saved(record: Record) -> RecordedVerdict:
    """A row that `RecordedVerdict.as_dict` wrote."""
    try:
        fields = dict(record.fields)
        said = dict(fields.pop("verdict"))
        verdict = Verdict(
            preference=Preference(said.pop("preference")),
            found=tuple((side, Flaw(**flaw)) for side, flaw in said.pop("found")),
            cost=Cost(**said.pop("cost")),
            transcript=tuple(
                Turn(**{**turn, "quotes": tuple(Quote(**quote) for quote in turn["quotes"])})
                for turn in said.pop("transcript")
            ),
            **said,
        )
        first, second = fields.pop("answers")
        row = RecordedVerdict(verdict=verdict, answers=(first, second), **fields)
        _check(row)
        return row
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(
            "a recorded verdict must be as `trueline judge` wrote it",
            got=f"{record.where}: {type(error).__name__}: {error}",
        ) from None


def _check(row: RecordedVerdict) -> None:
    """ValueError where a field is of another kind than it must be."""
    turns = row.verdict.transcript
    said = [text for turn in turns for text in (turn.speaker, turn.text)]
    said += [quote.text for turn in turns for quote in turn.quotes]
    said += [row.id, row.group, row.protocol, row.speakers, row.question, row.verdict.rater]
    if not all(isinstance(text, str) for text in (*said, *row.answers, row.verdict.reason or "")):
        raise ValueError("something else where text must be")
    sides = [row.correct, *(turn.side for turn in turns)]
    if any(side not in (None, 0, 1) for side in sides):
        raise ValueError("a side that is not 0 or 1")
    cost = row.verdict.cost
    numbers = (cost.calls, cost.tokens, cost.judge_s, *(turn.round for turn in turns))
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("something else where a number must be")
    for belief in (row.verdict.belief, *(turn.belief for turn in turns)):
        if belief is not None and not 0 <= belief <= 1:
            raise ValueError(f"belief {belief}")


def from_nyu(record: Record) -> RecordedVerdict:
    """A row in the form of nyu_debate."""
    fields = record.fields
    try:
        answers = fields.get("answers")
        if not isinstance(answers, list) or len(answers) != 2:
            raise DataError("`answers` must be a list of two texts", got=repr(answers)[:40])
        first, second = (text_in({"answer": answer}, "answer") for answer in answers)
        final = _belief(fields.get("judge_final"), "judge_final")
        name = text_in(fields, "id")
        roles = fields.get("roles") or {}
        if not isinstance(roles, dict):
            raise DataError("`roles` must name who judged and who argued", got=repr(roles)[:40])
        verdict = Verdict(
            preference=_preference(final),
            rater=str(roles.get("Judge", "unknown")),
            belief=final,
            reason="the judge stated no final belief" if final is None else None,
            transcript=_turns(fields.get("rounds"), roles),
        )
        return RecordedVerdict(
            id=name,
            group=re.sub(r"[\W_]+", "", re.sub(r"-\d+$", "", name)),
            protocol="debate" if _flag(fields, "debate") else "consultancy",
            speakers="human" if _flag(fields, "human") else "AI",
            question=text_in(fields, "question"),
            answers=(first, second),
            correct=label_of(fields),
            source=text_in(fields, "source") if fields.get("source") else None,
            verdict=verdict,
        )
    except DataError as error:
        raise DataError(error.must, got=f"{record.where}: {error.got}", do=error.do) from None


def _turns(rounds: Any, roles: Mapping[str, Any]) -> tuple[Turn, ...]:
    if not isinstance(rounds, list) or not all(isinstance(entry, dict) for entry in rounds):
        raise DataError("`rounds` must be a list of objects", got=repr(rounds)[:40])
    turns: list[Turn] = []
    number = 0
    for entry in rounds:
        if entry.get("kind") == "judge":
            belief = _belief(entry.get("belief"), "belief")
            text = str(entry.get("text") or "")
            turns.append(Turn(speaker="judge", text=text, round=number, belief=belief))
        elif entry.get("kind") == "speeches":
            number += 1
            turns += _speeches(entry.get("speeches"), number, roles)
    return tuple(turns)


def _speeches(speeches: Any, number: int, roles: Mapping[str, Any]) -> list[Turn]:
    if not isinstance(speeches, dict) or not speeches.keys() <= {"0", "1"}:
        raise DataError("`speeches` must hold texts by side, 0 and 1", got=repr(speeches)[:40])
    return [
        Turn(
            speaker=str(roles.get(f"Debater {'AB'[int(side)]}", f"side {side}")),
            text=str(text),
            round=number,
            side=int(side),
            in_favour=True,
            quotes=tuple(Quote(quote, None) for quote in _QUOTE.findall(str(text))),
        )
        for side, text in sorted(speeches.items())
    ]


def _belief(value: Any, name: str) -> float | None:
    """The probability of the first answer; None where none was stated."""
    if value is None:
        return None
    numbers = isinstance(value, list) and all(isinstance(p, int | float) for p in value)
    if not numbers or len(value) != 2 or not 0 <= value[0] <= 1 or abs(sum(value) - 1) > 0.01:
        raise DataError(f"`{name}` must be two probabilities that add up", got=repr(value)[:40])
    return float(value[0])


def _preference(belief: float | None) -> Preference:
    if belief is None or belief == 0.5:
        return Preference.UNDECIDED
    return Preference.FIRST if belief > 0.5 else Preference.SECOND


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise DataError(f"`{name}` must be true or false", got=repr(value)[:40])
    return value
