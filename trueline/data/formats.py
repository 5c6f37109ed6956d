r"""Turn a row of a file into preferences, ties, a response to be scored, or a prompt.

The forms, in the order in which `FORMS` tries them (`columns` has the names):

    two answers in columns of their own  response1 and response2, answer_0, output_a, first, … with
                                         annotator1, … (0 tie, 1, 2), or a verdict (`winner`,
                                         `label`, `overall_preference`, …), or a score each
    "chosen": [text, …], "rejected": …   a bench's row: each right one over each wrong one
    "chosen", "rejected"                 text or messages; equal scores, or a status, make it a tie
    a list of answers                    `responses`, `answers`, `completions`, … with scores or
                                         ranks; of two, `correct` (0 or 1) may say which is better
    one answer                           "response", or completion, answer, output, or the last turn
                                         of "messages". With "label", each true one is preferred to
                                         each false one of the same prompt; with a score, the better
                                         to the worse

A prompt is all columns that are plainly part of one (`columns.read_prompt`) and what the answers'
dialogues share; a text or turn that both repeat counts once. Optional are `rater` and `round`.

A fault is a `DataError` with file and line; `load_rows` and all that stand on it count it, and
raise where `strict` or where no row is left. No fault but counted too: `identical` answers,
`empty_answer`, `one_label` (no response of the other label), `tie` (equal, as far as anybody knows)
and `unanswered` (nobody judged). Contradictory duplicates stay: they are honest disagreement.

>>> row = to_row(FileRecord("pairs.jsonl:1", {"prompt": "2 + 2", "chosen": "4", "rejected": "5"}))
>>> row.comparisons[0].chosen.text
'4'
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations, product
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Len
from pydantic import Field, NonNegativeInt, TypeAdapter
from typing_extensions import TypedDict

from trueline.data.columns import (
    ALONE,
    ASKS,
    DIALOGUES,
    Columns,
    is_tied,
    list_in,
    pair_in,
    read_prompt,
    score_in,
    verdict_in,
)
from trueline.data.dialogues import (
    Dialogue,
    answer_text,
    holds_dialogue,
    merge_turns,
    parse_turns,
    prompt_of,
    read_dialogue,
    split_dialogues,
)
from trueline.data.files import FileRecord, at_row, read_records
from trueline.errors import DataError, InputError
from trueline.records import Comparison, Message, Prompt, Response

__all__ = [
    "IDS",
    "SAVED_MARK",
    "Row",
    "lists_texts",
    "load_prompts",
    "load_rows",
    "pair_up",
    "prompt_in",
    "read_answers",
    "read_each",
    "to_row",
]

Fields = Mapping[str, Any]
T = TypeVar("T")
IDS = ("id", "uid", "prompt_id", "question_id", "pair_id")
"""What a row is called by; the first that is there counts."""
SAVED_MARK = "trueline"
"""Field of rows that `Comparisons.save` wrote: their texts are taken as they are."""
_RESPONSES = ("response", "completion", "answer", "output")
_ANNOTATOR = re.compile(r"annotator_?\d+$")
_LOG = logging.getLogger(__name__)


class _Turn(TypedDict):
    role: str
    content: str


_TURNS = TypeAdapter(Annotated[list[_Turn], Len(1)])
_TEXTS = TypeAdapter(Annotated[list[str], Len(1)])
_TEXT = TypeAdapter(str)
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
    """Pairs judged equal; `chosen` is merely the first shown."""
    label: bool | None = None
    """Of a single response: whether it is wanted."""
    score: float | None = None
    """Of a single response: how good it is said to be; more is better."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Judgements that are no preference, by reason."""
    fault: DataError | None = None
    """Why the row cannot be used; its `must` is the reason in `skipped`."""
    unused: frozenset[str] = frozenset()
    """Columns that nothing read, `messages[].name` inside messages and lists."""


def load_rows(path: str | os.PathLike[str], *, strict: bool = False) -> list[Row]:
    """Return every row of a file, in order: preferences, and responses to be scored.

    A row that cannot be used is an "empty" one, its reason in `skipped`; `DataError` where
    `strict`, or where no row can be used. Logs once which columns nothing has read.
    """
    rows = [_row_or_fault(record, strict=strict) for record in read_records(path)]
    faults = [row.fault for row in rows if row.fault is not None]
    if len(faults) == len(rows):
        raise commonest(faults)
    if unused := sorted(frozenset().union(*(row.unused for row in rows))):
        _LOG.warning("%s: columns not used: %s", path, ", ".join(unused))
    return rows


def _row_or_fault(record: FileRecord, *, strict: bool) -> Row:
    try:
        with at_row(record.where):
            return to_row(record)
    except DataError as error:
        if strict:
            raise
        return _fault(record.where, error)


def _fault(where: str, error: DataError) -> Row:
    return Row(where=where, kind="empty", skipped={error.must: 1}, fault=error)


def to_row(record: FileRecord) -> Row:
    """Return one row, recognised and checked."""
    columns = Columns(record.fields)
    read = next(read for applies, read in FORMS if applies(columns))
    row = read(columns, record.where)
    return replace(row, unused=frozenset(columns.unused - {SAVED_MARK, "rater", "round", *IDS}))


def commonest(faults: Sequence[DataError]) -> DataError:
    """Return the first fault of the commonest reason, and how many rows have it."""
    reason, count = Counter(fault.must for fault in faults).most_common(1)[0]
    first = next(fault for fault in faults if fault.must == reason)
    more = f" (one of {count} such rows)" if count > 1 else ""
    return DataError(reason, got=f"{first.got}{more}", do=first.do)


def load_prompts(
    path: str | os.PathLike[str], *, max_words: int | None = None, strict: bool = False
) -> list[Prompt]:
    """Return the distinct prompts of a file, in order of first appearance.

    A row has any column that is part of a prompt, {"messages"}, {"text"} or a preference (its
    shared prompt); in a .txt file each line is one. {"text"} and lines of .txt are to be continued:
    `max_words` keeps no more than their first so many words. Rows without a prompt are logged;
    `DataError` where `strict`, or where there is no other row.
    """
    if max_words is not None and max_words < 1:
        raise InputError("max_words must be at least 1", got=str(max_words))
    read = partial(_prompt_of_row, max_words=max_words)
    prompts, faults = read_each(read_records(path), read, strict=strict)
    for must, count in faults.items():
        _LOG.warning("%s: %s rows left out: %s", path, count, must)
    return list({prompt.key: prompt for prompt in prompts}.values())


def read_each(
    records: Iterable[FileRecord], read: Callable[[FileRecord], T], *, strict: bool = False
) -> tuple[list[T], dict[str, int]]:
    """Return what is read of each row, and how many rows are at fault by reason.

    Raises the first `DataError` where `strict`, and the commonest where no row can be used.
    """
    done: list[T] = []
    faults: list[DataError] = []
    for record in records:
        try:
            with at_row(record.where):
                done.append(read(record))
        except DataError as error:
            if strict:
                raise
            faults.append(error)
    if faults and not done:
        raise commonest(faults)
    return done, dict(Counter(fault.must for fault in faults))


def pair_up(
    rows: Sequence[Row], path: str, *, strict: bool = False
) -> tuple[tuple[Comparison, ...], dict[str, int]]:
    """Return the comparisons in rows of preferences, labels or scores, and what was left out."""
    rows = [_as_preference(row, strict=strict) for row in rows]
    comparisons = [comparison for row in rows for comparison in row.comparisons]
    skipped: Counter[str] = Counter()
    alone: dict[str, list[Row]] = {}
    for row in rows:
        skipped.update(row.skipped)
        if row.kind == "single":
            alone.setdefault(row.responses[0].prompt.key, []).append(row)
    for given in alone.values():
        given.sort(key=_worth, reverse=True)
        if _worth(given[0]) == _worth(given[-1]):
            skipped["tie" if given[0].label is None and len(given) > 1 else "one_label"] += len(
                given
            )
        for better, worse in combinations(given, 2):
            chosen, rejected = better.responses[0], worse.responses[0]
            if _worth(better) != _worth(worse) and chosen.key == rejected.key:
                skipped["identical"] += 1
            elif _worth(better) != _worth(worse):
                comparisons.append(Comparison(chosen=chosen, rejected=rejected))
    if not comparisons:
        raise _nothing(rows, path, skipped)
    return tuple(comparisons), dict(skipped)


def _worth(row: Row) -> float:
    return float((row.score if row.label is None else row.label) or 0.0)


def _as_preference(row: Row, *, strict: bool) -> Row:
    if row.kind != "single" or (row.label, row.score) != (None, None):
        return row
    must = "every row must hold a preference: chosen and rejected, a label or a score"
    fault = DataError(must, got=f"{row.where}: a response alone", do="use `score`")
    if strict:
        raise fault
    return _fault(row.where, fault)


def _nothing(rows: Sequence[Row], path: str, skipped: Counter[str]) -> DataError:
    reason = skipped.most_common(1)[0][0]
    first = next((row for row in rows if reason in row.skipped), rows[0])
    if first.fault is not None:
        return commonest([row.fault for row in rows if row.fault is not None])
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(skipped.items()))
    must = "a file must hold at least one pair of different answers to one prompt, one better"
    got = f"{path}: none in {len(rows)} rows ({counts}); the first at {first.where}"
    do = "say which answer is better; with labels, give both true and false responses to a prompt"
    return DataError(must, got=got, do=do)


def lists_texts(fields: Fields) -> bool:
    """Return whether `chosen` is a list of texts, as benches have it, and not one answer."""
    chosen = fields.get("chosen")
    return isinstance(chosen, list) and all(isinstance(answer, str) for answer in chosen)


def prompt_in(fields: Fields) -> Prompt:
    """Return the prompt of a row: text, a text dialogue or messages, and what belongs to it."""
    turns = read_prompt(Columns(fields))
    if not turns:
        got = ", ".join(fields) or "no columns"
        raise DataError("`prompt` must hold words", got=f"only {got}", do="mend or drop the row")
    return prompt_of(turns)


def read_answers(row: Columns, named: Sequence[tuple[str, Any]]) -> tuple[Prompt, list[str]]:
    """Return the prompt of these columns' answers and the answers, each text or messages."""
    plain = [(name, str(v) if isinstance(v, int | float) else v) for name, v in named]
    read = [read_dialogue(value, name, row.inner) for name, value in plain]
    texts = [answer for answer in read if isinstance(answer, str)]
    if texts and len(texts) < len(read):
        names = " and ".join(dict.fromkeys(name for name, _ in named))
        raise DataError(f"{names} must both be text or both be lists of messages")
    given = read_prompt(row, alone=() if _are_dialogues(read) else ALONE)
    is_asked = any(turn.role not in ("system", "developer") for turn in given)
    if not _are_dialogues(read) and (is_asked or row.first(ASKS) is not None):
        prompt = prompt_of(given if is_asked else ())
        if texts:
            return prompt, _unrepeated(row, prompt, texts)
        if len(read) == 1:
            return prompt, [answer_text(read[0])]
        turns, texts = split_dialogues([(*given, *answer) for answer in read])
        return prompt_of(turns), texts
    turns, texts = split_dialogues(read)
    return prompt_of(merge_turns(given, turns)), texts


def _are_dialogues(answers: Sequence[Dialogue]) -> bool:
    """Return whether answers come with what was asked."""
    return all(
        holds_dialogue(answer) if isinstance(answer, str) else answer[0].role != "assistant"
        for answer in answers
    )


def _unrepeated(row: Columns, prompt: Prompt, texts: Sequence[str]) -> list[str]:
    """Return answers without a prompt of three words or more that all of them begin with."""
    asked = [row[name].strip() for name in ASKS if isinstance(row.get(name), str)]
    for start in (*asked, prompt.text):
        rest = [text.lstrip().removeprefix(start) for text in texts]
        starts = all(map(str.__ne__, rest, (text.lstrip() for text in texts)))
        if len(start.split()) > 2 and starts and any(map(str.strip, rest)):
            return [text.strip() for text in rest]
    return list(texts)


def _judged(
    where: str,
    prompt: Prompt,
    texts: Sequence[str],
    judged: Iterable[tuple[int, int, bool, str]],
    round: int = 0,
) -> Row:
    """Return the row of these answers; of each judgement the better, the worse, tie and rater."""
    responses = tuple(Response(prompt=prompt, text=text) for text in texts)
    pairs: dict[bool, list[Comparison]] = {False: [], True: []}
    skipped: Counter[str] = Counter()
    for better, worse, tie, rater in judged:
        chosen, rejected = responses[better], responses[worse]
        if chosen.key == rejected.key:
            skipped["identical"] += 1
            continue
        pair = Comparison(chosen=chosen, rejected=rejected, rater=rater, round=round)
        pairs[tie].append(pair)
        skipped["tie"] += tie
    return Row(
        where=where,
        kind="several",
        responses=responses,
        comparisons=tuple(pairs[False]),
        ties=tuple(pairs[True]),
        skipped=+skipped,
    )


def _two(row: Columns, where: str) -> Row:
    names, sides = pair_in(row) or (("first", "second"), ("0", "1"))
    named = [(name, row[name]) for name in names]
    if "turn" in row and all(isinstance(answer, list) for _, answer in named):
        # A verdict on the first so many of a dialogue's turns, as in MT-Bench.
        named = [(name, _until(answer, row["turn"])) for name, answer in named]
    prompt, texts = read_answers(row, named)
    votes = {name: row.take(name, _VOTE) for name in row if _ANNOTATOR.match(name)}
    judged = [(int(vote == 2), int(vote != 2), vote == 0, name) for name, vote in votes.items()]
    unanswered = sum(_ANNOTATOR.match(name) is not None for name in row.nulls)
    if not votes and not unanswered:
        better = verdict_in(row, sides)
        judged = [(better or 0, 1 - (better or 0), better is None, _rater(row))]
    read = _judged(where, prompt, texts, judged)
    return replace(read, skipped=Counter(read.skipped) + Counter(unanswered=unanswered))


def _until(turns: Sequence[Any], number: Any) -> list[Any]:
    read, ends = parse_turns(turns, "conversation", set()), 0
    for i, turn in enumerate(read):
        ends += turn.role == "assistant"
        if ends == number:
            return list(turns[: i + 1])
    return list(turns)


def _each_over_each(row: Columns, where: str) -> Row:
    right, wrong = (
        [row[name]] if isinstance(row.get(name), str) else row.take(name, _TEXTS)
        for name in ("chosen", "rejected")
    )
    places = product(range(len(right)), range(len(right), len(right) + len(wrong)))
    judged = [(i, j, False, _rater(row)) for i, j in places]
    prompt = prompt_in(row)
    return _judged(where, prompt, [*right, *wrong], judged)


def _paired(row: Columns, where: str) -> Row:
    if SAVED_MARK in row:
        turns = [Message(**turn) for turn in row.take("prompt", _TURNS)]
        prompt, texts = prompt_of(turns), [row.take(n, _TEXT) for n in ("chosen", "rejected")]
    else:
        prompt, texts = read_answers(row, [(n, row.get(n)) for n in ("chosen", "rejected")])
        if not all(map(str.strip, texts)) and texts[0] != texts[1]:
            return Row(where=where, kind="empty", skipped={"empty_answer": 1})
    round = row.take("round", _ROUND) if "round" in row else 0
    judged = _judged(where, prompt, texts, [(0, 1, is_tied(row), _rater(row))], round)
    return replace(judged, kind="pair")


def _listed(row: Columns, where: str) -> Row:
    name, answers, worth = list_in(row) or ("answers", [], [])
    if len(answers) < 2:
        must = f"`{name}` must hold two answers or more"
        raise DataError(must, got=str(len(answers)), do="call a single one `response`")
    prompt, texts = read_answers(row, [(name, answer) for answer in answers])
    rater, judged = _rater(row), []
    for i, j in combinations(range(len(answers)), 2):
        ours, theirs = worth[i], worth[j]
        if ours is not None and theirs is not None:
            better, worse = (i, j) if ours >= theirs else (j, i)
            judged.append((better, worse, ours == theirs, rater))
    if len(answers) == 2 and not judged:
        better = verdict_in(row, ("0", "1"))
        judged = [(better or 0, 1 - (better or 0), better is None, rater)]
    read = _judged(where, prompt, texts, judged)
    return read if judged else replace(read, skipped={"unanswered": 1})


def _single(row: Columns, where: str) -> Row:
    name, told = row.first(_RESPONSES), row.first(DIALOGUES)
    if name is None and told is not None:
        turns = read_dialogue(row[told], told, row.inner)
        if isinstance(turns, str) or turns[-1].role != "assistant":
            got = "text" if isinstance(turns, str) else f"{turns[-1].role}'s turn"
            raise DataError(f"`{told}` to score must end in an answer", got=got)
        prompt = prompt_of(merge_turns(read_prompt(row, alone=()), turns[:-1]))
        text = turns[-1].content
    elif name is None:
        must = "a row must hold chosen and rejected, two answers, or prompt and response"
        got = f"fields {', '.join(row) or 'none'}"
        raise DataError(must, got=got, do="rename them as `trueline.data.formats` has them")
    else:
        prompt, (text,) = read_answers(row, [(name, row[name])])
    if not text.strip():
        raise DataError(f"`{name or told}` must hold words", got=repr(text))
    label = next((row.take(n, _LABEL) for n in ("label", "kto_tag") if n in row), None)
    response = Response(prompt=prompt, text=text)
    return Row(where=where, kind="single", responses=(response,), label=label, score=score_in(row))


FORMS: tuple[tuple[Callable[[Columns], bool], Callable[[Columns, str], Row]], ...] = (
    (lambda row: "rejected" not in row and pair_in(row) is not None, _two),
    (lambda row: any(map(lists_texts, (row, {"chosen": row.get("rejected")}))), _each_over_each),
    (lambda row: "rejected" in row or "chosen" in row, _paired),
    (lambda row: list_in(row) is not None, _listed),
    (lambda row: True, _single),
)
"""Whether a row has the form, and how it is read; the first that applies counts."""


def _prompt_of_row(record: FileRecord, *, max_words: int | None) -> Prompt:
    row = Columns(record.fields)
    is_pair = "chosen" in row and "rejected" in row and not lists_texts(row)
    if is_pair and not (row.first(ASKS) and isinstance(row["chosen"], str)):
        return read_answers(row, [(name, row[name]) for name in ("chosen", "rejected")])[0]
    turns = read_prompt(row)
    if turns and turns[-1].role == "assistant" and row.first(DIALOGUES):
        turns = turns[:-1]
    if turns:
        return prompt_of(turns)
    if "text" in row and str(row["text"]).strip():
        text = row.take("text", _TEXT)
        last = list(re.finditer(r"\S+", text))[:max_words][-1]
        words = Message("user", text[: last.end()].strip())
        return Prompt(messages=(words,), meta={"continuation": True})
    must = "a row must hold a prompt: prompt, question, instruction, messages or text"
    raise DataError(must, got=f"fields {', '.join(row) or 'none'}", do="rename its fields")


def _rater(row: Columns) -> str:
    return str(row.get("rater", "unknown"))
