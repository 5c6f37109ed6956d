"""Check quotes: words in a speech that are claimed to stand in the source.

    <quote>words</quote>   becomes   <v_quote>words</v_quote>   verified: they stand there
                                     <u_quote>words</u_quote>   unverified: they do not

by string match after folding: Unicode compatibility forms, case, kinds of dashes and quotation
marks are made one, white space is dropped (as in the debates of Michael et al. 2023, arXiv
2311.08702). Khan et al. 2024 (2402.06782) mark quotes for the judge like this.

Where we differ: (1) marks that a speaker writes itself, however spelt, are checked like any; (2) a
quote of fewer than `MIN_LENGTH` characters is unverified, as is one that begins or ends inside a
number. Without a source `Quote.found` is None. Fails on words left out ("…" inside a quote).

>>> source = "Zen, the Omnipotent. 112 * 3 = 336"
>>> mark_quotes("<quote>The  omnipotent</quote>, <v_quote>12 * 3 = 33</v_quote>", source)[0]
'<v_quote>The  omnipotent</v_quote>, <u_quote>12 * 3 = 33</u_quote>'
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from trueline.oversight.parsing import cleaned, strip_invisible
from trueline.records import Quote

__all__ = ["MIN_LENGTH", "in_source", "mark_quotes"]

MIN_LENGTH = 5
"""The fewest characters of a quote, white space apart."""
_QUOTE = re.compile(
    r"<\s*(?:[uv]_)?quote\s*>(.*?)(?:<\s*/\s*(?:[uv]_)?quote\s*>|(?=<\s*(?:[uv]_)?quote\s*>)|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_STRAY_TAG = re.compile(r"<(\s*(?:/\s*)?(?:[uv]_)?quote\s*)>", re.IGNORECASE)
_FOLDED_AS = ((re.compile(r"[\"'`´‘’‚‛“”„‟«»‹›]+"), "'"), (re.compile(r"[-‐‑‒–—―−]+"), "-"))


def mark_quotes(text: str, source: str | None) -> tuple[str, tuple[Quote, ...]]:
    """Return a speech with its quotes marked, if there is a source, and the quotes in order."""
    text = strip_invisible(text) if source is None else cleaned(text)
    parts, quotes, end = [], [], 0
    for match in _QUOTE.finditer(text):
        found = in_source(match[1], source)
        mark = "v_quote" if found else "u_quote"
        words = _STRAY_TAG.sub(r"\1", match[1])
        parts += [_STRAY_TAG.sub(r"\1", text[end : match.start()]), f"<{mark}>{words}</{mark}>"]
        quotes.append(Quote(match[1].strip(), found))
        end = match.end()
    marked = "".join([*parts, _STRAY_TAG.sub(r"\1", text[end:])])
    return text if source is None else marked, tuple(quotes)


def in_source(words: str, source: str | None) -> bool | None:
    """Return whether the words stand in the source; None without a source."""
    if source is None:
        return None
    sought, _ = _fold(words)
    if len(sought) < MIN_LENGTH:
        return False
    text, word_of = _fold(source)
    at = text.find(sought)
    while at >= 0:
        ends = (at, at + len(sought))
        if not any(_splits_number(text, word_of, end) for end in ends):
            return True
        at = text.find(sought, at + 1)
    return False


@lru_cache(maxsize=256)
def _fold(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the text as compared, and for each of its characters the index of its word."""
    for pattern, sign in _FOLDED_AS:
        text = pattern.sub(sign, text)
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return "".join(words), tuple(i for i, word in enumerate(words) for _ in word)


def _splits_number(text: str, word_of: tuple[int, ...], at: int) -> bool:
    """Return whether the characters before and after this place are digits of one number."""
    inside = 0 < at < len(text) and word_of[at - 1] == word_of[at]
    return inside and text[at - 1].isdigit() and text[at].isdigit()
