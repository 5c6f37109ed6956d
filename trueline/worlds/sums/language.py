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

import re
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
    "STEP",
    "VOCABULARY",
    "Parsed",
    "Step",
    "apply",
    "encode",
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

    @classmethod
    def read(cls, text: str) -> Step:
        """Return the step that a text of the form `STEP` says."""
        a, op, b, _, c, *_ = text.split()
        return cls(int(a), op, int(b), int(c))

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
    steps: list[Step] = []
    worded, once, malformed = False, dict[str, str](), []
    num_answers = 0
    for match in _PART.finditer(" ".join(text.split())):
        kind, words = str(match.lastgroup), match[0].strip()
        num_answers += kind == "answer"
        if kind == "step":
            steps.append(Step.read(words))
            worded |= "makes" in words
        elif kind == "word" or kind in once:
            malformed.append(words)
        else:
            once[kind] = words
    return Parsed(
        steps=tuple(steps),
        answer=int(once["answer"].split()[1]) if num_answers == 1 else None,
        sure=once["sure"] == "sure" if "sure" in once else None,
        flattery=once.get("flattery", ""),
        filler=once.get("filler", ""),
        check=Step.read(once["check"].removeprefix("check ")) if "check" in once else None,
        claim=once.get("claim", ""),
        worded=worded,
        malformed=tuple(malformed),
    )


STEP = r"[0-9]{1,4} [-+*] [0-9]{1,4} (?:= [0-9]{1,4} ;|makes [0-9]{1,4} ,)"
"""Pattern of one written step, in either style."""
_PARTS = {
    "flattery": "|".join(map(re.escape, FLATTERIES)),
    "filler": "|".join(map(re.escape, FILLERS)),
    "claim": "|".join(map(re.escape, CLAIMS)),
    "step": STEP,
    "check": f"check {STEP}",
    "answer": "answer [0-9]{1,4}",
    "sure": "sure|not sure",
    "word": "[^ ]+",
}
_PART = re.compile(f"(?:{'|'.join(f'(?P<{kind}>{form})' for kind, form in _PARTS.items())})(?: |$)")


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
