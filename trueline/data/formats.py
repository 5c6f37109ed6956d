r"""Turn a row of a file into preferences, ties, a response to be scored, or a prompt.

The forms, in the order in which `FORMS` tries them:

    {"instruction", "response1", "response2", "annotator1", …}     PandaLM, arXiv 2306.05087
    {"prompt", "first", "second"}        a case, or {"prompt", "answers": [text, text]}; `correct`
                                         (0 or 1) says which is better, if anybody knows
    {"prompt", "chosen": [text, …], "rejected": [text, …]}         a bench's row
    {"prompt", "chosen", "rejected"}     text or messages; without "prompt" dialogues that share it
    {"messages"}                         a dialogue that ends in the answer to be scored
    {"prompt", "response"}               or completion, answer, output. With "label", each true one
                                         is preferred to each false one of the same prompt

For `prompt` there may stand `question`, or `instruction` with `input`; optional are `rater` and
`round`. A prompt that is a text dialogue (``\n\nHuman: …\n\nAssistant:``) becomes turns.

A fault raises a `DataError` with file and line. What is no fault is counted: `identical` answers,
`empty_answer`, `one_label` (no response of the other label), `tie` (equal, as far as anybody knows)
and `unanswered` (nobody judged). Contradictory duplicates stay: they are honest disagreement.

>>> row = to_row(FileRecord("pairs.jsonl:1", {"prompt": "2 + 2", "chosen": "4", "rejected": "5"}))
>>> row.comparisons[0].chosen.text
'4'
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, TypeAdapter
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from trueline.data.dialogues import Dialogue, is_dialogue, prompt_of, split_pair
from trueline.data.files import Faults, FileRecord, at_row, read_records, take
from trueline.errors import DataError, InputError
from trueline.records import Comparison, Message, Prompt, Response

__all__ = [
    "FILLED",
    "SAVED_MARK",
    "Row",
    "lists_texts",
    "load_prompts",
    "load_rows",
    "pair_up",
    "prompt_in",
    "split",
    "to_row",
]

Fields = Mapping[str, Any]
SAVED_MARK = "trueline"
"""Field of rows that `Comparisons.save` wrote: only there may an answer be empty."""
_PROMPTS = ("prompt", "question", "instruction")
_RESPONSES = ("response", "completion", "answer", "output")
_ANNOTATOR = re.compile(r"annotator_?\d+$")


def _filled(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be empty")
    return text


class _Turn(TypedDict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


TEXT, FILLED = TypeAdapter(str), TypeAdapter(Annotated[str, AfterValidator(_filled)])
_TURNS = TypeAdapter(Annotated[list[_Turn], Len(1)])
_TEXTS = TypeAdapter(Annotated[list[str], Len(1)])
_TWO = TypeAdapter(Annotated[list[Annotated[str, AfterValidator(_filled)]], Len(2, 2)])
_SHOWN = TypeAdapter(Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)])
"""What somebody saw and judged: an empty answer, `true` and 4 are words there."""
_VOTE = TypeAdapter(Annotated[int, Field(ge=0, le=2)] | None)
_SIDE = TypeAdapter(Annotated[int, Field(ge=0, le=1)] | None)
_LABEL, _ROUND = TypeAdapter(bool), TypeAdapter(NonNegativeInt | None)


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
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Judgements that are no preference, by reason."""


def load_rows(path: str | os.PathLike[str], *, strict: bool = False) -> list[Row]:
    """Return every row of a file, in order: preferences, and responses to be scored.

    A row that cannot be used is an "empty" one, with the reason in `skipped`; `DataError` where
    `strict`, or where no row can be used.
    """
    rows, faults = [], Faults()
    for record in read_records(path):
        with faults.counted(strict=strict):
            rows.append(to_row(record))
            continue
        rows.append(Row(where=record.where, kind="empty", skipped={faults.last: 1}))
    faults.check(len(rows))
    return rows


def to_row(record: FileRecord) -> Row:
    """Return one row, recognised and checked."""
    with at_row(record.where):
        read = next(read for applies, read in FORMS if applies(record.fields))
        return read(record.fields, record.where)


def load_prompts(path: str | os.PathLike[str], *, max_words: int | None = None) -> list[Prompt]:
    """Return the distinct prompts of a file, in order of first appearance.

    A row is {"prompt"}, {"question"}, {"instruction"[, "input"]}, {"messages"}, {"text"} or a
    preference (its shared prompt); in a .txt file each line is one. {"text"} and lines of .txt are
    to be continued: `max_words` keeps no more than their first so many words.
    """
    if max_words is not None and max_words < 1:
        raise InputError("max_words must be at least 1", got=str(max_words))
    prompts = []
    for record in read_records(path):
        with at_row(record.where):
            prompts.append(_prompt_of_row(record.fields, max_words))
    return list({prompt.key: prompt for prompt in prompts}.values())


def pair_up(rows: Sequence[Row], path: str) -> tuple[tuple[Comparison, ...], dict[str, int]]:
    """Return the comparisons in rows of preferences or labels, and what was left out."""
    comparisons = [comparison for row in rows for comparison in row.comparisons]
    skipped: Counter[str] = Counter()
    labelled: dict[str, tuple[list[Response], list[Response]]] = {}
    for row in rows:
        skipped.update(row.skipped)
        if row.kind == "single":
            if row.label is None:
                must = "every row must hold a preference: chosen and rejected, or a label"
                raise DataError(must, got=f"{row.where}: a response alone", do="use `score`")
            sides = labelled.setdefault(row.responses[0].prompt.key, ([], []))
            sides[row.label].extend(row.responses)
    for unwanted, wanted in labelled.values():
        if not (wanted and unwanted):
            skipped["one_label"] += len(wanted) + len(unwanted)
        for chosen, rejected in product(wanted, unwanted):
            if chosen.key == rejected.key:
                skipped["identical"] += 1
            else:
                comparisons.append(Comparison(chosen=chosen, rejected=rejected))
    if not comparisons:
        counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(skipped.items()))
        must = "a file must hold at least one pair of different answers to one prompt, one better"
        do = "with labels, give both true and false responses to a prompt"
        raise DataError(must, got=f"{path}: none in {len(rows)} rows ({counts})", do=do)
    return tuple(comparisons), dict(skipped)


def split(fields: Fields) -> tuple[Prompt, str, str]:
    """Return the prompt, chosen and rejected of a preference, in whichever form it is written."""
    chosen, rejected = (_written(fields, name, TEXT) for name in ("chosen", "rejected"))
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise DataError("chosen and rejected must both be text or both be lists of messages")
    if not isinstance(chosen, str) and not isinstance(rejected, str):
        if chosen[0].role == rejected[0].role == "assistant":
            # TRL's explicit form: the answers alone are messages.
            given = prompt_in(fields).messages
            chosen, rejected = (*given, *chosen), (*given, *rejected)
        return split_pair(chosen, rejected)
    if fields.keys().isdisjoint(_PROMPTS):
        return split_pair(chosen, rejected)
    start = str(fields.get("prompt")).rstrip()
    texts = [str(chosen), str(rejected)]
    if is_dialogue(start) and all(text.startswith(start) for text in texts):
        texts = [text.removeprefix(start).strip() for text in texts]
    return prompt_in(fields), texts[0], texts[1]


def lists_texts(fields: Fields) -> bool:
    """Return whether `chosen` is a list of texts, as benches have it, and not one answer."""
    chosen = fields.get("chosen")
    return isinstance(chosen, list) and all(isinstance(answer, str) for answer in chosen)


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


def _voted(fields: Fields, where: str) -> Row:
    votes = {name: take(fields, name, _VOTE) for name in fields if _ANNOTATOR.match(name)}
    judged = [
        (int(vote == 2), int(vote != 2), vote == 0, name)
        for name, vote in votes.items()
        if vote is not None
    ]
    texts = [take(fields, name, _SHOWN) for name in ("response1", "response2")]
    row = _judged(where, prompt_in(fields), texts, judged)
    unanswered = Counter(unanswered=len(votes) - len(judged))
    return replace(row, skipped=Counter(row.skipped) + unanswered)


def _case(fields: Fields, where: str) -> Row:
    if "answers" in fields:
        texts = take(fields, "answers", _TWO)
    else:
        texts = [take(fields, name, FILLED) for name in ("first", "second")]
    correct = take(fields, "correct", _SIDE)
    judged = (correct or 0, 1 - (correct or 0), correct is None, _rater(fields))
    return _judged(where, prompt_in(fields), texts, [judged])


def _each_over_each(fields: Fields, where: str) -> Row:
    right, wrong = (take(fields, name, _TEXTS) for name in ("chosen", "rejected"))
    places = product(range(len(right)), range(len(right), len(right) + len(wrong)))
    judged = [(i, j, False, _rater(fields)) for i, j in places]
    return _judged(where, prompt_in(fields), [*right, *wrong], judged)


def _paired(fields: Fields, where: str) -> Row:
    prompt, *texts = split(fields)
    if not all(map(str.strip, texts)) and texts[0] != texts[1] and SAVED_MARK not in fields:
        return Row(where=where, kind="empty", skipped={"empty_answer": 1})
    scores = [fields.get(name) for name in ("score_chosen", "score_rejected")]
    tie = None not in scores and scores[0] == scores[1]
    round = take(fields, "round", _ROUND) or 0
    return replace(_judged(where, prompt, texts, [(0, 1, tie, _rater(fields))], round), kind="pair")


def _single(fields: Fields, where: str) -> Row:
    if "messages" in fields:
        *turns, last = _messages(fields, "messages")
        if last.role != "assistant":
            raise DataError("`messages` to score must end in an answer", got=f"{last.role}'s turn")
        prompt, text = prompt_of(turns), last.content
    else:
        name = next((name for name in _RESPONSES if name in fields), None)
        if name is None or fields.keys().isdisjoint(_PROMPTS):
            must = "a row must hold chosen and rejected, or prompt and response"
            raise DataError(must, got=f"fields {', '.join(fields) or 'none'}", do="rename them")
        prompt, answer = prompt_in(fields), _written(fields, name, FILLED)
        if not isinstance(answer, str) and [turn.role for turn in answer] != ["assistant"]:
            raise DataError(
                f"`{name}` must be one assistant message", got=f"{len(answer)} messages"
            )
        text = answer if isinstance(answer, str) else answer[0].content
    response = Response(prompt=prompt, text=text)
    label = take(fields, "label", _LABEL) if "label" in fields else None
    return Row(where=where, kind="single", responses=(response,), label=label)


FORMS: tuple[tuple[Callable[[Fields], bool], Callable[[Fields, str], Row]], ...] = (
    (lambda fields: "response1" in fields and any(map(_ANNOTATOR.match, fields)), _voted),
    (lambda fields: not fields.keys().isdisjoint({"first", "second", "answers"}), _case),
    (lists_texts, _each_over_each),
    (lambda fields: not fields.keys().isdisjoint({"chosen", "rejected"}), _paired),
    (lambda fields: True, _single),
)
"""Whether a row has the form, and how it is read; the first that applies counts."""


def prompt_in(fields: Fields) -> Prompt:
    """Return the prompt of a row: text, a text dialogue or messages."""
    name = next((name for name in _PROMPTS if name in fields), "prompt")
    if name == "instruction":
        given = [take(fields, part, TEXT) for part in (name, "input") if fields.get(part)]
        # Either may be blank (PandaLM has such rows), not both.
        fields = {name: "\n\n".join(part for part in given if part.strip())}
    written = _written(fields, name, FILLED)
    if isinstance(written, str) and not is_dialogue(written):
        return Prompt.of(written)
    return prompt_of(written)


def _prompt_of_row(fields: Fields, max_words: int | None) -> Prompt:
    if not fields.keys().isdisjoint(_PROMPTS):
        return prompt_in(fields)
    if "messages" in fields:
        turns = _messages(fields, "messages")
        return prompt_of(turns[:-1] if turns[-1].role == "assistant" else turns)
    if "text" in fields:
        text = take(fields, "text", FILLED)
        last = list(re.finditer(r"\S+", text))[:max_words][-1]
        words = Message("user", text[: last.end()].strip())
        return Prompt(messages=(words,), meta={"continuation": True})
    if {"chosen", "rejected"} <= fields.keys():
        return split(fields)[0]
    must = "a row must hold a prompt: prompt, question, instruction, messages or text"
    raise DataError(must, got=f"fields {', '.join(fields) or 'none'}", do="rename its fields")


def _written(fields: Fields, name: str, form: TypeAdapter[str]) -> Dialogue:
    """Return a field's messages, or its text in that form."""
    is_list = isinstance(fields.get(name), list)
    return _messages(fields, name) if is_list else take(fields, name, form)


def _messages(fields: Fields, name: str) -> list[Message]:
    return [Message(**turn) for turn in take(fields, name, _TURNS)]


def _rater(fields: Fields) -> str:
    return "unknown" if fields.get("rater") is None else str(fields["rater"])
