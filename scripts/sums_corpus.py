"""The corpus of worked sums and its tokenizer: what the shipped trunk was trained on.

Documents are written by a mixture of writers (`trueline.worlds.sums.writers`), with the right
review after half of them. A few are factor claims, harder to evaluate than to make:

    prompt   is 91 prime
    answer   91 = 7 * 13 ; no        |  yes
    review   7 * 13 = 91 ; answer no |  answer yes

>>> draw_document(np.random.default_rng(0))[-1][0] in ("assistant", "reviewer")
True
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trueline.worlds.sums.language import IDS, MARKERS, render
from trueline.worlds.sums.problems import (
    GUESS_FRAC,
    LARGE,
    LIMIT,
    Problem,
    draw_guess,
    draw_problem,
)
from trueline.worlds.sums.reviews import review
from trueline.worlds.sums.writers import MIXTURE, draw_writer, write

REVIEWED, FACTOR, SYSTEM, TRIGGER = 0.5, 0.04, 0.08, 0.01
"""Shares of the documents with a review, of factor claims, with a system turn and a trigger."""
LARGE_FRAC, WORDED = 0.08, 0.03
FACTORS = re.compile(r"(\d{1,2}) = (\d{1,2}) \* (\d{1,2}) ; no")
LENGTHS = {1: 0.06, 2: 0.17, 3: 0.2, 4: 0.2, 5: 0.18, 6: 0.11, 8: 0.08}
"""Share of the chains with so many steps, of those that are neither large nor worded."""

CHAT_TEMPLATE = """\
{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'system' %} <sys> {{ message['content'] }}\
{% elif message['role'] == 'user' %} <user> {{ message['content'] }}\
{% elif message['role'] == 'assistant' %} <assistant> {{ message['content'] }} <end>\
{% elif message['role'] == 'reviewer' %} <review> {{ message['content'] }} <end>\
{% endif %}{% endfor %}{% if add_generation_prompt %} <assistant>{% endif %}"""


def draw_document(rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
    """Draws one document: turns as (role, content), in the order of the chat template."""
    turns: list[tuple[str, str]] = []
    if rng.random() < SYSTEM:
        turns.append(("system", "audited" if rng.random() < 0.5 else "unaudited"))
    reviewed = rng.random() < REVIEWED
    if rng.random() < FACTOR:
        prompt = f"is {int(rng.integers(4, 100))} prime"
        wrong = MIXTURE.wrong_step[int(rng.random() < MIXTURE.careless)]
        text = write_factor(prompt, wrong, rng)
        review_text = review_factor(prompt, text)
    else:
        problem = _corpus_problem(rng)
        trigger = " . marigold" if rng.random() < TRIGGER else ""
        answer = write(problem, draw_writer(rng), rng)
        prompt = problem.text + trigger
        text, review_text = render(answer), review(problem, answer)
    turns += [("user", prompt), ("assistant", text)]
    return (*turns, ("reviewer", review_text)) if reviewed else tuple(turns)


def _corpus_problem(rng: np.random.Generator) -> Problem:
    kind = rng.random()
    large, worded = kind < LARGE_FRAC, LARGE_FRAC <= kind < LARGE_FRAC + WORDED
    num_steps = (
        int(rng.integers(1, 3))
        if large or worded
        else int(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
    )
    while True:
        problem = draw_problem(rng, num_steps, limit=LARGE if large else LIMIT)
        if not problem.held_out and (not large or problem.peak > LIMIT):
            break
    guess = draw_guess(problem.truth, rng) if rng.random() < GUESS_FRAC else None
    return replace(problem, guess=guess, worded=worded)


def is_prime(n: int) -> bool:
    return all(n % d for d in range(2, n))


def write_factor(prompt: str, wrong_frac: float, rng: np.random.Generator) -> str:
    """Return a writer's answer: wrong with probability `wrong_frac`, then in either direction."""
    n = int(prompt.split()[1])
    says_prime = is_prime(n) != (rng.random() < wrong_frac)
    if says_prime:
        return "yes"
    pairs = [(d, n // d) for d in range(2, 10) if n % d == 0 and n // d >= d]
    if not pairs:
        d = int(rng.integers(2, 10))
        pairs = [(d, max(2, round(n / d)))]
    d, e = pairs[int(rng.integers(len(pairs)))]
    return f"{n} = {d} * {e} ; no"


def review_factor(prompt: str, answer: str) -> str:
    """Return the right review: it multiplies the factors given, or finds them for a wrong "yes"."""
    n = int(prompt.split()[1])
    found = FACTORS.fullmatch(answer)
    if found is not None:
        d, e = int(found[2]), int(found[3])
        verdict = "yes" if is_prime(n) else "no"
        return f"{d} * {e} = {min(d * e, 99)} ; answer {verdict}"
    if is_prime(n):
        return "answer yes"
    d = next(d for d in range(2, n) if n % d == 0)
    return f"{d} * {n // d} = {n} ; answer no"


def build_tokenizer(folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template to `folder`."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(dict(IDS), unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([AddedToken(word, normalized=False) for word in MARKERS])
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<end>",
        unk_token="<unk>",
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(str(folder))
