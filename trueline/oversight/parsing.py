"""Fence other people's words in a prompt, and read strictly what a model replies.

    === begin text 9f0c… answer A ===          VERDICT 51d2…: A 80%          <- code, not nonce
    words                                       FLAW 51d2…: wrong step | 2 | 12 * 3 is 36
    === end text 9f0c… ===                      NO FLAW 51d2…

Nonce and code are a hash of fresh randomness and of the very words, so that words can neither end
their fence nor carry the line that is read, even if their writer knew the seed. Words that look
like a fence, a verdict or control tokens are altered, invisible characters are taken out. After
Hines et al. 2024 (arXiv 2403.14720), who mark untrusted text; where we differ: the form of the
answer is guarded too. No fence can keep a model from being *persuaded*.

>>> own_words("<think>A?</think>NO FLAW 51d2<|im_end|>")
'NO FLAW 51d2'
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from trueline.records import Flaw
from trueline.rng import Rng

__all__ = [
    "cleaned",
    "defuse",
    "draw_marks",
    "fence",
    "own_words",
    "read_flaws",
    "read_new_answer",
    "strip_invisible",
]

_LINE_BREAK = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_LOOKALIKE = re.compile(
    r"^(?=[^\w\n]*(?:(?:begin|end)\s+text|verdict|(?:no\s+)?flaw)\b)", re.IGNORECASE | re.MULTILINE
)
_CONTROL = re.compile(
    r"<(?=[|｜][^\n]{0,40}[|｜]>|/?s>|<?/?SYS>|/?(?:start|end)_of_turn>|/?think>)|\[(?=/?INST\])"
)
_QUOTE_MARK = re.compile(r"<(?!/?[uv]_quote>)\s*(?:(/)\s*)?[uv]_quote", re.IGNORECASE)
_MARK_ALIKE = re.compile(r"(?:[<＜﹤〈⟨‹《]|&lt;)([^<>＜＞﹤﹥\n]{1,24}?)(?:[>＞﹥〉⟩›》]|&gt;)")
_MOST_MARKS = 8
"""Combining marks in a row; of more, putting them in order takes long."""
_INVISIBLE = {"Cc", "Cf", "Co", "Cs"}
_JOINERS = "\n\t\u200c\u200d"
_THOUGHTS = re.compile(
    r"^[ \t]{0,9}[<\[◁](?:seed:)?(?:think|thinking|thought|reasoning|scratchpad)[>\]▷]"
    r"|(?P<end>[<\[◁]/(?:seed:)?(?:think|thinking|thought|reasoning|scratchpad)[>\]▷]"
    r"|<\|end_of_thought\|>|<\|channel\|>final[^\n<]{0,40}<\|message\|>)"
    r"|<\|begin_of_thought\|>|<\|channel\|>(?:analysis|commentary)\b",
    re.IGNORECASE | re.MULTILINE,
)
_DRESS = " \t*`#>-•"
"""What a line may be dressed in."""
_TURN_END = re.compile(
    r"</s>|<(?:eos|pad|end_of_turn)>"
    r"|<[|｜](?!end_header)[^<>|｜\n]{0,24}(?:end|eot|eom|eos|return)[^<>|｜\n]{0,24}[|｜]>",
    re.IGNORECASE,
)


def draw_marks(rng: Rng, *words: str) -> tuple[str, str]:
    """Return nonce and code of one request about these words."""
    digest = hashlib.sha256(rng.bytes(16) + "\0".join(words).encode("utf-8", "replace"))
    return digest.hexdigest()[:12], digest.hexdigest()[12:24]


def strip_invisible(text: str) -> str:
    """Return the text without control, direction, tag and half characters, or towers of marks."""
    kept, marks = [], 0
    for c in _LINE_BREAK.sub("\n", text):
        marks = marks + 1 if unicodedata.combining(c) else 0
        seen = c in _JOINERS or unicodedata.category(c) not in _INVISIBLE
        if seen and marks <= _MOST_MARKS:
            kept.append(c)
    return "".join(kept)


def cleaned(text: str) -> str:
    """Return the text as it is to be checked: nothing invisible, and marks plainly written."""
    return _MARK_ALIKE.sub(_plain_mark, strip_invisible(text))


def _plain_mark(match: re.Match[str]) -> str:
    words = "".join(unicodedata.normalize("NFKD", match[1]).casefold().split())
    mark = "".join(c for c in words if unicodedata.category(c) not in ("Cf", "Mn"))
    return f"<{mark}>" if re.fullmatch("/?(?:[uv]_)?quote", mark) else match[0]


def defuse(text: str, *, marked: bool = False) -> str:
    """Return the words unable to pass for anything else; `marked` keeps marks of checked quotes."""
    text = cleaned(text)
    text = text if marked else text.replace("u_quote>", "quote>").replace("v_quote>", "quote>")
    text = _QUOTE_MARK.sub(r"<\1quote", text)
    return _LOOKALIKE.sub("| ", _CONTROL.sub(r"\g<0> ", text))


def fence(name: str, text: str, *, nonce: str, marked: bool = False) -> str:
    """Return the words under a name, between marks that they cannot know."""
    words = defuse(text, marked=marked)
    return f"=== begin text {nonce} {name} ===\n{words}\n=== end text {nonce} ==="


def own_words(text: str) -> str | None:
    """Return what a reply says after its thoughts, up to the end of its turn; None where the
    thoughts do not end."""
    said = _after_thoughts(text)
    return said and next((part for part in _TURN_END.split(said) if part.strip()), "")


def _after_thoughts(text: str) -> str | None:
    marks = list(_THOUGHTS.finditer(text))
    end = max((mark.end() for mark in marks if mark["end"]), default=0)
    unended = any(mark.start() >= end for mark in marks if not mark["end"])
    return None if unended else text[end:]


def read_flaws(text: str, *, code: str) -> tuple[Flaw, ...] | None:
    """Return the flaws a reply names; None where it names none without saying so, or says both."""
    lines = [line.strip(_DRESS) for line in (own_words(text) or "").splitlines()]
    named = [line for line in lines if line.startswith(f"FLAW {code}")]
    if bool(named) == any(line.strip(_DRESS + ".") == f"NO FLAW {code}" for line in lines):
        return None
    step = r"\|\s*(?:step )?([1-9][0-9]{0,4}|[-–—])\s*\|"
    form = rf"FLAW {code}[*`]{{0,3}}:[*`]{{0,3}} ([^|]+){step}(.*)"
    flaws = []
    for line in named:
        match = re.fullmatch(form, line, re.IGNORECASE)
        if match is None:
            return None
        kind, number, evidence = (part.strip() for part in match.groups())
        at = int(number) - 1 if number.isdigit() else None
        flaws.append(Flaw(kind="_".join(kind.lower().split()), step=at, evidence=evidence or None))
    return tuple(flaws)


def read_new_answer(text: str, *, code: str) -> tuple[str, str] | None:
    """Return what stands between the marks <code> and </code>, and after; None without."""
    text = _after_thoughts(text) or ""
    before, _, rest = text.partition(f"<{code}>")
    answer, closing, after = rest.partition(f"</{code}>")
    told = closing and answer.strip() and code not in before
    return (answer.strip(), after) if told else None
