"""Know columns by their names: which hold parts of a prompt, answers, scores or a verdict.

Names are compared in lower case with `_` for blanks and hyphens; a column that is null, NaN or an
empty list is not there. What nothing reads is remembered by name (`unused`).

>>> row = Columns({"system": "Be brief.", "Question": "2 + 2", "documents": None, "source": "us"})
>>> [turn.role for turn in read_prompt(row)], row.unused
(['system', 'user'], {'source'})
>>> side_named("model_b", ("a", "b"), "winner"), side_named("tie (bothbad)", ("a", "b"), "winner")
(1, None)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, TypeVar

from pydantic import TypeAdapter

from trueline.data.dialogues import (
    Dialogue,
    as_json,
    is_dialogue,
    parse_dialogue,
    read_dialogue,
)
from trueline.data.files import take
from trueline.errors import DataError
from trueline.records import Message

__all__ = [
    "ALONE",
    "ASKS",
    "DIALOGUES",
    "Columns",
    "is_tied",
    "list_in",
    "number",
    "pair_in",
    "read_prompt",
    "score_in",
    "side_named",
    "verdict_in",
]

T = TypeVar("T")
ASKS = ("prompt", "instruction", "orig_instruction", "question", "query", "problem")
"""What is asked; several of them are one text, in this order."""
DIALOGUES = ("messages", "conversations", "conversation", "dialogue")
ALONE = ("input", "post", "history", "context", "info", *DIALOGUES)
"""What is asked where there is none of `ASKS`; the first that is there counts."""
_PLACES: Mapping[str, str] = {
    **dict.fromkeys(("system", "system_prompt", "system_message"), "system"),
    **dict.fromkeys(("tools", "functions", "available_tools"), "tools"),
    **dict.fromkeys(("history", "chat_history", "conversation_history"), "earlier"),
    **dict.fromkeys(("context", "documents", "document", "passage", "article"), "before"),
    **dict.fromkeys(("input", "post"), "after"),
}
"""Where the other parts of a prompt stand: the system turn, turns before what is asked, and text
before or after it in the same turn."""
_INSIDE = ("title", "full_text", "text", "post", "article", "content", "contents")
"""The texts inside a document, or inside a question that is a row of its own."""
_UNREADABLE = ("image", "images", "video", "videos", "audio", "audios", "chat_template_kwargs")
"""Parts of a prompt that no text can say."""
_STEMS = ("response", "answer", "output", "completion", "conversation", "human_ref", "summary",
          "generation", "candidate", "assistant", "orig_response", "text")  # fmt: skip
_SIDES = (("1", "2"), ("a", "b"), ("0", "1"), ("first", "second"), ("left", "right"))
_PAIRS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("first", "second"): ("0", "1"),
    **{
        (f"{stem}{joint}{one}", f"{stem}{joint}{two}"): (one, two)
        for stem, joint, (one, two) in product(_STEMS, ("_", ""), _SIDES)
    },
}
"""Two columns of answers to what a verdict calls them."""
_LISTS = ("answers", "responses", "completions", "outputs", "generations", "candidates",
          "summaries", "samples", "all_generated_responses")  # fmt: skip
"""Columns that hold a list of answers: texts, messages, or rows of their own."""
_TEXTS = ("answer", "text", "response", "content", "completion", "output", "generated_text")
_SCORES = ("overall_score", "score", "rating", "reward", "helpfulness", "pm_score", "quality")
"""More is better; a list's are called so too, or in the plural, or `all_rm_scores`."""
_RANKS = ("rank", "ranks")
"""Less is better."""
_SIGNED = ("overall_preference", "preference_strength")
"""Below 0 the first is better, above 0 the second."""
_VERDICTS = ("winner", "better_response_id", "label", "labels", "preference", "preferred",
             "orig_preference", "choice", "verdict", "vote", "better", "correct")  # fmt: skip
"""Which is better, by name, number or in the manner of A>B."""
_TIE = re.compile(r"\W*(tie|draw|equal|same|both|neither|no preference|1\.5$|c\W*$)")
_ORDER = re.compile(r"\W*(\w+)\s*(<|>|=)[<>=]*\s*(\w+)\W*")


class Columns(Mapping[str, Any]):
    """A row by the names of its columns, which remembers what was read."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        plain = {re.sub(r"[\s-]+", "_", str(k).strip().lower()): v for k, v in fields.items()}
        if isinstance(how := plain.get("chat_template_kwargs"), Mapping):
            told = {name: part for name, part in how.items() if part is not None}
            known = {name: told.pop(name) for name in ("tools", "documents") if name in told}
            plain = {**known, **plain, "chat_template_kwargs": told}
        self._fields = {k: v for k, v in plain.items() if not (v is None or v != v)}
        self.nulls = plain.keys() - self._fields.keys()
        self._used: set[str] = set()
        self.inner: set[str] = set()
        """What was not read inside messages and lists, as `messages[].weight`."""

    @property
    def unused(self) -> set[str]:
        """The columns that nothing has read."""
        return (self._fields.keys() - self._used) | self.inner

    def take(self, name: str, form: TypeAdapter[T]) -> T:
        """Return a column in its form, or raise `DataError`."""
        self._used.add(name)
        return take(self._fields, name, form)

    def first(self, names: Sequence[str]) -> str | None:
        """Return the first of these names that the row has."""
        return next((name for name in names if name in self._fields), None)

    def __getitem__(self, name: str) -> Any:
        self._used.add(name)
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def read_prompt(row: Columns, *, alone: Sequence[str] = ALONE) -> tuple[Message, ...]:
    """Return the turns of all columns that are part of a prompt, none where there are none.

    `alone`: what may be asked where there is none of `ASKS`.
    """
    for name in _UNREADABLE:
        if row.get(name):
            known = row[name]
            got = ", ".join(known) if isinstance(known, Mapping) else repr(known)[:40]
            must, do = f"`{name}` cannot be read as text", "drop the column if answers need it not"
            raise DataError(must, got=got, do=do)
    names = [name for name in ASKS if name in row] or [name for name in alone if name in row][:1]
    turns: list[Message] = []
    placed: dict[str, list[str]] = {place: [] for place in ("asked", *_PLACES.values())}
    earlier: list[Message] = []
    for name in (*names, *(name for name in _PLACES if name not in names and row.get(name))):
        place = "asked" if name in names else _PLACES[name]
        part = _tools(row[name]) if place == "tools" else _part(row, name)
        if isinstance(part, str):
            placed["before" if place == "earlier" else place].append(part)
        else:
            (turns if place == "asked" else earlier).extend(part)
    if any(placed[place] for place in ("before", "asked", "after")):
        last = [turns.pop().content] if turns and turns[-1].role == "user" else []
        words = _each_once([*placed["before"], *last, *placed["asked"], *placed["after"]])
        turns += [Message("user", words)] if words else []
    is_led = bool(turns) and turns[0].role in ("system", "developer")
    if placed["system"] or placed["tools"]:
        lead = [turns.pop(0).content] if is_led else []
        words = _each_once([*placed["system"], *lead, *placed["tools"]])
        turns, is_led = [Message("system", words), *turns], True
    return (*turns[:is_led], *earlier, *turns[is_led:])


def _each_once(words: Sequence[str]) -> str:
    """Join texts but for those, of three words or more, that another repeats."""
    plain = [" ".join(word.split()) for word in words]
    told = [
        word
        for i, word in enumerate(words)
        if plain[i]
        and plain[i] not in plain[:i]
        and not (plain[i].count(" ") > 1 and any(plain[i] in other != plain[i] for other in plain))
    ]
    return told[0] if len(told) == 1 else "\n\n".join(told)


def _part(row: Columns, name: str) -> Dialogue:
    """Return one column: text, also of documents or lists of texts, or turns."""
    value = row[name]
    if isinstance(value, str) and not value.strip():
        return ""
    parts = [value] if isinstance(value, Mapping) else value
    if isinstance(parts, list) and "history" not in name:
        told = [_inside(row, name, part) for part in parts]
        if told and all(told):
            return "\n\n".join(told)
    read = read_dialogue(value, name, row.inner)
    if isinstance(read, str) and is_dialogue(read):
        return parse_dialogue(read.rstrip().removesuffix("Assistant:"))
    return read


def _inside(row: Columns, name: str, part: object) -> str:
    """Return the words of a document, or of a question that is a row of its own."""
    if isinstance(part, str) and name in _PLACES:
        return part
    if not isinstance(part, Mapping) or {"role", "from"} & part.keys():
        return ""
    if words := [str(part[key]) for key in _INSIDE if part.get(key)]:
        row.inner.update(f"{name}[].{key}" for key in part.keys() - {*_INSIDE})
    return "\n".join(words)


def _tools(value: Any) -> str:
    if isinstance(value, str) and value.strip() in ("", "[]", "{}", "null"):
        return ""
    tools = value if isinstance(value, list) else [value]
    told = (tool if isinstance(tool, str) else as_json(tool) for tool in tools)
    return "\n".join(["<tools>", *told, "</tools>"])


def pair_in(row: Columns) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """Return the two columns of answers and what a verdict calls them, or None."""
    return next((pair for pair in _PAIRS.items() if pair[0][0] in row and pair[0][1] in row), None)


def verdict_in(row: Columns, sides: tuple[str, str]) -> int | None:
    """Return which of two answers is better, 0 or 1, or None: equal, as far as anybody knows."""
    if (name := row.first(_SIGNED)) is not None:
        sign = number(row[name])
        if sign is None:
            raise DataError(f"`{name}` must be a number", got=repr(row[name])[:40])
        return None if sign == 0 else int(sign > 0)
    hot = [i for i, side in enumerate((*sides, "tie"))
           if number(row.get(f"winner_model_{side}", row.get(f"winner_{side}"))) == 1]  # fmt: skip
    if hot:
        return hot[0] if hot[0] < 2 else None
    if (name := row.first(_VERDICTS)) is not None:
        models = [row.get(f"model_{side}") for side in sides]
        is_model = row[name] in models and models[0] != models[1]
        return models.index(row[name]) if is_model else side_named(row[name], sides, name)
    for score in _SCORES:
        ours = [number(row.get(f"{score}_{side}")) for side in sides]
        if ours[0] is not None and ours[1] is not None:
            return None if ours[0] == ours[1] else int(ours[1] > ours[0])
    return None


def side_named(value: object, sides: tuple[str, str], name: str) -> int | None:
    """Return which side a verdict names, 0 or 1, or None for a tie; else raise `DataError`."""
    said = re.sub(r"\.0$", "", str(value).strip().lower())
    if name == "labels" and sides == ("a", "b") and said in ("0", "1"):
        return 1 - int(said)  # SHP: 1 says that A is better.
    if name == "correct":
        sides = ("0", "1")
    if (order := _ORDER.fullmatch(said)) and {order[1], order[3]} == {*sides}:
        return None if order[2] == "=" else sides.index(order[1 if order[2] == ">" else 3])
    if _TIE.match(said) or (said == "0" and "0" not in sides):
        return None
    for i, side in enumerate(sides):
        if re.search(rf"(^|{'[^0-9]' if side.isdigit() else '[^a-z]'}){side}\W*$", said):
            return i
    must = f"`{name}` must say {sides[0]}, {sides[1]} or a tie"
    raise DataError(must, got=repr(value)[:40], do="mend or drop the row")


def is_tied(row: Columns) -> bool:
    """Return whether a row with chosen and rejected says besides that they are equal."""
    twins = [(name, name.replace("chosen", "rejected")) for name in row if "chosen" in name]
    told = [[number(row[side]) for side in twin] for twin in twins
            if twin[1] in row and re.search("|".join((*_SCORES, *_RANKS)), twin[0])]  # fmt: skip
    told += [[number(each) for each in row[name]] for name in ("rating", "ratings", "scores")
             if isinstance(row.get(name), list) and len(row[name]) == 2]  # fmt: skip
    if told:
        return all(a == b is not None for a, b in told)
    if (name := row.first(_SIGNED)) is not None:
        return number(row[name]) == 0
    names = [name for name in ("status", "winner", "verdict", "preference", "label") if name in row]
    return any(_TIE.match(str(row[name]).lower()) is not None for name in names)


def list_in(row: Columns) -> tuple[str, list[Any], list[float | None]] | None:
    """Return a list of answers, its column, and what each is worth (None: nobody knows)."""
    name = next((name for name in _LISTS if isinstance(row.get(name), list)), None)
    if name is None:
        return None
    given = row[name]
    if name == "completions" and isinstance(row.get("labels"), list):
        must = "`completions` with `labels` are the steps of one answer, which has no verdict"
        raise DataError(must, got=f"{len(given)} steps", do="call whole answers `responses`")
    inner = [part for part in given if isinstance(part, Mapping) and "role" not in part]
    if inner and len(inner) == len(given):
        text = next((key for key in _TEXTS if key in inner[0]), None)
        if text is None:
            raise DataError(f"`{name}` must hold answers", got=f"{', '.join(inner[0])}")
        worth = next((key for key in (*_SCORES, *_RANKS) if key in inner[0]), "")
        row.inner.update(f"{name}[].{key}" for key in inner[0].keys() - {text, worth})
        values, given = [part.get(worth) for part in inner], [part.get(text) for part in inner]
    else:
        plural = [f"{score}s" for score in (*_SCORES, *_RANKS)]
        known = (*plural, *_SCORES, "all_rm_scores", "ranks", "labels")
        worth = next((key for key in known if isinstance(row.get(key), list)), "")
        values = list(row.get(worth, [None] * len(given)))
    if len(values) != len(given):
        raise DataError(f"`{worth}` must be as long as `{name}`", got=f"{len(values)}")
    sign = -1.0 if worth in _RANKS else 1.0
    return name, given, [None if (v := number(x)) is None else sign * v for x in values]


def score_in(row: Columns) -> float | None:
    """Return how good the one answer of a row is said to be."""
    name = row.first(_SCORES)
    return None if name is None else number(row[name])


def number(value: object) -> float | None:
    """Return a finite number, also one that is written as text, or None."""
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None
