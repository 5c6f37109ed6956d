r"""Turn a row of a file into preferences, ties, a response to be scored, or a prompt.

The forms, in the order in which `FORMS` tries them (`columns` has the names):

    two answers, each in its column      with annotator1, … (0 tie, 1, 2), a verdict or scores
    "chosen": [text, …], "rejected"      a bench's row: each right one over each wrong one
    "chosen", "rejected"                 text or messages; equal scores, or a status, make it a tie
    a list of answers                    with scores, ranks, or of two a verdict
    one answer                           text, or the last turn of "messages"; of one prompt's those
                                         with a true "label" or a higher score are preferred

A prompt is all columns that are plainly part of one (`columns.read_prompt`) and what the answers'
dialogues share; a text or turn that both repeat counts once. Optional are `rater` and `round`.

A fault is a `DataError` with file and line; whoever loads a file counts it, and raises where
`strict` or where no row is left. No fault but counted too: `identical` answers, `empty_answer`,
`one_label` (no response of the other label), `tie` and `unanswered` (nobody judged). Contradictory
duplicates stay: they are honest disagreement.

>>> row = to_row(FileRecord("pairs.jsonl:1", {"prompt": "2 + 2", "chosen": "4", "rejected": "5"}))
>>> row.comparisons[0].chosen.text
'4'
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, combinations, product
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Len
from pydantic import Field, NonNegativeInt, TypeAdapter

from trueline.data import columns, dialogues
from trueline.data.columns import ASKS, DIALOGUES, PAIRS, SCORES, Columns, read_prompt
from trueline.data.dialogues import Dialogue, prompt_of, read_dialogue, split_dialogues
from trueline.data.files import FileRecord, at_row, read_records
from trueline.errors import DataError
from trueline.records import Comparison, Message, Prompt, Response

__all__ = ["IDS", "SAVED_MARK", "Check", "Row", "lists_texts", "load_rows",
           "pair_up", "prompt_in", "read_all", "read_answers", "read_each", "to_row"]  # fmt: skip

T = TypeVar("T")
Check = Callable[[Any], None] | None
"""Raises `DataError` for a response, or a prompt, that the model cannot be given."""
IDS = ("id", "uid", "prompt_id", "question_id", "pair_id")
"""What a row is called by; the first that is there counts."""
SAVED_MARK = "trueline"
"""Field of rows that `Comparisons.save` wrote: their texts are taken as they are."""
_Reads = Callable[[FileRecord, Counter[str]], list[T]]
"""Returns what is in a row, and counts what it leaves out."""
_RESPONSES = ("response", "completion", "answer", "output")
_ANNOTATOR = re.compile(r"annotator_?\d+$")
_LOG = logging.getLogger(__name__)
_TURNS = TypeAdapter(Annotated[list[Message], Len(1)])
_TEXTS, _TEXT = TypeAdapter(Annotated[list[str], Len(1)]), TypeAdapter(str)
_VOTE = TypeAdapter(Annotated[int, Field(ge=0, le=2)])
_LABEL, _ROUND = TypeAdapter(bool), TypeAdapter(NonNegativeInt)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one row of a file says."""

    where: str
    kind: Literal["pair", "several", "single", "empty"]
    """Chosen and rejected; several judged answers; one response; nothing that can be scored."""
    responses: tuple[Response, ...] = ()
    """What can be scored: chosen and rejected, all that were judged, the one, or nothing."""
    comparisons: tuple[Comparison, ...] = ()
    ties: tuple[Comparison, ...] = ()
    """Pairs judged equal, or by nobody; `chosen` is merely the first shown."""
    label: bool | None = None
    """Of a single response: whether it is wanted."""
    score: float | None = None
    """Of a single response: how good it is said to be; more is better."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Judgements that are no preference, by reason."""
    unused: frozenset[str] = frozenset()
    """Columns that nothing read, `messages[].name` inside messages and lists."""


def load_rows(
    path: str | os.PathLike[str], *, strict: bool = False, check: Check = None
) -> list[Row]:
    """Return every row of a file, in order: preferences, and responses to be scored.

    A row that cannot be used, or of which `check` refuses a response (`Codec.check`: the model's
    chat template does), is an "empty" one, its reason in `skipped`; `DataError` where `strict`, or
    where no row can be used. Logs once which columns nothing has read.
    """
    records, rows = read_records(path, strict=strict), list[Row]()
    read = read_each(records, partial(to_row, check=check), strict=strict)
    for record, row in zip(records, read, strict=True):
        if isinstance(row, DataError):
            row = Row(where=record.where, kind="empty", skipped={row.must: 1})
        rows.append(row)
    if unused := sorted(frozenset().union(*(row.unused for row in rows))):
        _LOG.warning("%s: columns not used: %s", path, ", ".join(unused))
    return rows


def to_row(record: FileRecord, check: Check = None) -> Row:
    """Return one row, recognised and checked."""
    row = Columns(record.fields)
    read = next(read for applies, read in FORMS if applies(row))(row, record.where)
    for response in read.responses:
        if check is not None:
            check(response)
    return replace(read, unused=frozenset(row.unused - {SAVED_MARK, "rater", "round", *IDS}))


def read_each(
    records: Iterable[FileRecord], read: Callable[[FileRecord], T], *, strict: bool = False
) -> list[T | DataError]:
    """Return what is read of each row, or its fault.

    Raises the first fault where `strict`, and one of the commonest where no row can be used.
    """
    done: list[T | DataError] = []
    for record in records:
        try:
            if record.fault is not None:
                raise record.fault
            with at_row(record.where):
                done.append(read(record))
        except DataError as error:
            if strict:
                raise
            done.append(error)
    faults = [row for row in done if isinstance(row, DataError)]
    if len(faults) == len(done) > 0:
        must, count = Counter(fault.must for fault in faults).most_common(1)[0]
        first = next(fault for fault in faults if fault.must == must)
        got = f"{first.got} (one of {count} such rows)" if count > 1 else first.got
        raise DataError(must, got=got, do=first.do)
    return done


def read_all(
    records: Sequence[FileRecord], read: _Reads[T], *, what: str, strict: bool
) -> tuple[list[T], dict[str, int]]:
    """Return all that `read` finds in the rows, at least one, and what was left out by reason."""
    skipped, found = Counter[str](), list[T]()
    for row in read_each(records, lambda record: read(record, skipped), strict=strict):
        if isinstance(row, DataError):
            skipped[row.must] += 1
        else:
            found += row
    if not found:
        counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(skipped.items()))
        got = f"{records[0].where.rpartition(':')[0]}: none ({counts})"
        raise DataError(f"a file must hold at least one {what}", got=got)
    return found, dict(sorted(skipped.items()))


def pair_up(
    rows: Sequence[Row], path: str, *, strict: bool = False
) -> tuple[tuple[Comparison, ...], dict[str, int]]:
    """Return the comparisons in rows of preferences, labels or scores, and what was left out."""
    comparisons = [comparison for row in rows for comparison in row.comparisons]
    skipped: Counter[str] = Counter()
    alone: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        reasons, worth = dict(row.skipped), row.score if row.label is None else float(row.label)
        if row.kind == "single" and worth is not None:
            alone.setdefault(row.responses[0].prompt.key, []).append((worth, row))
        elif row.kind == "single":
            reasons = {"every row must hold a preference, a label or a score": 1}
            if strict:
                raise DataError(*reasons, got=f"{row.where}: a response alone", do="use `score`")
        skipped.update(reasons)
    for given in alone.values():
        # The product of better and worse ones, in the order of the file.
        given.sort(key=lambda one: -one[0])
        if given[0][0] == given[-1][0]:
            skipped["one_label" if given[0][1].label is not None else "tie"] += len(given)
        for (ours, better), (theirs, worse) in combinations(given, 2):
            chosen, rejected = better.responses[0], worse.responses[0]
            if ours != theirs and chosen.key == rejected.key:
                skipped["identical"] += 1
            elif ours != theirs:
                comparisons.append(Comparison(chosen=chosen, rejected=rejected))
    if not comparisons:
        counts = ", ".join(f"{reason}: {count}" for reason, count in skipped.most_common())
        must = "a file must hold at least one pair of different answers to one prompt, one better"
        commonest = skipped.most_common(1)[0][0]
        first = next((row.where for row in rows if commonest in row.skipped), rows[0].where)
        got = f"{path}: none in {len(rows)} rows ({counts}); the first at {first}"
        do = "say which answer is better: `winner`, scores, or `label` true and false"
        raise DataError(must, got=got, do=do)
    return tuple(comparisons), dict(skipped)


def lists_texts(fields: Mapping[str, Any], name: str = "chosen") -> bool:
    """Return whether `chosen` is a list of texts, as benches have it, and not one answer."""
    answers = fields.get(name)
    return isinstance(answers, list) and all(isinstance(answer, str) for answer in answers)


def prompt_in(fields: Mapping[str, Any]) -> Prompt:
    """Return the prompt of a row: all its columns that are part of one."""
    return prompt_of(read_prompt(Columns(fields)))


def read_answers(row: Columns, *named: tuple[str, Any]) -> tuple[Prompt, list[str]]:
    """Return the prompt of answers, of which each is text or messages, and their texts."""
    # A number was shown as a word.
    shown = [(name, str(v) if isinstance(v, int | float) else v) for name, v in named]
    read = [read_dialogue(value, name, row.inner) for name, value in shown]
    texts = [answer for answer in read if isinstance(answer, str)]
    turns = [answer for answer in read if not isinstance(answer, str)]
    if texts and turns:
        raise DataError(f"{named[0][0]} and its like must both be text or both be messages")
    are_whole = all(map(_is_whole, read))
    given = read_prompt(row, alone=not (are_whole or named[0][0] in DIALOGUES))
    is_asked = any(turn.role not in ("system", "developer") for turn in given)
    if are_whole or not (is_asked or row.first(ASKS)):
        shared, texts = split_dialogues(read)
        return prompt_of(dialogues.merge_turns(given, shared)), texts
    prompt = prompt_of(given if is_asked else ())
    if texts:
        return prompt, _unrepeated(row, prompt, texts)
    if len(turns) == 1:
        return prompt, [dialogues.answer_text(turns[0])]
    shared, texts = split_dialogues([(*given, *answer) for answer in turns])
    return prompt_of(shared), texts


def _is_whole(answer: Dialogue) -> bool:
    """Return whether an answer comes with what was asked."""
    if isinstance(answer, str):
        return dialogues.holds_dialogue(answer)
    return answer[0].role != "assistant"


def _unrepeated(row: Columns, prompt: Prompt, texts: Sequence[str]) -> list[str]:
    """Return answers without the prompt that all of them begin with."""
    for start in (*(str(row[name]).strip() for name in ASKS if name in row), prompt.text):
        rest = [text.lstrip().removeprefix(start).strip() for text in texts]
        repeat = all(text.lstrip().startswith(start) for text in texts)
        # "Hi" may well be how an answer begins; "2 + 2?" is not.
        is_marked = len(start.split()) > 2 or not start[-1:].isalnum()
        if start and is_marked and repeat and any(rest):
            return rest
    return list(texts)


_Judged = tuple[int, int, int | None, str]
"""The places of two answers, which is better (0 or 1; 2: equal; None: nobody says), the rater."""


def _row(
    where: str, prompt: Prompt, texts: Sequence[str], judged: Iterable[_Judged], round: int = 0
) -> Row:
    responses = tuple(Response(prompt=prompt, text=text) for text in texts)
    pairs, ties, skipped = list[Comparison](), list[Comparison](), Counter[str]()
    for one, other, said, rater in judged:
        chosen, rejected = (responses[i] for i in ((other, one) if said == 1 else (one, other)))
        if chosen.key == rejected.key:
            skipped["identical"] += 1
            continue
        pair = Comparison(chosen=chosen, rejected=rejected, rater=rater, round=round)
        (pairs if said in (0, 1) else ties).append(pair)
        if said not in (0, 1):
            skipped["tie" if said == 2 else "unanswered"] += 1
    told: dict[str, Any] = {"comparisons": tuple(pairs), "ties": tuple(ties), "skipped": skipped}
    return Row(where=where, kind="several", responses=responses, **told)


def _two(row: Columns, where: str) -> Row:
    names, sides = next(pair for pair in PAIRS.items() if pair[0][0] in row and pair[0][1] in row)
    answers = [row[name] for name in names]
    asked, *lists = (_list_in_json(value) for value in (row.get("prompt"), *answers))
    if asked and {len(asked)} == {*map(len, lists)}:
        # LMSYS writes the turns of either side as a list in JSON.
        del row["prompt"]
        answers = [[*chain(*zip(asked, told, strict=True))] for told in lists]
    if isinstance(row.get("turn"), int) and all(isinstance(answer, list) for answer in answers):
        # MT-Bench's verdict is on the first so many of a dialogue's turns.
        answers = [answer[: 2 * row["turn"]] for answer in answers]
    prompt, texts = read_answers(row, *zip(names, answers, strict=True))
    votes = [name for name in row if _ANNOTATOR.match(name)]
    judged: list[_Judged] = [(0, 1, (2, 0, 1)[row.take(name, _VOTE)], name) for name in votes]
    judged += [(0, 1, None, name) for name in row.nulls if _ANNOTATOR.match(name)]
    judged = judged or [(0, 1, columns.verdict_in(row, sides), _rater(row))]
    return _row(where, prompt, texts, judged)


def _list_in_json(value: object) -> list[str]:
    with contextlib.suppress(ValueError):
        found = json.loads(value) if isinstance(value, str) and value[:1] == "[" else ()
        return [*found] if all(isinstance(text, str) for text in found) else []
    return []


def _each_over_each(row: Columns, where: str) -> Row:
    right, wrong = (
        [row[name]] if isinstance(row.get(name), str) else row.take(name, _TEXTS)
        for name in ("chosen", "rejected")
    )
    places = product(range(len(right)), range(len(right), len(right) + len(wrong)))
    judged: list[_Judged] = [(i, j, 0, _rater(row)) for i, j in places]
    return _row(where, prompt_of(read_prompt(row)), [*right, *wrong], judged)


def _paired(row: Columns, where: str) -> Row:
    if SAVED_MARK in row:
        turns = row.take("prompt", _TURNS)
        prompt, texts = prompt_of(turns), [row.take(n, _TEXT) for n in ("chosen", "rejected")]
    else:
        prompt, texts = read_answers(row, *((name, row[name]) for name in ("chosen", "rejected")))
        if not all(map(str.strip, texts)) and texts[0] != texts[1]:
            return Row(where=where, kind="empty", skipped={"empty_answer": 1})
    round = row.take("round", _ROUND) if "round" in row else 0
    judged = (0, 1, 2 if columns.is_tied(row) else 0, _rater(row))
    return replace(_row(where, prompt, texts, [judged], round), kind="pair")


def _listed(row: Columns, where: str) -> Row:
    name, answers, worth = columns.list_in(row) or ("answers", [], [])
    if len(answers) < 2:
        must = f"`{name}` must hold two answers or more"
        raise DataError(must, got=str(len(answers)), do="call a single one `response`")
    prompt, texts = read_answers(row, *((name, answer) for answer in answers))
    pairs = combinations(range(len(answers)), 2)
    judged = [(i, j, columns.better(worth[i], worth[j]), _rater(row)) for i, j in pairs]
    if len(judged) == 1 and worth == [None, None]:
        judged = [(0, 1, columns.verdict_in(row, ("0", "1")), _rater(row))]
    return _row(where, prompt, texts, judged)


def _single(row: Columns, where: str) -> Row:
    name = row.first(_RESPONSES) or row.first(DIALOGUES)
    if name is None:
        must = "a row must hold chosen and rejected, two answers, or prompt and response"
        got = f"fields {', '.join(row) or 'none'}"
        raise DataError(must, got=got, do="rename them as `trueline.data.formats` has them")
    prompt, (text,) = read_answers(row, (name, row[name]))
    turns = read_dialogue(row[name], name, set())
    if not text.strip() or (not isinstance(turns, str) and turns[-1].role != "assistant"):
        must = f"`{name}` must end with words of the assistant"
        raise DataError(must, got=repr(text[-40:]), do="drop the row")
    label = next((row.take(n, _LABEL) for n in ("label", "kto_tag") if n in row), None)
    score = next((columns.number(row[n]) for n in SCORES if n in row), None)
    response = Response(prompt=prompt, text=text)
    return Row(where=where, kind="single", responses=(response,), label=label, score=score)


FORMS: tuple[tuple[Callable[[Columns], bool], Callable[[Columns, str], Row]], ...] = (
    (lambda row: "rejected" not in row and any(a in row and b in row for a, b in PAIRS), _two),
    (lambda row: lists_texts(row) or lists_texts(row, "rejected"), _each_over_each),
    (lambda row: "rejected" in row or "chosen" in row, _paired),
    (lambda row: columns.list_in(row) is not None, _listed),
    (lambda row: True, _single),
)
"""Whether a row has the form, and how it is read; the first that applies counts."""


def _rater(row: Columns) -> str:
    return str(row.get("rater", "unknown"))
