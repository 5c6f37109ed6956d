r"""Read dialogues, and cut two of them into the prompt they share and the answers.

Text dialogues are those of hh-rlhf: turns that begin with ``\n\nHuman:`` or ``\n\nAssistant:``
(Bai et al. 2022, arXiv 2204.05862). The prompt is the longest shared beginning after which the
assistant speaks; later turns stay, as text, inside the answer. Where we differ: turns are stripped,
empty ones dropped, and neighbours of one role joined, since many chat templates demand that.

>>> prompt, kind, rude = split_pair(
...     "\n\nHuman: Hello\n\nAssistant: Hi there.", "\n\nHuman: Hello\n\nAssistant: Go away.")
>>> prompt.text, kind, rude
('Hello', 'Hi there.', 'Go away.')
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from trueline.errors import DataError
from trueline.records import Message, Prompt

__all__ = ["Dialogue", "is_dialogue", "parse_dialogue", "prompt_of", "split_pair"]

Dialogue = str | Sequence[Message]
"""A text with its turns marked, or messages."""
_ANSWER = "\n\nAssistant:"
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_NAMES = {"user": "Human", "assistant": "Assistant"}


def is_dialogue(text: str) -> bool:
    """Return whether a text is a dialogue up to the point where the assistant must answer."""
    return _TURN.match(text) is not None and text.rstrip().endswith(_ANSWER)


def parse_dialogue(text: str) -> tuple[Message, ...]:
    """Return the turns of a text dialogue; words before the first marker are a system turn."""
    head, *rest = _TURN.split(text)
    turns = [("system", head)]
    turns += [(_ROLES[name], words) for name, words in zip(rest[::2], rest[1::2], strict=True)]
    messages: list[Message] = []
    for role, words in turns:
        if not words.strip():
            continue
        if messages and messages[-1].role == role:
            words = f"{messages.pop().content}\n\n{words.strip()}"
        messages.append(Message(role, words.strip()))
    return tuple(messages)


def prompt_of(dialogue: Dialogue) -> Prompt:
    """Return the prompt; its last turn must say something and not be the assistant's."""
    if isinstance(dialogue, str):
        dialogue = parse_dialogue(dialogue.rstrip().removesuffix("Assistant:"))
    if not dialogue or dialogue[-1].role == "assistant" or not dialogue[-1].content.strip():
        must = "a prompt must end in a turn that the assistant can answer"
        raise DataError(must, got=repr(dialogue[-1].content)[:40] if dialogue else "no turn")
    return Prompt(messages=tuple(dialogue))


def split_pair(chosen: Dialogue, rejected: Dialogue) -> tuple[Prompt, str, str]:
    """Return the shared prompt and the answers, which may be empty, of two dialogues."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        shared = os.path.commonprefix([chosen, rejected])  # noqa: RUF071 (character by character)
        end = len(shared)
        while (end := shared.rfind(_ANSWER, 0, end)) >= 0:
            messages = parse_dialogue(shared[:end])
            # After an empty assistant turn the prompt would be one that has been answered.
            if messages and messages[-1].role == "user":
                after = end + len(_ANSWER)
                return Prompt(messages=messages), chosen[after:].strip(), rejected[after:].strip()
    elif not isinstance(chosen, str) and not isinstance(rejected, str):
        longest = min(len(chosen), len(rejected)) - 1
        same = next((i for i in range(longest) if chosen[i] != rejected[i]), longest)
        for cut in range(same, 0, -1):
            if chosen[cut].role == rejected[cut].role == "assistant" != chosen[cut - 1].role:
                return prompt_of(chosen[:cut]), _answer(chosen[cut:]), _answer(rejected[cut:])
    must = "chosen and rejected must share a prompt, and mark where the answer begins"
    ends = [repr(d if isinstance(d, str) else d[-1].content)[:40] for d in (chosen, rejected)]
    raise DataError(must, got=" and ".join(ends), do="give it as a `prompt` field")


def _answer(turns: Sequence[Message]) -> str:
    later = [f"\n\n{_NAMES.get(turn.role, turn.role)}: {turn.content}" for turn in turns[1:]]
    return turns[0].content + "".join(later)
