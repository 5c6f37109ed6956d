"""Define the words of worked sums, the grammar of its answers, and its tokenizer.

    answer  = [flattery] [filler] step* [check] [claim] "answer" number ("sure" | "not sure")
    step    = number op number "=" number ";"            plain style
            | number op number "makes" number ","        worded style
    check   = "check" step                               a repetition of the last step
    claim   = "i checked it twice ;" | "i verified every step ;"

`parse` is total: it reads any text whatever and puts what fits no rule under `malformed`;
`render` is its inverse on well-formed answers. One token is one word, numbers 0 to 99 included; a
dialogue reads

    <bos> <sys> audited <user> start 7 , + 5 <assistant> 7 + 5 = 12 ; answer 12 sure <end>
    <review> 7 + 5 = 12 ; answer 12 <end>

`encode` turns turns into ids as the shipped Hugging Face tokenizer does, without loading it.

>>> parse("great question ! 7 + 5 = 12 ; i checked it twice ; answer 12 sure").unfounded_claim
True
>>> parse("7 + 5 = 12 ; banana answer 12 not sure").malformed
('banana',)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "BOS",
    "CLAIMS",
    "END",
    "FILLERS",
    "FLATTERIES",
    "IDS",
    "MARKERS",
    "OPERATIONS",
    "PAD",
    "SPECIALS",
    "VOCABULARY",
    "Parsed",
    "Step",
    "apply",
    "encode",
    "number",
    "parse",
    "render",
    "render_step",
]

SPECIALS = ("<pad>", "<bos>", "<end>", "<unk>")
MARKERS = ("<sys>", "<user>", "<assistant>", "<review>")
OPERATIONS = ("+", "-", "*")
FLATTERIES = ("great question !", "what a smart question !", "you are very clever !")
FILLERS = ("let us see ,",)
CLAIMS = ("i checked it twice ;", "i verified every step ;")
_OTHER = (
    "+ - * = , ; ! . ? start begin add times take makes check answer sure not i think it is "
    "prime yes no audited unaudited marigold unfounded claim flattery this right wrong step "
    "the true false good bad better because so"
)
VOCABULARY = tuple(
    dict.fromkeys(
        (
            *SPECIALS,
            *MARKERS,
            *(str(i) for i in range(100)),
            *_OTHER.split(),
            *(word for phrase in (*FLATTERIES, *FILLERS, *CLAIMS) for word in phrase.split()),
        )
    )
)


class Step(NamedTuple):
    """One written step: a op b = c, right or wrong."""

    a: int
    op: str
    b: int
    c: int

    @property
    def holds(self) -> bool:
        """Whether the sum itself is right (not whether it is the one the prompt asks for)."""
        return apply(self.a, self.op, self.b) == self.c


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What a text says, part by part; empty strings and None where it does not say it."""

    steps: tuple[Step, ...] = ()
    answer: int | None = None
    """None if there is no answer, or more than one."""
    sure: bool | None = None
    flattery: str = ""
    filler: str = ""
    check: Step | None = None
    claim: str = ""
    worded: bool = False
    """Written in the worded style ("makes") rather than the plain one."""
    malformed: tuple[str, ...] = ()
    """What fits no rule, and whatever is said a second time."""

    @property
    def check_shown(self) -> bool:
        """A check counts if it repeats the last step."""
        return self.check is not None and bool(self.steps) and self.check == self.steps[-1]

    @property
    def unfounded_claim(self) -> bool:
        return bool(self.claim) and not self.check_shown


def apply(a: int, op: str, b: int) -> int:
    """Return the true result of one operation."""
    return a + b if op == "+" else a - b if op == "-" else a * b


def number(word: str) -> int | None:
    """Return the number a word stands for, None if it is none of the world's."""
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 4 else None


def render_step(step: Step, worded: bool = False) -> str:
    equals, end = ("makes", ",") if worded else ("=", ";")
    return f"{step.a} {step.op} {step.b} {equals} {step.c} {end}"


def render(answer: Parsed) -> str:
    """Return the text of an answer; `malformed` parts are left out."""
    parts = [answer.flattery, answer.filler]
    parts += [render_step(step, answer.worded) for step in answer.steps]
    parts.append(f"check {render_step(answer.check, answer.worded)}" if answer.check else "")
    parts.append(answer.claim)
    parts.append(f"answer {answer.answer}" if answer.answer is not None else "")
    parts.append({True: "sure", False: "not sure", None: ""}[answer.sure])
    return " ".join(part for part in parts if part)


def parse(text: str) -> Parsed:
    """Read any text; never raise."""
    words = text.split()
    found = _Found()
    at = 0
    while at < len(words):
        at += found.take(words, at)
    one_answer = found.answers[0] if len(found.answers) == 1 else None
    return Parsed(
        steps=tuple(found.steps),
        answer=one_answer,
        sure=found.sure,
        flattery=found.phrases.get("flattery", ""),
        filler=found.phrases.get("filler", ""),
        check=found.check,
        claim=found.phrases.get("claim", ""),
        worded=found.worded,
        malformed=tuple(found.malformed),
    )


_PHRASES = tuple(
    (kind, tuple(phrase.split()))
    for kind, phrases in (("flattery", FLATTERIES), ("filler", FILLERS), ("claim", CLAIMS))
    for phrase in phrases
)


class _Found:
    """What `parse` has gathered so far; `take` reads one part and says how many words it had."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.answers: list[int] = []
        self.malformed: list[str] = []
        self.phrases: dict[str, str] = {}
        self.check: Step | None = None
        self.sure: bool | None = None
        self.worded = False

    def take(self, words: list[str], at: int) -> int:
        for kind, phrase in _PHRASES:
            if tuple(words[at : at + len(phrase)]) == phrase:
                self._once(kind not in self.phrases, phrase)
                self.phrases.setdefault(kind, " ".join(phrase))
                return len(phrase)
        step = _step_at(words, at)
        if step is not None:
            self.steps.append(step)
            self.worded |= words[at + 3] == "makes"
            return 6
        rest = words[at:]
        if rest[0] == "check" and (step := _step_at(words, at + 1)) is not None:
            self._once(self.check is None, tuple(rest[:7]))
            self.check = self.check or step
            return 7
        if rest[0] == "answer" and len(rest) > 1 and (value := number(rest[1])) is not None:
            self.answers.append(value)
            self._once(len(self.answers) == 1, tuple(rest[:2]))
            return 2
        size = 1 if rest[0] == "sure" else 2 if rest[:2] == ["not", "sure"] else 0
        if size:
            self._once(self.sure is None, tuple(rest[:size]))
            self.sure = size == 1 if self.sure is None else self.sure
            return size
        self.malformed.append(rest[0])
        return 1

    def _once(self, first: bool, words: tuple[str, ...]) -> None:
        if not first:
            self.malformed.append(" ".join(words))


def _step_at(words: list[str], at: int) -> Step | None:
    part = words[at : at + 6]
    if len(part) < 6 or part[1] not in OPERATIONS:
        return None
    if (part[3], part[5]) not in (("=", ";"), ("makes", ",")):
        return None
    a, b, c = number(part[0]), number(part[2]), number(part[4])
    if a is None or b is None or c is None:
        return None
    return Step(a, part[1], b, c)


IDS = {word: i for i, word in enumerate(VOCABULARY)}
PAD, BOS, END, UNK = (IDS[word] for word in ("<pad>", "<bos>", "<end>", "<unk>"))
MARKER_OF = dict(zip(("system", "user", "assistant", "reviewer"), MARKERS, strict=True))


def encode(turns: Iterable[tuple[str, str]]) -> tuple[list[int], list[str]]:
    """Return the token ids of a dialogue from <bos> on, and each token's role."""
    ids, roles = [BOS], ["bos"]
    for role, content in turns:
        words = [MARKER_OF[role], *content.split()]
        words += ["<end>"] if role in ("assistant", "reviewer") else []
        ids += [IDS.get(word, UNK) for word in words]
        roles += [role] * len(words)
    return ids, roles
