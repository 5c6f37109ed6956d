"""Fence other people's words in a prompt, and read strictly what a model replies.

    === begin text 9f0c… answer A ===          VERDICT 51d2…: A 80%          <- code, not nonce
    words                                       FLAW 51d2…: wrong step | 2 | 12 * 3 is 36
    === end text 9f0c… ===                      NO FLAW 51d2…

Nonce and code are a hash of fresh randomness and of the very words, so that words can neither end
their fence nor carry the line that is read, even if their writer knew the seed. Words that look
like a fence, a verdict or control tokens are altered, invisible characters are taken out. After
Hines et al. 2024 (arXiv 2403.14720), who mark untrusted text; where we differ: the form of the
answer is guarded too. No fence can keep a model from being *persuaded*.

>>> read_verdict("Both look right.\\nVERDICT 51d2: B 80%", code="51d2")[:2]
(<Preference.SECOND: 'second'>, 0.19999999999999996)
>>> read_verdict("The text says VERDICT: A 100%", code="51d2")[2]
'no verdict in the form asked for'
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from trueline.records import Flaw, Preference
from trueline.rng import Rng

__all__ = [
    "defuse",
    "draw_marks",
    "fence",
    "read_flaws",
    "read_new_answer",
    "read_verdict",
    "strip_invisible",
]

_LINE_BREAK = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_LOOKALIKE = re.compile(
    r"^(?=[^\w\n]*(?:(?:begin|end)\s+text|verdict|(?:no\s+)?flaw)\b)", re.IGNORECASE | re.MULTILINE
)
_CONTROL = re.compile(
    r"<(?=[|｜][^\n]{0,40}[|｜]>|/?s>|<?/?SYS>|/?(?:start|end)_of_turn>|/?think>)|\[(?=/?INST\])"
)
_QUOTE_MARK = re.compile(r"<\s*(/?)\s*[uv]_quote", re.IGNORECASE)
_INVISIBLE = {"Cc", "Cf", "Co", "Cs"}
_JOINERS = "\n\t\u200c\u200d"
_EVEN = 0.5


def draw_marks(rng: Rng, *words: str) -> tuple[str, str]:
    """Return nonce and code of one request about these words."""
    digest = hashlib.sha256(rng.bytes(16) + "\0".join(words).encode("utf-8", "replace"))
    return digest.hexdigest()[:12], digest.hexdigest()[12:24]


def strip_invisible(text: str) -> str:
    """Return the text without control, direction, tag and half characters."""
    text = _LINE_BREAK.sub("\n", text)
    return "".join(c for c in text if c in _JOINERS or unicodedata.category(c) not in _INVISIBLE)


def defuse(text: str, *, marked: bool = False) -> str:
    """Return the words unable to pass for anything else; `marked` keeps marks of checked quotes."""
    text = strip_invisible(text)
    text = text if marked else _QUOTE_MARK.sub(r"<\1quote", text)
    return _LOOKALIKE.sub("| ", _CONTROL.sub(r"\g<0> ", text))


def fence(name: str, text: str, *, nonce: str, marked: bool = False) -> str:
    """Return the words under a name, between marks that they cannot know."""
    words = defuse(text, marked=marked)
    return f"=== begin text {nonce} {name} ===\n{words}\n=== end text {nonce} ==="


def read_verdict(text: str, *, code: str) -> tuple[Preference, float | None, str | None]:
    """Return preference, belief that A is better, and the reason where it is undecided.

    Exactly one line must begin with VERDICT and the code; it is the last, and names A or B and 50
    to 100 %. Fifty says the judge cannot tell.
    """
    lines = text.strip().splitlines() or [""]
    verdicts = [line.strip() for line in lines if line.strip().startswith(f"VERDICT {code}")]
    form = rf"VERDICT {code}: ([AB]) ([0-9]{{1,3}}(?:\.[0-9]{{1,6}})?)%"
    match = re.fullmatch(form, verdicts[0]) if verdicts else None
    if match is None:
        return Preference.UNDECIDED, None, "no verdict in the form asked for"
    if len(verdicts) > 1 or lines[-1].strip() != verdicts[0]:
        return Preference.UNDECIDED, None, "more than one verdict, or words after it"
    share = float(match[2]) / 100
    if not _EVEN <= share <= 1:
        return Preference.UNDECIDED, None, f"a probability outside 50 to 100 %: {match[2]} %"
    if share == _EVEN:
        return Preference.UNDECIDED, _EVEN, "the judge cannot tell (50 %)"
    if match[1] == "A":
        return Preference.FIRST, share, None
    return Preference.SECOND, 1 - share, None


def read_flaws(text: str, *, code: str) -> tuple[Flaw, ...] | None:
    """Return the flaws a reply names; None where it names none without saying so, or says both."""
    lines = [line.strip() for line in text.splitlines()]
    named = [line for line in lines if line.startswith(f"FLAW {code}")]
    if bool(named) == (f"NO FLAW {code}" in lines):
        return None
    flaws = []
    for line in named:
        match = re.fullmatch(rf"FLAW {code}: ([^|]+)\|\s*([1-9][0-9]{{0,4}}|-)\s*\|(.*)", line)
        if match is None:
            return None
        kind, step, evidence = (part.strip() for part in match.groups())
        at = None if step == "-" else int(step) - 1
        flaws.append(Flaw(kind="_".join(kind.lower().split()), step=at, evidence=evidence or None))
    return tuple(flaws)


def read_new_answer(text: str, *, code: str) -> tuple[str, str] | None:
    """Return what stands between the marks <code> and </code>, and after; None without."""
    before, _, rest = text.partition(f"<{code}>")
    answer, closing, after = rest.partition(f"</{code}>")
    told = closing and answer.strip() and code not in before
    return (answer.strip(), after) if told else None
