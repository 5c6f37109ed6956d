r"""Read dialogues, and cut several of them into the prompt they share and the answers.

Text dialogues are those of hh-rlhf: turns that begin with ``\n\nHuman:`` or ``\n\nAssistant:``
(Bai et al. 2022, arXiv 2204.05862). Lists of turns are messages with role and content (or from and
value), whatever the roles are called, or question and answer side by side. A message is one text:
reasoning stands before it in ``<think>``, tool calls after it in ``<tool_call>``, as Qwen's and
Hermes' chat templates write them; parts that are no text are refused.

The prompt is the longest shared beginning after which the assistant speaks; later turns stay, as
text, inside the answer. What differs must begin and end with the assistant's words. Where we
differ: turns of texts are stripped, empty ones dropped, and neighbours of one role joined, since
many chat templates demand that.

>>> turns, (kind, rude) = split_dialogues([
...     "\n\nHuman: Hello\n\nAssistant: Hi there.", "\n\nHuman: Hello\n\nAssistant: Go away."])
>>> turns[0].content, kind, rude
('Hello', 'Hi there.', 'Go away.')
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from trueline.errors import DataError
from trueline.records import Message, Prompt

__all__ = ["ROLES", "Dialogue", "answer_text", "as_json", "holds_dialogue", "is_dialogue",
           "merge_turns", "parse_dialogue", "prompt_of", "read_dialogue",
           "split_dialogues", "split_lead"]  # fmt: skip

Turns = tuple[Message, ...]
Dialogue = str | Turns
"""A text, its turns perhaps marked, or messages."""
_ANSWER = "\n\nAssistant:"
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ENDS = "an answer must end with the assistant's words"
_DIFFERS = "answers must first differ in the assistant's words, not in a user's or a tool's"
_SHARES = "chosen and rejected must share a prompt, and mark where the answer begins"
_NAMES = {"user": "Human", "assistant": "Assistant"}
_RENDERED = re.compile(
    r"\s*+(<s>|<bos>|<\|begin_of_text\|>)?\s*+"
    r"(<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\]|<\|(system|user)\|>|<｜User｜>)"
)
"""How texts begin that the chat templates of known families rendered."""
_WRITTEN = re.compile(r"\s*\[\s*\{\s*['\"](role|content|from|value)['\"]")
"""How messages begin that were written as text, in JSON or by Python."""
ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response"), "tool"),
    **{name: name for name in ("system", "developer")},
}
_SIDES = (("input", "output"), ("human", "assistant"), ("user", "assistant"),
          ("question", "answer"), ("instruction", "response"))  # fmt: skip
"""What a turn's question and answer are called where they stand side by side."""


def is_dialogue(text: str) -> bool:
    """Return whether a text is a dialogue up to the point where the assistant must answer."""
    return _TURN.match(text) is not None and text.rstrip().endswith(_ANSWER)


def holds_dialogue(text: str) -> bool:
    """Return whether a text is a dialogue in which the assistant speaks."""
    return _TURN.match(text) is not None and _ANSWER in text


def parse_dialogue(text: str) -> Turns:
    """Return the turns of a text dialogue; words before the first marker are a system turn."""
    head, *rest = _TURN.split(text)
    turns = [("system", head)]
    spoken = zip(rest[::2], rest[1::2], strict=True)
    turns += [(ROLES[name.lower()], words) for name, words in spoken]
    messages: list[Message] = []
    for role, words in turns:
        if not words.strip():
            continue
        if messages and messages[-1].role == role:
            words = f"{messages.pop().content}\n\n{words.strip()}"
        messages.append(Message(role, words.strip()))
    return tuple(messages)


def read_dialogue(value: Any, name: str, unused: set[str]) -> Dialogue:
    """Return a field's text, or its messages; what of them is not read is added to `unused`."""
    if isinstance(value, str) and _WRITTEN.match(value):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError):
                return read_dialogue(read(value), name, unused)
        must = f"`{name}`: a list of messages written as text must be valid JSON"
        raise DataError(must, got=repr(value[:40]), do="save as .jsonl")
    if isinstance(value, str):
        if _RENDERED.match(value):
            must = f"`{name}` must be plain words or messages, not a chat template's output"
            raise DataError(must, got=repr(value[:40]), do="give its turns as messages")
        return value
    if value is None:
        do = "drop the row; in .csv an empty cell or nan is missing"
        raise DataError(f"`{name}` must not be missing", got="nothing", do=do)
    turns: list[Message] = []
    for turn in value if isinstance(value, list) else [value]:
        known = turn if isinstance(turn, Mapping) and "role" not in turn else ()
        if pair := next((pair for pair in _SIDES if {*pair} <= {*known}), None):
            unused.update(f"{name}[].{key}" for key in turn.keys() - {*pair})
        sides = [turn[side] for side in pair] if pair else turn
        if isinstance(turn, str):
            # Lone texts speak in turn, the user first.
            turns.append(Message(("user", "assistant")[len(turns) % 2], turn))
        elif isinstance(sides, list) and [type(side) for side in sides] == [str, str]:
            turns += [Message("user", sides[0]), Message("assistant", sides[1])]
        elif isinstance(sides, Mapping):
            turns.append(_message(sides, name, unused))
        else:
            must = f"`{name}` must be text or messages with role and content"
            raise DataError(must, got=repr(turn)[:40], do="mend or drop the row")
    if not turns:
        raise DataError(f"`{name}` must hold at least one message", got="none")
    return tuple(turns)


def _message(turn: Mapping[str, Any], name: str, unused: set[str]) -> Message:
    known = {key: part for key, part in turn.items() if part is not None and part not in ([], {})}
    said = known.pop("role", None) or known.pop("from", None)
    if (role := ROLES.get(str(said).lower())) is None:
        must = f"`{name}`: a message's role must be system, user, assistant or tool"
        raise DataError(must, got=repr(said), do="mend or drop the row")
    calls = known.pop("tool_calls", [])
    calls = [*(calls if isinstance(calls, list) else [calls]), known.pop("function_call", None)]
    keys = ("content", "value", "text", "refusal")
    content = next((known.pop(key) for key in keys if key in known), None)
    if content is None and not any(calls) and "content" not in turn:
        raise DataError(f"`{name}`: a message must have a content", got=f"{', '.join(turn)}")
    words = [_words(part, name) for part in (content if isinstance(content, list) else [content])]
    if said in ("function_call", "tool_call"):
        calls, words = words, []
    thoughts = ("reasoning_content", "reasoning", "thinking")
    thought = next((str(known.pop(key)).strip() for key in thoughts if key in known), "")
    # The order of messages joins a tool's answer to its call.
    unused.update(f"{name}[].{key}" for key in known.keys() - {"tool_call_id", "id"})
    text = "\n".join(filter(None, [*words, *map(_call, filter(None, calls))]))
    return Message(role, f"<think>\n{thought}\n</think>\n\n{text}" if thought else text)


def _words(part: Any, name: str) -> str:
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping) and kind in ("text", "input_text", "output_text"):
        part = part.get("text", part)
    if not (part is None or isinstance(part, str)):
        got = repr(part)[:40] if kind in (None, "text") else str(kind)
        must = f"`{name}`: every part of a message must be text"
        raise DataError(must, got=got, do="leave it out, or drop the row")
    return part or ""


def _call(call: Any) -> str:
    if isinstance(call, Mapping):
        function = call.get("function")
        function = function if isinstance(function, Mapping) else call
        called = {key: part for key, part in function.items() if part is not None}
        if isinstance(called.get("arguments"), str):
            # Text that is no JSON is what the model wrote.
            with contextlib.suppress(ValueError):
                called["arguments"] = json.loads(called["arguments"])
        call = as_json(called)
    return f"<tool_call>\n{str(call).strip()}\n</tool_call>"


def as_json(value: Any) -> str:
    """Return JSON as chat templates write it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def prompt_of(turns: Sequence[Message]) -> Prompt:
    """Return the prompt; its last turn must say something and not be the assistant's."""
    if not turns or turns[-1].role == "assistant" or not turns[-1].content.strip():
        must = "a prompt must end in a turn that the assistant can answer"
        raise DataError(must, got=repr(turns[-1].content)[:40] if turns else "no turn")
    return Prompt(messages=tuple(turns))


def split_dialogues(dialogues: Sequence[Dialogue]) -> tuple[Turns, list[str]]:
    """Return the turns that dialogues share and their answers, which may be empty."""
    texts = [dialogue for dialogue in dialogues if isinstance(dialogue, str)]
    if texts:
        return _split_texts(texts)
    return _split_turns([dialogue for dialogue in dialogues if not isinstance(dialogue, str)])


def _split_texts(texts: Sequence[str]) -> tuple[Turns, list[str]]:
    shared = os.path.commonprefix(texts)  # noqa: RUF071 (character by character)
    # TRL's implicit prompt: the words that all begin with.
    words = re.match(r".*\S(?=\s)", shared, re.DOTALL)
    if words is not None and not any(map(_TURN.match, texts)):
        asked = (Message("user", words[0].strip()),)
        return asked, [text[words.end() :].strip() for text in texts]
    end = len(shared)
    while (end := shared.rfind(_ANSWER, 0, end)) >= 0:
        turns = parse_dialogue(shared[:end])
        # After an empty assistant turn the prompt would be one that has been answered.
        if turns and turns[-1].role == "user":
            answers = [text[end + len(_ANSWER) :] for text in texts]
            last = [(_TURN.findall(answer) or ["Assistant"])[-1] for answer in answers]
            if "Human" in last:
                _refuse(_ENDS, texts)
            if "\n\nHuman:" in shared[end:]:
                _refuse(_DIFFERS, texts)
            return turns, [answer.strip() for answer in answers]
    _refuse(_SHARES, texts, do="give it as a `prompt` field")


def _split_turns(dialogues: Sequence[Turns]) -> tuple[Turns, list[str]]:
    first, longest = dialogues[0], min(map(len, dialogues)) - 1
    cut = next((i for i in range(longest) if len({d[i] for d in dialogues}) > 1), longest)
    ends = [dialogue[-1].content for dialogue in dialogues]
    if any(dialogue[-1].role != "assistant" for dialogue in dialogues):
        _refuse(_ENDS, ends)
    if not any(turn.role == "user" for turn in first[:cut]):
        _refuse(_SHARES, ends, do="give it as a `prompt` field")
    if any(dialogue[cut].role != "assistant" for dialogue in dialogues):
        _refuse(_DIFFERS, ends)
    while first[cut - 1].role == "assistant":
        cut -= 1
    return first[:cut], [answer_text(dialogue[cut:]) for dialogue in dialogues]


def _refuse(must: str, ends: Sequence[str], *, do: str = "drop the row") -> NoReturn:
    raise DataError(must, got=" and ".join(repr(end[-40:]) for end in ends[:2]), do=do)


def answer_text(turns: Turns) -> str:
    """Return one text of an answer and the turns after it."""
    later = [f"\n\n{_NAMES.get(turn.role, turn.role)}: {turn.content}" for turn in turns[1:]]
    return turns[0].content + "".join(later)


def merge_turns(given: Turns, turns: Turns) -> Turns:
    """Return the turns of a row's prompt and those that its answers repeat, each once.

    Of the same turn the fuller text counts; system turns are joined. `DataError` where the two have
    no turn in common.
    """
    (lead, asked), (again, rest) = map(split_lead, (given, turns))
    system = lead or again
    if lead and again:
        joined = Message(lead[0].role, f"{lead[0].content}\n\n{again[0].content}")
        system = (_fuller(lead[0], again[0]) or joined,)
    for overlap in range(min(len(asked), len(rest)), 0, -1):
        same = [*map(_fuller, asked[-overlap:], rest)]
        if all(same):
            return (*system, *asked[:-overlap], *filter(None, same), *rest[overlap:])
    whole = _plain(" ".join(turn.content for turn in rest))
    if not all(_plain(turn.content) in whole for turn in asked):
        must = "`prompt` must be the prompt of the answers' own dialogue"
        raise DataError(must, got=" and ".join(repr(t[-1].content)[:40] for t in (asked, rest)))
    return (*system, *rest)


def split_lead(turns: Turns) -> tuple[Turns, Turns]:
    """Return the system or developer turn that leads, if one does, and the other turns."""
    is_led = bool(turns) and turns[0].role in ("system", "developer")
    return turns[:is_led], turns[is_led:]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _fuller(a: Message, b: Message) -> Message | None:
    """Return the fuller of two tellings of one turn, None of different turns."""
    short, long = sorted((a, b), key=lambda turn: len(turn.content.split()))
    is_same = _plain(short.content) == _plain(long.content) or (
        a.role != "assistant" and _plain(short.content) in _plain(long.content)
    )
    return long if a.role == b.role and short.content.strip() and is_same else None
