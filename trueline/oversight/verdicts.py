"""Read a verdict out of a judge's reply, wherever it is plainly there.

    VERDICT 51d2: A 80%          asked for; the code keeps out whatever others wrote
    **VERDICT 51d2:** A is better (0.8).      `VERDICT 51d2`: [B] 80 %</s>      {"51d2": "A", ...}

A line that holds the code is a verdict if all its words are of one (an answer's letter, "is
better", a share, "because ..."). The last line with the code counts, but not where the line right
before contradicts it or words after it take it back; nor do thoughts, or what follows the turn.

Without a code (`code=None`) the form asked for is a sentence, "Output (a) is better": the last one
counts, but for what the judge denies, doubts, quotes or reports. Of 3,184 replies of real judges
(Zeng et al. 2023, arXiv 2310.07641) it leaves under 1 % unread.

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
_UNREAD: Reading = (Preference.UNDECIDED, None, "no verdict in the form asked for")
_CONTRADICTED: Reading = (Preference.UNDECIDED, None, "two verdicts that contradict each other")


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
_TAKING_BACK = _words("or rather actually instead wait sorry correction meant say no change")
_TOKEN = re.compile(
    r"(?P<number>(?<![\w.])\d{1,3}(?:[.,]\d{1,6})?(?![\w/]))"
    r"(?:\s{0,3}(?P<percent>%|per\s?cent\b|pct\b))?"
    r"|(?P<word>[^\W\d_]+)|(?P<stop>[.;!/—–]|--?)|[^\s,]"
)
_MARKS = re.compile(
    r"\\(?:boxed|text\w*|mathrm|mathbf)\b|</[a-z]{1,8}>|<(?:strong|em|code|i|u)>"
    r"|[\\$*_`~#<>\[\](){}\"'=|:“”‘’…]"
)
_HEDGED = re.compile(
    r"\b(?:not|never|cannot|if|unless|whether|neither|either|would|could|should|might|may|example|"
    r"instead|form|argue[sd]?|arguing|claim(?:s|ed)?|sa(?:ys?|id)|states?|stated|asserts?|suggests?|"
    r"thinks|believes|insists|according|both)\b|n['’]t\b",
    re.IGNORECASE,
)
_LETTER = (
    r"(?:(?:answer|output|response|option|assistant|candidate)[\s*]{0,3}[(\[\"'*]{0,3}([ab])\b"
    r"|[(\[]([ab])[)\]]|(?-i:\b([AB])\b))[)\]\"'*]{0,3}"
)
_SAID = re.compile(
    rf"{_LETTER}\s{{1,3}}(?:is|was|remains)\s{{1,3}}(?:(?:the|clearly|definitely|overall|much|still|"
    r"slightly|therefore|thus|a)\s{1,3}){0,4}(?:better|best|superior|preferable|winner)\b"
    r"|(?:\b(?:better|best|preferred|superior|winning|final)\s(?:one|answer|output|response|option|"
    r"choice|verdict|winner)\b[^.!?\n]{0,60}?(?:\bis\b|:)[\s*:]{0,4}"
    rf"|\bi\s(?:prefer|choose|pick|select|favou?r|go\swith)\s{{1,3}}(?:the\s)?){_LETTER}",
    re.IGNORECASE,
)
_RANKED = re.compile(r"\b([AB])\s{0,2}>{1,3}\s{0,2}(?=[AB]\b)")
_WORD = re.compile(r"[^\W_]")
_BETWEEN = re.compile(r"(?<=[.!?])\s|\n")
_OBJECT = re.compile(r"\{[^{}]*\}")
_OTHER_CODE = re.compile(r"verdict\W{1,4}[0-9a-f]{4}", re.IGNORECASE)
_CHOICES = _words("verdict winner answer choice preference preferred better judgment")
_SHARES = _words("probability confidence p certainty percent percentage share")


class _Said(NamedTuple):
    """What a line says: the letter, the share if any, and the rest of the line."""

    letter: str
    share: float | None = None
    rest: str = ""

    def favours(self) -> str:
        """Return the letter of the better answer: "B 20%" speaks for A."""
        small = self.share is not None and self.share < _EVEN
        return "AB".replace(self.letter, "") if small else self.letter


def read_verdict(text: str, *, code: str | None, shown: Iterable[str] | None = None) -> Reading:
    """Return preference, belief that A is better, and the reason where it is undecided.

    The share is that of the answer named, 50 to 100 %, and 50 says the judge cannot tell; where no
    share is given the belief is None. `shown`: all that the judge read. If nothing in it could pass
    for a verdict, the reply's last sentence may be one without the code.
    """
    words = own_words(unicodedata.normalize("NFKC", strip_invisible(text)))
    if words is None:
        return Preference.UNDECIDED, None, "the thoughts did not end"
    words = _OBJECT.sub(lambda match: _flat(match[0], code), words)
    if code is None:
        return _of_sentences(words, last=False)
    if code in words or shown is None or _OTHER_CODE.search(words) or _hold_verdict(shown):
        return _of_coded(words, code)
    return _of_sentences(words, last=True)


def _hold_verdict(texts: Iterable[str]) -> bool:
    """Return whether a line of these texts could pass for a verdict without a code."""
    lines = (line for text in texts for line in text.splitlines())
    return any("verdict" in line.lower() or _line(line) or _SAID.search(line) for line in lines)


def _decided(said: _Said) -> Reading:
    first = said.letter == "A"
    if said.share is not None and not _EVEN <= said.share <= 1:
        reason = f"a probability outside 50 to 100 %: {100 * said.share:g} %"
        return Preference.UNDECIDED, None, reason
    if said.share == _EVEN:
        return Preference.UNDECIDED, _EVEN, "the judge cannot tell (50 %)"
    belief = said.share if first or said.share is None else 1 - said.share
    return (Preference.FIRST if first else Preference.SECOND), belief, None


def _of_coded(words: str, code: str) -> Reading:
    """Return the verdict of the last line that holds the code."""
    lines = [line for line in words.splitlines() if _WORD.search(line)]
    mark = re.compile(rf"(?<![^\W_]){code}(?![^\W_])")
    coded = [i for i, line in enumerate(lines) if mark.search(line)]
    said = [_coded(lines[i:], [*mark.finditer(lines[i])][-1]) for i in coded[-2:]]
    last = said[-1] if said else None
    if last is None:
        return _UNREAD
    others = [said[0]] if len(said) > 1 and coded[-2] == coded[-1] - 1 else []
    for part in _BETWEEN.split("\n".join([last.rest, *lines[coded[-1] + 1 :]])):
        others += [_line(part, _TAKING_BACK), _sentence(part)]
    contradicted = any(one and one.favours() != last.letter for one in others)
    return _CONTRADICTED if contradicted else _decided(last)


def _coded(lines: list[str], code: re.Match[str]) -> _Said | None:
    """Return what the first line says, which holds the code, going on below if it breaks off."""
    before, after = lines[0][: code.start()], lines[0][code.end() :]
    if _HEDGED.search(re.split("[.;!?]", before[-200:])[-1]):
        return None
    below = lines[1:2]
    if _WORD.search(after):
        said = _line(after)
    else:
        said = _line(before)
        if said is None and below:
            said, below = _line(below[0]), lines[2:3]
    if said and said.share is None and not said.rest and below:
        return _line(f"{said.letter} {below[0]}") or said
    return said


def _line(line: str, more: frozenset[str] = frozenset()) -> _Said | None:
    """Return what a line says if all its words, up to a stop or a reason, are of a verdict (or of
    `more`)."""
    line = _RANKED.sub(r"\1 over ", line.replace("<b>", " ") if "</b>" in line else line)
    line = _MARKS.sub(" ", line)
    letters, shares, before, stopped, others = set[str](), set[float](), "", False, False
    end = len(line)
    for token in _TOKEN.finditer(line):
        word = (token["word"] or "").lower()
        letter = _is_letter(token, before)
        other = letter and not others and word.upper() not in letters
        if letters and (word in _REASONS or sum((stopped, other, bool(shares))) > 1):
            end = token.start()
            break
        if token["number"]:
            shares.add(_as_share(token["number"], percent=bool(token["percent"])))
        elif letter:
            letters |= set() if others else {word.upper()}
            others = False
        elif token["stop"]:
            stopped = True
        elif word in _OTHERS:
            others = True
        elif word not in _FILLERS and word not in more:
            if not (letters and stopped):
                return None
            end = token.start()
            break
        stopped = stopped and not token["number"]
        before = word or before
    if len(letters) != 1 or len(shares) > 1:
        return None
    return _Said(letters.pop(), shares.pop() if shares else None, line[end:])


def _is_letter(token: re.Match[str], before: str) -> bool:
    """Return whether a token names an answer: a small "a" only in its place, else an article."""
    if token["word"] != "a":
        return token["word"] in ("A", "B", "b")
    follows = re.match(r"\s{0,9}(?:is\b|[^\w\s]|\d|$)", token.string[token.end() :][:20])
    return before in _NOUNS or (before in ("", "verdict") and follows is not None)


def _as_share(number: str, *, percent: bool) -> float:
    """Return a share of 1: "80" and "80%" are .8, and so is "0.8"."""
    value = float(number.replace(",", "."))
    return value if not percent and value <= 1 and not number.isdigit() else value / 100


def _of_sentences(words: str, *, last: bool) -> Reading:
    """Return the verdict of the last sentence that is one; `last`: of none but the last."""
    parts = [part for part in _BETWEEN.split(words) if _WORD.search(part)]
    said = [_sentence(part) for part in parts]
    for i in range(len(parts))[-2:]:
        bare = _line(parts[i])
        said[i] = bare if bare and not bare.rest else said[i]
    found = [(i, one) for i, one in enumerate(said) if one]
    if not found or (last and not said[-1]):
        return _UNREAD
    at, one = found[-1]
    before = said[at - 1] if at else None
    return _CONTRADICTED if before and before.letter != one.letter else _decided(one)


def _sentence(text: str) -> _Said | None:
    """Return what a sentence says, if that is a verdict which the judge itself gives."""
    match = next(iter([*_SAID.finditer(text)][-1:]), None)
    if match is None or text.rstrip().endswith("?"):
        return None
    lead = text[: match.start()]
    hedged = _HEDGED.search(lead[-200:]) or lead.count('"') % 2
    return None if hedged else _Said(next(filter(None, match.groups())).upper())


def _flat(text: str, code: str | None) -> str:
    """Return a JSON object as one line of the words that could be a verdict."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())
    said: list[str] = []
    for key, value in table.items():
        share = key.lower() in _SHARES and re.fullmatch(r"[\d.,\s%]{1,9}", str(value))
        if code is not None and code in f"{key} {value}":
            said.insert(0, f"{key} {value}")
        elif key.lower() in _CHOICES or share:
            said.append(str(value))
    return " ".join(said)
