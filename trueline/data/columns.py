"""Know columns by their names: which hold parts of a prompt, answers, scores or a verdict.

Names are compared in lower case with `_` for blanks and hyphens; a column that is null or NaN is
not there. What nothing reads is remembered by name (`unused`).

>>> row = Columns({"system": "Be brief.", "Question": "2 + 2", "documents": None, "source": "us"})
>>> [turn.role for turn in read_prompt(row)], row.unused
(['system', 'user'], {'source'})
>>> side_named("model_b", ("a", "b"), "winner"), side_named("tie (bothbad)", ("a", "b"), "winner")
(1, 2)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, TypeVar

from pydantic import TypeAdapter

from trueline.data import dialogues
from trueline.data.dialogues import Dialogue, read_dialogue, split_lead
from trueline.data.files import take
from trueline.errors import DataError
from trueline.records import Message

__all__ = ["ASKS", "DIALOGUES", "PAIRS", "SCORES", "Columns", "better", "is_tied", "list_in",
           "number", "read_prompt", "side_named", "verdict_in"]  # fmt: skip

T = TypeVar("T")
ASKS = ("prompt", "instruction", "orig_instruction", "question", "query", "problem")
"""What is asked; several of them are one text, in this order."""
DIALOGUES = ("messages", "conversations", "conversation", "dialogue")
_ALONE = ("input", "post", "history", "context", "info", *DIALOGUES)
"""What is asked where there is none of `ASKS`; the first that is there counts."""
_PLACES: Mapping[str, str] = {
    **dict.fromkeys(("system", "system_prompt", "system_message"), "system"),
    **dict.fromkeys(("tools", "functions", "available_tools"), "tools"),
    **dict.fromkeys(("history", "chat_history", "conversation_history"), "earlier"),
    **dict.fromkeys(
        ("context", "documents", "document", "passage", "passages", "article"), "before"
    ),
    **dict.fromkeys(("input", "post"), "after"),
}
"""Where the other parts of a prompt stand: in the system turn, as turns before what is asked, or as
text before or after it in the same turn."""
_INSIDE = ("title", "full_text", "text", "post", "article", "content", "contents")
"""The texts inside a document, or inside a question that is a row of its own."""
_UNREADABLE = ("image", "images", "video", "videos", "audio", "audios", "chat_template_kwargs")
"""Parts of a prompt that no text can say."""
_STEMS = ("response", "answer", "output", "completion", "conversation", "human_ref", "summary",
          "generation", "candidate", "assistant", "orig_response", "text")  # fmt: skip
_SIDES = (("1", "2"), ("a", "b"), ("0", "1"), ("first", "second"), ("left", "right"))
PAIRS: Mapping[tuple[str, str], tuple[str, str]] = {("first", "second"): ("0", "1")} | {
    (f"{stem}{joint}{one}", f"{stem}{joint}{two}"): (one, two)
    for stem, joint, (one, two) in product(_STEMS, ("_", ""), _SIDES)
}
"""Two columns of answers to what a verdict calls them."""
_LISTS = ("answers", "responses", "completions", "outputs", "generations", "candidates",
          "summaries", "samples", "all_generated_responses")  # fmt: skip
"""Columns that hold a list of answers: texts, messages, or rows of their own."""
_TEXTS = ("answer", "text", "response", "content", "completion", "output", "generated_text")
SCORES = ("overall_score", "score", "rating", "reward", "helpfulness", "pm_score", "quality")
"""More is better; of a list, in the plural too."""
_RANKS = ("rank", "ranks")
"""Less is better."""
_WORTHS = (*(f"{score}s" for score in SCORES), *SCORES, "all_rm_scores", *_RANKS, "labels")
_SIGNED = ("overall_preference", "preference_strength")
"""Below 0 the first is better, above 0 the second."""
_VERDICTS = ("winner", "better_response_id", "label", "labels", "preference", "preferred",
             "orig_preference", "choice", "verdict", "better", "correct", "chosen")  # fmt: skip
"""Which is better, by name, number or in the manner of A>B."""
_TIE = re.compile(r"\W*(tie|draw|equal|same|both|neither|no preference|1\.5$|c\W*$)")
_ORDER = re.compile(r"\W*(\w+)\s*(<|>|=)[<>=]*\s*(\w+)\W*")


class Columns(dict[str, Any]):
    """A row by the names of its columns; which of them were read by `row[name]` is remembered."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        plain = {re.sub(r"[\s-]+", "_", str(k).strip().lower()): v for k, v in fields.items()}
        super().__init__({k: v for k, v in plain.items() if not (v is None or v != v)})
        self.nulls = plain.keys() - self.keys()
        self._used: set[str] = set()
        self.inner: set[str] = set()
        """What was not read inside messages and lists, as `messages[].weight`."""

    @property
    def unused(self) -> set[str]:
        """The columns that nothing has read."""
        return {name for name in self.keys() - self._used if self.get(name) != ""} | self.inner

    def __getitem__(self, name: str) -> Any:
        self._used.add(name)
        return self.get(name)

    def take(self, name: str, form: TypeAdapter[T]) -> T:
        """Return a column in its form, or raise `DataError`."""
        self._used.add(name)
        return take(self, name, form)

    def first(self, names: Sequence[str]) -> str | None:
        """Return the first of these names that the row has."""
        return next((name for name in names if name in self), None)


def read_prompt(row: Columns, *, alone: bool = True) -> tuple[Message, ...]:
    """Return the turns of all columns that are part of a prompt, none where there are none.

    `alone`: a dialogue, input or context may be what is asked where nothing else is.
    """
    for name in filter(row.get, _UNREADABLE):
        must, do = f"`{name}` cannot be read as text", "drop the column if answers need it not"
        raise DataError(must, got=repr(row[name])[:40], do=do)
    names = [name for name in ASKS if name in row]
    names = names or [name for name in _ALONE if alone and name in row][:1]
    texts: dict[str, list[str]] = {place: [] for place in ("asked", *_PLACES.values())}
    turns: dict[str, list[Message]] = {"asked": [], "earlier": []}
    for name in (*names, *(name for name in _PLACES if name not in names and row.get(name))):
        place = "asked" if name in names else _PLACES[name]
        part = _part(row, name, place)
        if isinstance(part, str):
            texts["before" if place == "earlier" else place].append(part)
        else:
            turns["asked" if place == "asked" else "earlier"].extend(part)
    asked = turns["asked"]
    if any(texts[place] for place in ("before", "asked", "after")):
        last = [asked.pop().content] if asked and asked[-1].role == "user" else []
        words = _join([*texts["before"], *last, *texts["asked"], *texts["after"]])
        asked += [Message("user", words)] if words else []
    lead, rest = split_lead(tuple(asked))
    if texts["system"] or texts["tools"]:
        words = _join([*texts["system"], *(turn.content for turn in lead), *texts["tools"]])
        lead = (Message("system", words),) if words else ()
    return (*lead, *turns["earlier"], *rest)


def _join(words: Sequence[str]) -> str:
    """Return texts in one, without those of three words or more that another repeats."""
    plain = [" ".join(word.split()) for word in words]
    told = {
        word: text
        for word, text in zip(plain, words, strict=True)
        if word and not any(word in other != word for other in plain if word.count(" ") > 1)
    }
    return "\n\n".join(told.values())


def _part(row: Columns, name: str, place: str) -> Dialogue:
    """Return one column: text, also of documents, tools or lists of texts, or turns."""
    value = row[name]
    if isinstance(value, str) and value.strip() in ("", "[]", "{}", "null"):
        return ""
    parts = value if isinstance(value, list) else [value]
    if place == "tools":
        tools = (tool if isinstance(tool, str) else dialogues.as_json(tool) for tool in parts)
        return "\n".join(["<tools>", *tools, "</tools>"])
    words = [_words(row, name, part) for part in parts if "history" not in name]
    if words and all(words) and (place != "asked" or isinstance(parts[0], Mapping)):
        return "\n\n".join(words)
    read = read_dialogue(value, name, row.inner)
    if isinstance(read, str) and dialogues.is_dialogue(read):
        return dialogues.parse_dialogue(read.rstrip().removesuffix("Assistant:"))
    return read


def _words(row: Columns, name: str, part: object) -> str:
    """Return the words of a document, or of a question that is a row of its own."""
    if not isinstance(part, Mapping) or {"role", "from"} & part.keys():
        return part if isinstance(part, str) and not part.lstrip().startswith("[") else ""
    words = [str(part[key]) for key in _INSIDE if part.get(key)]
    row.inner.update(f"{name}[].{key}" for key in part.keys() - {*_INSIDE} if words)
    return "\n".join(words)


def verdict_in(row: Columns, sides: tuple[str, str]) -> int | None:
    """Return which of two answers is better, 0 or 1, or 2 for a tie; None where nobody says."""
    if (name := row.first(_SIGNED)) is not None:
        return better(0.0, number(row[name]))
    for i, side in enumerate((*(f"model_{side}" for side in sides), "tie")):
        if number(row[f"winner_{side}"]) == 1:
            return i
    if (name := row.first(_VERDICTS)) is not None:
        models = [row.get(f"model_{side}") for side in sides]
        is_model = row[name] in models and models[0] != models[1]
        return models.index(row[name]) if is_model else side_named(row[name], sides, name)
    scores = (tuple(f"{score}_{side}" for side in sides) for score in SCORES)
    return next((better(number(row[a]), number(row[b])) for a, b in scores if a in row), None)


def better(ours: float | None, theirs: float | None) -> int | None:
    """Return 0 or 1, whichever is more, 2 if they are equal, None if one is not known."""
    if ours is None or theirs is None:
        return None
    return 2 if ours == theirs else int(theirs > ours)


def side_named(value: object, sides: tuple[str, str], name: str) -> int:
    """Return which side a verdict names, 0 or 1, or 2 for a tie; else raise `DataError`."""
    said = re.sub(r"\.0$", "", str(value).strip().lower())
    if name == "labels" and sides == ("a", "b") and said in ("0", "1"):
        return 1 - int(said)  # SHP: 1 says that A is better.
    sides = ("0", "1") if name == "correct" else sides
    if (order := _ORDER.fullmatch(said)) and {order[1], order[3]} == {*sides}:
        return 2 if order[2] == "=" else sides.index(order[1 if order[2] == ">" else 3])
    if _TIE.match(said) or (said == "0" and sides == ("1", "2")):
        return 2
    for i, side in enumerate(sides):
        if re.search(rf"(^|{'[^0-9]' if side.isdigit() else '[^a-z]'}){side}\W*$", said):
            return i
    must = f"`{name}` must say {sides[0]}, {sides[1]} or a tie"
    raise DataError(must, got=repr(value)[:40], do="mend or drop the row")


def is_tied(row: Columns) -> bool:
    """Return whether a row with chosen and rejected says besides that they are equal."""
    twins = [(name, name.replace("chosen", "rejected")) for name in row if "chosen" in name]
    told = [[row[a], row[b]] for a, b in twins if b in row and re.search("|".join(_WORTHS), a)]
    lists = [name for name in _WORTHS if isinstance(row.get(name), list) and len(row[name]) == 2]
    told += [
        *(row[name] for name in lists),
        *([0, row[n]] for n in (*_SIGNED, "margin") if n in row),
    ]
    if told:
        return all(better(number(a), number(b)) == 2 for a, b in told)
    names = ("status", "winner", "verdict", "preference", "label")
    return any(_TIE.match(str(row[name]).lower()) is not None for name in names if name in row)


def list_in(row: Columns) -> tuple[str, list[Any], list[float | None]] | None:
    """Return a list of answers, its column, and what each is worth (None: nobody knows)."""
    name = next((name for name in _LISTS if isinstance(row.get(name), list)), None)
    if name is None:
        return None
    given = row[name]
    if name == "completions" and isinstance(row.get("labels"), list):
        must = "`completions` with `labels` are the steps of one answer, which has no verdict"
        raise DataError(must, got=f"{len(given)} steps", do="call whole answers `responses`")
    if given and all(isinstance(part, Mapping) and "role" not in part for part in given):
        text, worth = (next((k for k in known if k in given[0]), "") for known in (_TEXTS, _WORTHS))
        row.inner.update(f"{name}[].{key}" for key in given[0].keys() - {text, worth})
        values, given = [part.get(worth) for part in given], [part.get(text) for part in given]
    else:
        worth = next((key for key in _WORTHS if isinstance(row.get(key), list)), "")
        values = row[worth] if worth else [None] * len(given)
    if len(values) != len(given):
        raise DataError(f"`{worth}` must be as long as `{name}`", got=f"{len(values)}")
    sign = -1.0 if worth in _RANKS else 1.0
    return name, given, [None if (v := number(x)) is None else sign * v for x in values]


def number(value: object) -> float | None:
    """Return a finite number, also one that is written as text, or None."""
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None
