r"""Cuts dialogues into the prompt that two answers share and the answers themselves.

Text dialogues are those of hh-rlhf: turns that begin with ``\n\nHuman:`` or ``\n\nAssistant:``
(Bai et al. 2022, arXiv 2204.05862). Message dialogues are lists of ``{"role", "content"}``.
The prompt is the longest shared beginning after which the assistant speaks; two dialogues that
part earlier keep their later turns, as text, inside the answer.

Where we differ from the source: turns are stripped of the blanks around them, empty ones are
dropped, and neighbours of one role are joined, since many chat templates demand that roles
alternate.

>>> prompt, kind, rude = split_texts(
...     "\n\nHuman: Hello\n\nAssistant: Hi there.", "\n\nHuman: Hello\n\nAssistant: Go away.")
>>> prompt.text, kind, rude
('Hello', 'Hi there.', 'Go away.')
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from trueline.errors import DataError
from trueline.records import Message, Prompt

__all__ = [
    "is_dialogue",
    "messages_of",
    "parse_dialogue",
    "prompt_of",
    "split_messages",
    "split_texts",
]

_ANSWER = "\n\nAssistant:"
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_NAMES = {"user": "Human", "assistant": "Assistant"}
_KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool")
_NO_SHARED_PROMPT = "chosen and rejected must share a prompt, and mark where the answer begins"
_MEND = "give it as a `prompt` field"


def is_dialogue(text: str) -> bool:
    """Whether a text is a dialogue up to the point where the assistant must answer."""
    return _TURN.match(text) is not None and text.rstrip().endswith(_ANSWER)


def parse_dialogue(text: str) -> tuple[Message, ...]:
    """The turns of a text dialogue; words before the first marker become a system turn."""
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


def prompt_of(messages: Sequence[Message], name: str) -> Prompt:
    """A prompt that the assistant can answer: its last turn says something and is not its own."""
    if not messages or messages[-1].role == "assistant" or not messages[-1].content.strip():
        raise DataError(
            f"`{name}` must end in a turn that the assistant can answer",
            got=_short(messages[-1].content) if messages else "no turn",
        )
    return Prompt(messages=tuple(messages))


def split_texts(chosen: str, rejected: str) -> tuple[Prompt, str, str]:
    """The shared prompt and the two answers, which may be empty, of two text dialogues."""
    shared = os.path.commonprefix([chosen, rejected])  # noqa: RUF071 (character by character)
    end = len(shared)
    while (cut := shared.rfind(_ANSWER, 0, end)) >= 0:
        messages = parse_dialogue(shared[:cut])
        # A cut after an empty assistant turn would leave a prompt that the assistant has answered.
        if messages and messages[-1].role == "user":
            after = cut + len(_ANSWER)
            return Prompt(messages=messages), chosen[after:].strip(), rejected[after:].strip()
        end = cut
    raise DataError(_NO_SHARED_PROMPT, got=_shown(chosen, rejected), do=_MEND)


def messages_of(value: object, name: str) -> tuple[Message, ...]:
    """A list of `{"role", "content"}`, checked."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise DataError(f"`{name}` must be a list of messages", got=_short(value))
    messages = []
    for turn in value:
        if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
            raise DataError(
                f"each message of `{name}` must hold role and content", got=_short(turn)
            )
        role, content = turn["role"], turn["content"]
        if role not in _KNOWN_ROLES:
            raise DataError(
                f"a role in `{name}` must be one of {', '.join(_KNOWN_ROLES)}", got=_short(role)
            )
        if not isinstance(content, str):
            raise DataError(f"a message's content in `{name}` must be text", got=_short(content))
        messages.append(Message(role, content))
    return tuple(messages)


def split_messages(
    chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[Prompt, str, str]:
    """The shared prompt and the two answers of two message dialogues."""
    longest = min(len(chosen), len(rejected)) - 1
    shared = next((i for i in range(longest) if chosen[i] != rejected[i]), longest)
    for cut in range(shared, 0, -1):
        if chosen[cut].role == rejected[cut].role == "assistant" != chosen[cut - 1].role:
            prompt = prompt_of(chosen[:cut], "prompt")
            return prompt, _answer(chosen[cut:]), _answer(rejected[cut:])
    got = _shown(chosen[-1].content, rejected[-1].content)
    raise DataError(_NO_SHARED_PROMPT, got=got, do=_MEND)


def _answer(turns: tuple[Message, ...]) -> str:
    first, *later = turns
    return first.content + "".join(
        f"\n\n{_NAMES.get(turn.role, turn.role)}: {turn.content}" for turn in later
    )


def _shown(chosen: str, rejected: str) -> str:
    return f"{_short(chosen)} and {_short(rejected)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 42 else f"{text[:38]}…{text[-1]}"
