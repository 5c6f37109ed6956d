r"""Turn a row of a file into preferences, ties, or a response to be scored.

The forms, in the order in which `FORMS` tries them:

    {"instruction", "response1", "response2", "annotator1", …}     PandaLM, arXiv 2306.05087
    {"prompt", "chosen": [text, …], "rejected": [text, …]}         a bench's row
    {"prompt", "chosen", "rejected"}     text or messages; without "prompt" dialogues that share it
    {"messages"}                         a dialogue that ends in the answer to be scored
    {"prompt", "response"}               or completion, answer, output. With "label", each true one
                                         is preferred to each false one of the same prompt

For `prompt` there may stand `question`, or `instruction` with `input`; optional are `rater` and
`round`. A prompt that is a text dialogue (``\n\nHuman: …\n\nAssistant:``) becomes turns.

A fault raises a `DataError` with file and line. What is no fault is counted: `identical` answers,
`empty_answer` (a dialogue ends where the assistant begins), `one_label` (no response of the other
label), `tie` (judged equal, or equal `score_chosen` and `score_rejected`) and `unanswered` (nobody
judged). Contradictory duplicates stay: they are honest disagreement.

>>> row = to_row(FileRecord("pairs.jsonl:1", {"prompt": "2 + 2", "chosen": "4", "rejected": "5"}))
>>> row.comparisons[0].chosen.text
'4'
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from trueline.data.dialogues import is_dialogue, messages_of, parse_dialogue, prompt_of, split_pair
from trueline.data.files import FileRecord, at_row, read_records
from trueline.errors import DataError
from trueline.records import Comparison, Prompt, Response

__all__ = [
    "Row",
    "lists_texts",
    "load_rows",
    "pair_up",
    "prompt_in",
    "split",
    "text_in",
    "text_list",
    "to_row",
]

Fields = Mapping[str, Any]
SAVED_MARK = "trueline"
"""Field of rows that `Comparisons.save` wrote: only there may an answer be empty."""
PROMPT_FIELDS = ("prompt", "question", "instruction")
_RESPONSE_FIELDS = ("response", "completion", "answer", "output")
_ANNOTATOR = re.compile(r"annotator_?\d+$")


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


class _Answers:
    """The answers to one prompt; gathers the judgements of them."""

    def __init__(self, prompt: Prompt, texts: Sequence[str]) -> None:
        self.responses = tuple(Response(prompt=prompt, text=text) for text in texts)
        self.comparisons: list[Comparison] = []
        self.ties: list[Comparison] = []
        self.skipped: Counter[str] = Counter()

    def prefer(self, better: int, worse: int, *, tie: bool = False, **origin: Any) -> None:
        """Note that one answer is better than another, or shown before its equal."""
        chosen, rejected = self.responses[better], self.responses[worse]
        if chosen.key == rejected.key:
            self.skipped["identical"] += 1
            return
        pair = Comparison(chosen=chosen, rejected=rejected, **origin)
        (self.ties if tie else self.comparisons).append(pair)
        self.skipped["tie"] += tie

    def row(self, where: str, kind: Literal["pair", "several"] = "several") -> Row:
        """Return the row of a file that the answers and judgements make."""
        return Row(
            where=where,
            kind=kind,
            responses=self.responses,
            comparisons=tuple(self.comparisons),
            ties=tuple(self.ties),
            skipped=dict(+self.skipped),
        )


def load_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Return every row of a file, in order: preferences, and responses to be scored."""
    return [to_row(record) for record in read_records(path)]


def to_row(record: FileRecord) -> Row:
    """Return one row, recognised and checked."""
    with at_row(record.where):
        read = next(read for applies, read in FORMS if applies(record.fields))
        return read(record.fields, record.where)


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
        must = (
            "a file must hold at least one pair of different answers to one prompt, one preferred"
        )
        do = "with labels, give both true and false responses to a prompt"
        raise DataError(must, got=f"{path}: none in {len(rows)} rows ({counts})", do=do)
    return tuple(comparisons), dict(skipped)


def split(fields: Fields, chosen: Any, rejected: Any) -> tuple[Prompt, str, str]:
    """Return the prompt and the two answers of a preference, in whichever form it is written."""
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise DataError("chosen and rejected must both be text or both be lists of messages")
    if not isinstance(chosen, str):
        better, worse = messages_of(chosen, "chosen"), messages_of(rejected, "rejected")
        if better[0].role == worse[0].role == "assistant":
            # TRL's explicit form: the answers alone are messages.
            given = prompt_in(fields).messages
            better, worse = (*given, *better), (*given, *worse)
        return split_pair(better, worse)
    if fields.keys().isdisjoint(PROMPT_FIELDS):
        return split_pair(chosen, rejected)
    prompt, written = prompt_in(fields), fields.get("prompt")
    if isinstance(written, str) and is_dialogue(written):
        start = written.rstrip()
        if chosen.startswith(start) and rejected.startswith(start):
            chosen, rejected = chosen[len(start) :].strip(), rejected[len(start) :].strip()
    return prompt, chosen, rejected


def prompt_in(fields: Fields) -> Prompt:
    """Return the prompt of a row: text, a text dialogue or messages."""
    name = next((name for name in PROMPT_FIELDS if name in fields), "prompt")
    value: Any = None
    if name == "instruction":
        # Either may be blank (PandaLM has such rows), not both.
        blank = (None, "")
        parts = [p for p in ("instruction", "input") if _stripped(fields.get(p)) not in blank]
        value = "\n\n".join(text_in(fields, part) for part in parts)
    value = value or filled(fields, name)
    if not isinstance(value, str):
        return prompt_of(messages_of(value, name), name)
    if is_dialogue(value):
        return prompt_of(parse_dialogue(value.rstrip().removesuffix("Assistant:")), name)
    return Prompt.of(value)


def filled(fields: Fields, name: str) -> Any:
    """Return a field's value, text or list, that is there and not empty."""
    value = fields.get(name)
    if value is None:
        got = "null" if name in fields else f"fields {', '.join(fields) or 'none'}"
        raise DataError(f"every row must hold `{name}`", got=got, do="fill it in or drop the row")
    if not isinstance(value, str | list):
        raise DataError(f"`{name}` must be text or a list of messages", got=repr(value)[:40])
    if not _stripped(value) and SAVED_MARK not in fields:
        raise DataError(f"`{name}` must not be empty", got=repr(value)[:20], do="drop the row")
    return value


def text_in(fields: Fields, name: str) -> str:
    """Return a field that must be text and not empty."""
    value = filled(fields, name)
    if not isinstance(value, str):
        raise DataError(f"`{name}` must be text", got=type(value).__name__)
    return value


def text_list(fields: Fields, name: str) -> list[str]:
    """Return a field that must be a list of answers in text, at least one."""
    texts = fields.get(name)
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        must = f"`{name}` must be a list of texts, at least one"
        raise DataError(must, got=repr(texts)[:40], do="mend or drop the row")
    return texts


def _voted(fields: Fields, where: str) -> Row:
    texts = [_words(fields[name], name) for name in ("response1", "response2")]
    answers = _Answers(prompt_in(fields), texts)
    for name in filter(_ANNOTATOR.match, fields):
        if fields[name] is None:
            answers.skipped["unanswered"] += 1
            continue
        vote = _number(fields[name], name)
        if vote not in (0, 1, 2):
            raise DataError(f"`{name}` must be 0 (a tie), 1 or 2", got=f"{vote:g}")
        better, worse = (1, 0) if vote == 2 else (0, 1)
        answers.prefer(better, worse, tie=vote == 0, rater=name)
    return answers.row(where)


def _each_over_each(fields: Fields, where: str) -> Row:
    right, wrong = text_list(fields, "chosen"), text_list(fields, "rejected")
    answers = _Answers(prompt_in(fields), [*right, *wrong])
    for i, j in product(range(len(right)), range(len(wrong))):
        answers.prefer(i, len(right) + j, rater=_rater(fields))
    return answers.row(where)


def _paired(fields: Fields, where: str) -> Row:
    chosen, rejected = filled(fields, "chosen"), filled(fields, "rejected")
    prompt, better, worse = split(fields, chosen, rejected)
    saved = SAVED_MARK in fields
    if better != worse and not (better.strip() and worse.strip()) and not saved:
        return Row(where=where, kind="empty", skipped={"empty_answer": 1})
    scores = [fields.get(name) for name in ("score_chosen", "score_rejected")]
    tie = (None not in scores and scores[0] == scores[1]) or (saved and fields.get("tie") is True)
    answers = _Answers(prompt, [better, worse])
    answers.prefer(0, 1, tie=tie, rater=_rater(fields), round=_round(fields))
    return answers.row(where, "pair")


def _single(fields: Fields, where: str) -> Row:
    if "messages" in fields:
        *turns, last = messages_of(filled(fields, "messages"), "messages")
        if last.role != "assistant" or not turns:
            raise DataError("`messages` to score must end in an answer", got=f"{last.role}'s turn")
        prompt, text = prompt_of(turns, "messages"), last.content
    else:
        name = next((name for name in _RESPONSE_FIELDS if name in fields), None)
        if name is None or fields.keys().isdisjoint(PROMPT_FIELDS):
            must = "a row must hold chosen and rejected, or prompt and response"
            raise DataError(must, got=f"fields {', '.join(fields) or 'none'}", do="rename them")
        prompt, text = prompt_in(fields), _one_answer(fields, name)
    response = Response(prompt=prompt, text=text)
    return Row(where=where, kind="single", responses=(response,), label=_label(fields))


def _is_voted(fields: Fields) -> bool:
    return {"response1", "response2"} <= fields.keys() and any(map(_ANNOTATOR.match, fields))


def lists_texts(fields: Fields) -> bool:
    """Return whether `chosen` is a list of texts, as benches have it, and not one answer."""
    chosen = fields.get("chosen")
    return isinstance(chosen, list) and all(isinstance(answer, str) for answer in chosen)


FORMS: tuple[tuple[Callable[[Fields], bool], Callable[[Fields, str], Row]], ...] = (
    (_is_voted, _voted),
    (lists_texts, _each_over_each),
    (lambda fields: not fields.keys().isdisjoint({"chosen", "rejected"}), _paired),
    (lambda fields: True, _single),
)
"""Whether a row has the form, and how it is read; the first that applies counts."""


def _one_answer(fields: Fields, name: str) -> str:
    """Return an answer: text, or one assistant message."""
    value = filled(fields, name)
    turns = () if isinstance(value, str) else messages_of(value, name)
    if turns and (len(turns) > 1 or turns[0].role != "assistant"):
        raise DataError(f"`{name}` must be one assistant message", got=f"{len(turns)} messages")
    return turns[0].content if turns else str(value)


def _label(fields: Fields) -> bool | None:
    known = {"true": True, "1": True, "false": False, "0": False}
    label = known.get(str(fields.get("label")).strip().lower())
    if label is None and "label" in fields:
        raise DataError("`label` must be true or false", got=repr(fields["label"])[:40])
    return label


def _rater(fields: Fields) -> str:
    return "unknown" if fields.get("rater") is None else str(fields["rater"])


def _round(fields: Fields) -> int:
    number = _number(fields.get("round") or 0, "round")
    if number < 0 or number != int(number):
        raise DataError("`round` must be a whole number from 0", got=f"{number:g}")
    return int(number)


def _number(value: Any, name: str) -> float:
    with contextlib.suppress(TypeError, ValueError):
        if math.isfinite(float(value)):
            return float(value)
    raise DataError(f"`{name}` must be a number", got=repr(value)[:40], do="drop the row")


def _words(value: object, name: str) -> str:
    """Return what somebody saw and judged: an empty answer, `true` and 4 are words here."""
    if not isinstance(value, str | bool | int | float) or value != value:
        raise DataError(f"`{name}` must be text", got=repr(value)[:40], do="drop the row")
    return str(value)


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value
