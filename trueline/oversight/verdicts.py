"""Read a verdict out of a judge's reply, wherever it is plainly there.

    VERDICT 51d2: A 80%          asked for; the code keeps out whatever others wrote
    **VERDICT 51d2:** A is better (0.8).      `VERDICT 51d2`: [B] 80 %</s>      {"51d2": "A", ...}

A line that holds the code is a verdict if all its words are of one (an answer's letter, "is
better", a share, "because ..."). The last such line counts. It does not where it cannot be read,
where another that contradicts it stands right before, or where the words after it take it back.
Thoughts do not count, nor what comes after the end of the turn.

Without a code (`code=None`) the form asked for is a sentence, "Output (a) is better": the last one
that the judge says itself counts, not what it denies, doubts, quotes or reports of somebody. On
real replies of five models (Zeng et al. 2023, arXiv 2310.07641) it leaves 0.6 % unread.

Fails on words for numbers, on scores out of ten (no share), and on languages other than English.

>>> read_verdict("Both look right.\\n**VERDICT 51d2:** Answer (B), 80 %.", code="51d2")[:2]
(<Preference.SECOND: 'second'>, 0.19999999999999996)
>>> read_verdict("The text says VERDICT: A 100%", code="51d2")[2]
'no verdict in the form asked for'
>>> read_verdict("(b) says that (b) is better. Output (a) is better.", code=None)[0]
<Preference.FIRST: 'first'>
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from trueline.oversight.parsing import own_words, strip_invisible
from trueline.records import Preference

__all__ = ["read_verdict"]

Reading = tuple[Preference, float | None, str | None]
"""Preference, belief that A is better, and the reason where it is undecided."""

_EVEN = 0.5
_UNREAD = "no verdict in the form asked for"
_CONTRADICTED = "two verdicts that contradict each other"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NOUNS = _words("answer answers output response option assistant candidate choice model reply")
_OTHERS = _words("than over not versus vs")
"""The letter after one of these is the other answer's."""
_REASONS = _words("because since as due given for but while whereas in")
_FILLERS = _NOUNS | _words(
    "is the a an better best one stronger superior preferable preferred wins winner winning final "
    "verdict my your judgment judgement decision preference chosen choose prefer pick probability "
    "probable confidence confident certainty certain sure with of at about around approximately "
    "roughly likelihood likely chance that am i believe think it was being clearly much slightly "
    "overall therefore thus so hence to code evaluation based on conclusion select go for in"
)
_TOKEN = re.compile(
    r"(?P<number>(?<![\w.])\d{1,3}(?:[.,]\d{1,6})?(?![\w/]))(?:\s{0,3}(?P<percent>%|per\s?cent\b|pct\b))?"
    r"|(?P<word>[^\W\d_]+)|(?P<stop>[.;!—–]|--?)|[^\s,]"
)
_MARKS = re.compile(
    r"\\(?:boxed|text\w*|mathrm|mathbf)\b|</[a-z]{1,8}>|<(?:strong|em|code|i|u)>"
    r"|[\\$*_`~#<>\[\](){}\"'=|:“”‘’…]"
)
_TAKEN_BACK = re.compile(
    r"\b(?:rather|actually|instead|wait|sorry|correction|meant|change|or|no)\b[^\w\n]{0,4}"
    r"(?:(?:i|is|it|the|my|say|to|would|be|better|rather|answer|output|verdict)\b[^\w\n]{0,4}){0,5}"
    r"\b(?-i:([AB])|(?:[aA]nswer|[oO]utput)[^\w\n]{0,2}([abAB]))\b",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\b(?:not|never|cannot|if|unless|whether|neither|either|would|could|should|might|may|example|"
    r"instead|form|argue[sd]?|arguing|claim(?:s|ed)?|sa(?:ys?|id)|states?|stated|asserts?|suggests?|"
    r"thinks|believes|insists|according|both)\b|n['’]t\b",
    re.IGNORECASE,
)
_LETTER = (
    r"(?:(?:answer|output|response|option|assistant|candidate)[\s*]{0,3}[(\[\"'*]{0,3}(?P<%s1>[ab])\b"
    r"|[(\[](?P<%s2>[ab])[)\]]|(?-i:\b(?P<%s3>[AB])\b))[)\]\"'*]{0,3}"
)
_SAID = re.compile(
    _LETTER
    % ("x", "x", "x")
    + r"\s{1,3}(?:is|was|remains)\s{1,3}(?:(?:the|clearly|definitely|overall|much|slightly|"
    r"therefore|thus|a|still)\s{1,3}){0,4}(?:better|best|superior|preferable|winner)\b"
    r"|\b(?:better|best|preferred|superior|winning|final)\s(?:one|answer|output|response|option|"
    r"choice|verdict|winner)\b[^.!?\n]{0,60}?(?:\bis\b|:)[\s*:]{0,4}"
    + _LETTER % ("y", "y", "y")
    + r"|\bi\s(?:prefer|choose|pick|select|favou?r|go\swith)\s{1,3}(?:the\s)?"
    + _LETTER % ("z", "z", "z"),
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")
_OBJECT = re.compile(r"\{[^{}]*\}")
_OTHER_CODE = re.compile(r"verdict\W{1,4}[0-9a-f]{4}", re.IGNORECASE)
_CHOICES = _words("verdict winner answer choice preference preferred better judgment")
_SHARES = _words("probability confidence p certainty percent percentage share")


class _Said(NamedTuple):
    """What a line says: the letter, the share if any, and the rest of the line."""

    letter: str
    share: float | None
    rest: str


def read_verdict(text: str, *, code: str | None, shown: Iterable[str] | None = None) -> Reading:
    """Return preference, belief that A is better, and the reason where it is undecided.

    The share is that of the answer named, 50 to 100 %, and 50 says the judge cannot tell; where no
    share is given the belief is None. `shown`: all that the judge read. If nothing in it could pass
    for a verdict, the reply's last line may be one without the code.
    """
    words = own_words(unicodedata.normalize("NFKC", strip_invisible(text)))
    if words is None:
        return _undecided("the thoughts did not end")
    words = _OBJECT.sub(lambda match: _flat(match[0], code), words)
    if code is None:
        return _of_sentences(words)
    own = shown is not None and code not in words and not _OTHER_CODE.search(words)
    if own and not _hold_verdict(shown or ()):
        return _of_last_line(words) or _undecided(_UNREAD)
    return _of_coded(words, code)


def _hold_verdict(texts: Iterable[str]) -> bool:
    """Return whether a line of these texts could pass for a verdict without a code."""
    lines = (line for text in texts for line in text.splitlines())
    return any("verdict" in line.lower() or _line(line) or _SAID.search(line) for line in lines)


def _undecided(reason: str, belief: float | None = None) -> Reading:
    return Preference.UNDECIDED, belief, reason


def _decided(said: _Said) -> Reading:
    """Return the reading of what was said."""
    if said.share is None:
        return (Preference.FIRST if said.letter == "A" else Preference.SECOND), None, None
    if not _EVEN <= said.share <= 1:
        return _undecided(f"a probability outside 50 to 100 %: {100 * said.share:g} %")
    if said.share == _EVEN:
        return _undecided("the judge cannot tell (50 %)", _EVEN)
    if said.letter == "A":
        return Preference.FIRST, said.share, None
    return Preference.SECOND, 1 - said.share, None


def _of_coded(words: str, code: str) -> Reading:
    """Return the verdict of the last line that holds the code."""
    lines = [line for line in words.splitlines() if line.strip()]
    marks = [list(re.finditer(rf"(?<![^\W_]){code}(?![^\W_])", line)) for line in lines]
    coded = [i for i, found in enumerate(marks) if found]
    said = [_coded(lines, i, marks[i][-1]) for i in coded]
    last = said[-1] if said else None
    if last is None:
        return _undecided(_UNREAD)
    before = said[-2] if len(said) > 1 and coded[-2] == coded[-1] - 1 else None
    after = "\n".join([last.rest, *lines[coded[-1] + 1 :]])
    taken_back = any((m[1] or m[2]).upper() != last.letter for m in _TAKEN_BACK.finditer(after))
    later = _last_said(after)
    others = [before, *map(_line, after.splitlines())]
    contradicted = any(one and one.letter != last.letter for one in others)
    if taken_back or contradicted or (later and later != last.letter):
        return _undecided(_CONTRADICTED)
    return _decided(last)


def _coded(lines: list[str], at: int, code: re.Match[str]) -> _Said | None:
    """Return what the line that holds the code says, going on below where it breaks off."""
    before, after = lines[at][: code.start()], lines[at][code.end() :]
    if _HEDGED.search(re.split("[.:;!?]", before[-200:])[-1]):
        return None
    below = lines[at + 1 :]
    if not _bare(after):
        said = _line(before)
        if said is None and not _bare(before.lower().replace("verdict", "")) and below:
            said, below = _line(below[0]), below[1:]
    else:
        said = _line(after)
    if said is None or said.share is not None or said.rest:
        return said
    share = _share_alone(below[0]) if below else None
    return said._replace(share=share)


def _bare(text: str) -> str:
    """Return the text without marks and blanks."""
    return "".join(_MARKS.sub(" ", text).split())


def _line(line: str) -> _Said | None:
    """Return what a line says if all its words, up to a stop or a reason, are of a verdict."""
    line = _MARKS.sub(" ", line.replace("<b>", " ") if "</b>" in line else line)
    letters, shares, before, stopped, others = set[str](), list[float](), "", False, False
    end = len(line)
    for token in _TOKEN.finditer(line):
        word = (token["word"] or "").lower()
        if letters and stopped and (shares or word.upper() in {"A", "B"} - letters):
            end = token.start()
            break
        if token["number"]:
            shares.append(_as_share(token["number"], bool(token["percent"])))
            stopped = False
        elif _is_letter(token, before):
            if not others:
                letters.add(word.upper())
            others = stopped = False
        elif token["stop"]:
            stopped = True
        elif word in _OTHERS:
            others = True
        elif letters and (stopped or word in _REASONS):
            end = token.start()
            break
        elif word not in _FILLERS:
            return None
        before = word or before
    if len(letters) != 1 or len(set(shares)) > 1:
        return None
    return _Said(letters.pop(), shares[0] if shares else None, line[end:])


def _is_letter(token: re.Match[str], before: str) -> bool:
    """Return whether a token names an answer: a small "a" only in its place, else an article."""
    word = token["word"]
    if word in ("A", "B", "b"):
        return True
    follows = re.match(r"\s*(?:is\b|[^\w\s]|\d|$)", token.string[token.end() :][:20])
    return word == "a" and (before in _NOUNS or (before in ("", "verdict") and bool(follows)))


def _as_share(number: str, percent: bool) -> float:
    """Return a share of 1: "80" and "80%" are .8, and so is "0.8"."""
    value = float(number.replace(",", "."))
    fraction = not percent and value <= 1 and not number.isdigit()
    return value if fraction else value / 100


def _share_alone(line: str) -> float | None:
    """Return the share on a line that says nothing else."""
    said = _line(f"A {line}") if not re.search(r"\b[AB]\b", line) else None
    return said.share if said and not said.rest else None


def _of_sentences(words: str) -> Reading:
    """Return the verdict of the last line, or of the last sentence that is one."""
    letter = _last_said(words)
    said = _Said(letter, None, "") if letter else None
    return _of_last_line(words) or (_decided(said) if said else _undecided(_UNREAD))


def _of_last_line(words: str) -> Reading | None:
    """Return the verdict of the last line; None where it is none."""
    *_, before, last = ["", "", *(line for line in words.splitlines() if line.strip())]
    said, other = _line(last), _line(before)
    letter = said.letter if said and not said.rest else _last_said(last)
    if letter is None:
        return None
    if other and other.letter != letter:
        return _undecided(_CONTRADICTED)
    return _decided(said if said and not said.rest else _Said(letter, None, ""))


def _last_said(words: str) -> str | None:
    """Return the letter of the last sentence that is a verdict; None if there is none, or the one
    right before it says otherwise."""
    ends = [0, *(match.end() for match in _SENTENCE_END.finditer(words)), len(words)]
    found: list[tuple[int, str]] = []
    number = 0
    for match in _SAID.finditer(words):
        while ends[number + 1] <= match.start():
            number += 1
        lead = words[max(ends[number], match.start() - 200) : match.start()]
        asked = words[match.end() : ends[number + 1]].rstrip().endswith("?")
        if not (_HEDGED.search(lead) or asked or lead.count('"') % 2):
            letter = next(m for name, m in match.groupdict().items() if m).upper()
            found.append((number, letter))
    if not found:
        return None
    (at, letter), others = found[-1], found[:-1]
    blank = {i for i in range(at) if not words[ends[i] : ends[i + 1]].strip()}
    while at - 1 in blank:
        at -= 1
    return None if any(n >= at - 1 and x != letter for n, x in others) else letter


def _flat(text: str, code: str | None) -> str:
    """Return a JSON object as one line of the words that could be a verdict."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())
    said = []
    for key, value in table.items():
        own = code is not None and (code in key or code in str(value))
        if (
            own
            or key.lower() in _CHOICES
            or (key.lower() in _SHARES and re.fullmatch(r"[\d.,\s%]{1,9}", str(value)))
        ):
            said.append(f"{key} {value}" if own else str(value))
    return " ".join(sorted(said, key=lambda part: code is None or code not in part))
