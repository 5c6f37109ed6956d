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
from typing import Any

from trueline.errors import DataError
from trueline.records import Message, Prompt

__all__ = [
    "ROLES",
    "Dialogue",
    "answer_text",
    "as_json",
    "holds_dialogue",
    "is_dialogue",
    "merge_turns",
    "parse_dialogue",
    "parse_turns",
    "prompt_of",
    "read_dialogue",
    "split_dialogues",
]

Turns = Sequence[Message]
Dialogue = str | Turns
"""A text, its turns perhaps marked, or messages."""
_ANSWER = "\n\nAssistant:"
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_NAMES = {"user": "Human", "assistant": "Assistant"}
_RENDERED = re.compile(
    r"\s*(<s>|<bos>|<\|begin_of_text\|>)?\s*(<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\]"
    r"|<\|(system|user)\|>|<｜User｜>)"
)
"""How texts begin that the chat templates of known families rendered."""
_WRITTEN = re.compile(r"\s*\[?\s*\{\s*['\"](role|content|from|value)['\"]")
"""How messages begin that were written as text, in JSON or by Python."""
ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response"), "tool"),
    "system": "system",
    "developer": "developer",
}
_SIDES = (("input", "output"), ("human", "assistant"), ("user", "assistant"),
          ("question", "answer"), ("instruction", "response"))  # fmt: skip
"""What a turn's question and answer are called where they stand side by side."""
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_NO_LOSS = {"tool_call_id", "id"}
"""What joins a tool's answer to its call; their order says it too."""


def is_dialogue(text: str) -> bool:
    """Return whether a text is a dialogue up to the point where the assistant must answer."""
    return _TURN.match(text) is not None and text.rstrip().endswith(_ANSWER)


def holds_dialogue(text: str) -> bool:
    """Return whether a text is a dialogue in which the assistant speaks."""
    return _TURN.match(text) is not None and _ANSWER in text


def parse_dialogue(text: str) -> tuple[Message, ...]:
    """Return the turns of a text dialogue; words before the first marker are a system turn."""
    head, *rest = _TURN.split(text)
    turns = [("system", head)]
    turns += [
        (ROLES[name.lower()], words) for name, words in zip(rest[::2], rest[1::2], strict=True)
    ]
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
    if isinstance(value, str):
        if not _WRITTEN.match(value):
            if _RENDERED.match(value):
                must = f"`{name}` must be plain words or messages, not a chat template's output"
                raise DataError(must, got=repr(value[:40]), do="give its turns as messages")
            return value
        value = _unwritten(value, name)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        must = f"`{name}` must be text or messages"
        raise DataError(must, got=repr(value)[:40], do="mend or drop the row")
    return parse_turns(value, name, unused)


def parse_turns(value: Sequence[Any], name: str, unused: set[str]) -> tuple[Message, ...]:
    """Return messages of turns in any of the forms above; lone texts speak in turn, user first."""
    turns: list[Message] = []
    for turn in value:
        sides = turn
        if isinstance(turn, Mapping):
            pair = next((p for p in _SIDES if set(p) <= turn.keys() and "role" not in turn), None)
            sides = pair and [turn[side] for side in pair]
            if pair:
                unused.update(f"{name}[].{key}" for key in turn.keys() - {*pair})
        if isinstance(turn, str):
            turns.append(Message(("user", "assistant")[len(turns) % 2], turn))
        elif isinstance(sides, list | tuple) and [type(side) for side in sides] == [str, str]:
            turns += [Message("user", sides[0]), Message("assistant", sides[1])]
        elif isinstance(turn, Mapping) and sides is None:
            turns.append(_message(turn, name, unused))
        else:
            must = f"`{name}` must be a list of messages with role and content"
            raise DataError(must, got=repr(turn)[:40], do="mend or drop the row")
    return tuple(turns)


def _unwritten(text: str, name: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError):
            continue
    must, do = f"`{name}`: a list of messages written as text must be valid JSON", "save as .jsonl"
    raise DataError(must, got=repr(text[:40]), do=do)


def _message(turn: Mapping[str, Any], name: str, unused: set[str]) -> Message:
    known = {key: part for key, part in turn.items() if part is not None and part not in ([], {})}
    said = known.pop("role", None) or known.pop("from", None)
    role = ROLES.get(str(said).lower())
    if role is None:
        must = f"`{name}`: a message's role must be system, user, assistant or tool"
        raise DataError(must, got=repr(said), do="mend or drop the row")
    content = next((known.pop(key) for key in ("content", "value", "text") if key in known), None)
    thoughts = [known.pop(key) for key in _THOUGHTS if key in known]
    calls = known.pop("tool_calls", [])
    calls = [*(calls if isinstance(calls, list) else [calls]), known.pop("function_call", None)]
    if content is None:
        content = known.pop("refusal", None)
    if content is None and not any(calls) and "content" not in turn:
        raise DataError(f"`{name}`: a message must have a content", got=f"{', '.join(turn)}")
    words = _words(content, name)
    if said in ("function_call", "tool_call"):
        calls, words = [words], ""
    if thoughts := [thought for thought in thoughts if str(thought).strip()]:
        words = f"<think>\n{str(thoughts[0]).strip()}\n</think>\n\n{words}"
    unused.update(f"{name}[].{key}" for key in known.keys() - _NO_LOSS)
    return Message(role, "\n".join(filter(None, [words, *map(_call, filter(None, calls))])))


def _words(content: Any, name: str) -> str:
    parts = content if isinstance(content, list) else [content]
    words = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        text = part.get("text") if isinstance(part, Mapping) else "" if part is None else part
        if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
            got = kind if kind != "text" else repr(part)[:40]
            must = f"`{name}`: every part of a message must be text"
            raise DataError(must, got=got, do="leave it out, or drop the row")
        words.append(text)
    return "\n".join(words)


def _call(call: Any) -> str:
    if isinstance(call, Mapping):
        function = call.get("function", call)
        call = {key: part for key, part in function.items() if part is not None}
        if isinstance(call.get("arguments"), str):
            # Text that is no JSON is what the model wrote.
            with contextlib.suppress(ValueError):
                call["arguments"] = json.loads(call["arguments"])
        call = as_json(call)
    return f"<tool_call>\n{str(call).strip()}\n</tool_call>"


def as_json(value: Any) -> str:
    """Return JSON as chat templates write it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def prompt_of(turns: Turns) -> Prompt:
    """Return the prompt; its last turn must say something and not be the assistant's."""
    if not turns or turns[-1].role == "assistant" or not turns[-1].content.strip():
        must = "a prompt must end in a turn that the assistant can answer"
        raise DataError(must, got=repr(turns[-1].content)[:40] if turns else "no turn")
    return Prompt(messages=tuple(turns))


def split_dialogues(dialogues: Sequence[Dialogue]) -> tuple[tuple[Message, ...], list[str]]:
    """Return the turns that dialogues share and their answers, which may be empty."""
    texts = [dialogue for dialogue in dialogues if isinstance(dialogue, str)]
    if not texts:
        return _split_turns([tuple(dialogue) for dialogue in dialogues])  # type: ignore[arg-type]
    return _split_texts(texts)


def _split_texts(texts: Sequence[str]) -> tuple[tuple[Message, ...], list[str]]:
    shared = os.path.commonprefix(texts)  # noqa: RUF071 (character by character)
    end = len(shared)
    if not any(_TURN.match(text) for text in texts):
        # TRL's implicit prompt: the words that both begin with.
        words = re.match(r".*\S(?=\s)", shared, re.DOTALL)
        if words is not None:
            turns = (Message("user", words[0].strip()),)
            return turns, [text[words.end() :].strip() for text in texts]
        raise _unshared(texts)
    while (end := shared.rfind(_ANSWER, 0, end)) >= 0:
        turns = parse_dialogue(shared[:end])
        # After an empty assistant turn the prompt would be one that has been answered.
        if turns and turns[-1].role == "user":
            answers = [text[end + len(_ANSWER) :] for text in texts]
            last = [(_TURN.findall(answer) or ["Assistant"])[-1] for answer in answers]
            _check_speakers("\n\nHuman:" in shared[end:], "Human" in last, texts)
            return turns, [answer.strip() for answer in answers]
    raise _unshared(texts)


def _split_turns(dialogues: Sequence[Turns]) -> tuple[tuple[Message, ...], list[str]]:
    first, longest = dialogues[0], min(map(len, dialogues)) - 1
    cut = next((i for i in range(longest) if len({d[i] for d in dialogues}) > 1), longest)
    ends = [dialogue[-1].content for dialogue in dialogues]
    is_asked = any(turn.role == "user" for turn in first[:cut])
    others = any(dialogue[cut].role != "assistant" for dialogue in dialogues)
    _check_speakers(is_asked and others, any(d[-1].role != "assistant" for d in dialogues), ends)
    while cut > 0 and first[cut - 1].role == "assistant":
        cut -= 1
    if not is_asked or others or not cut:
        raise _unshared(ends)
    return tuple(first[:cut]), [answer_text(dialogue[cut:]) for dialogue in dialogues]


def _check_speakers(differ_elsewhere: bool, end_elsewhere: bool, ends: Sequence[str]) -> None:
    got, do = " and ".join(repr(end[-40:]) for end in ends[:2]), "drop the row"
    if end_elsewhere:
        raise DataError("an answer must end with the assistant's words", got=got, do=do)
    if differ_elsewhere:
        must = "answers must first differ in the assistant's words, not in a user's or a tool's"
        raise DataError(must, got=got, do=do)


def _unshared(ends: Sequence[str]) -> DataError:
    must = "chosen and rejected must share a prompt, and mark where the answer begins"
    got = " and ".join(repr(end)[:40] for end in ends[:2])
    return DataError(must, got=got, do="give it as a `prompt` field")


def answer_text(turns: Turns) -> str:
    """Return one text of an answer and the turns after it."""
    later = [f"\n\n{_NAMES.get(turn.role, turn.role)}: {turn.content}" for turn in turns[1:]]
    return turns[0].content + "".join(later)


def merge_turns(given: Turns, turns: Turns) -> tuple[Message, ...]:
    """Return the turns of a row's prompt and those that its answers repeat, each once.

    System turns are joined. Of the same turn the fuller text counts; `DataError` where the two
    have no turn in common.
    """
    (before, asked), (head, rest) = _system(given), _system(turns)
    system = _once(before, head, joined=True)
    overlap = next((k for k in range(min(len(asked), len(rest)), 0, -1)
                    if all(map(_once, asked[-k:], rest[:k]))), 0)  # fmt: skip
    inside = [" ".join(turn.content.split()) for turn in asked]
    whole = " ".join(turn.content for turn in rest)
    if overlap:
        same = [_once(a, b) for a, b in zip(asked[-overlap:], rest[:overlap], strict=True)]
        both = [*asked[:-overlap], *same, *rest[overlap:]]
    elif all(words in " ".join(whole.split()) for words in inside) or (
        len(asked) == 1 and all(" ".join(turn.content.split()) in inside[0] for turn in rest)
    ):
        both = list(rest)
    else:
        must = "`prompt` must be the prompt of the answers' own dialogue"
        raise DataError(must, got=" and ".join(repr(t[-1].content)[:40] for t in (asked, rest)))
    return tuple(turn for turn in (system, *both) if turn is not None)


def _system(turns: Turns) -> tuple[Message | None, Turns]:
    is_led = bool(turns) and turns[0].role in ("system", "developer")
    return (turns[0], turns[1:]) if is_led else (None, turns)


def _once(a: Message | None, b: Message | None, *, joined: bool = False) -> Message | None:
    """Return the fuller of two tellings of one turn; of others none, or both where `joined`."""
    if a is None or b is None:
        return a or b
    short, long = sorted((a, b), key=lambda turn: len(turn.content.split()))
    words = [" ".join(turn.content.split()) for turn in (short, long)]
    if a.role == b.role != "assistant" and words[0] and words[0] in words[1]:
        return long
    if joined:
        return Message(a.role, f"{a.content}\n\n{b.content}")
    return a if (a.role, words[0]) == (b.role, words[1]) else None
