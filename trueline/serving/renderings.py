r"""Read what chat templates of the families in use write: marks at a text's ends, turns by role.

Decoded batches bring pads, doubled beginnings and repeated ends; senders have templates of their
own. A text's turns are found by the marks that open them, of one family alone; what closes them is
cut off. A turn that is empty, but for the last where the assistant is to speak, shows that a
template was applied twice; it is refused like marks of several families.

>>> turns_in("<s>[INST] Hello [/INST] Hi.</s>")
[('user', 'Hello'), ('assistant', 'Hi.')]
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trueline.data.dialogues import ROLES
from trueline.errors import DataError

__all__ = ["bare", "is_closed", "opens_turn", "turns_in", "unthinking"]
__all__ += ["without_ends", "without_starts"]

Turns = list[tuple[str, str]]
"""Role and words of each turn."""
_EDGES = (
    *("<s>", "</s>", "<bos>", "<eos>", "<pad>", "<PAD>", "<unk>", "[PAD]", "[CLS]", "[SEP]"),
    *("<|begin_of_text|>", "<|end_of_text|>", "<|startoftext|>", "<|endoftext|>", "<|pad|>"),
    *("<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|finetune_right_pad_id|>", "<|finetune_right_pad|>"),
    *("<|im_end|>", "<|end|>", "<|return|>", "<|end_of_turn|>", "<end_of_turn>", "[|endofturn|]"),
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "[gMASK]", "<sop>"),
    *("<BOS_TOKEN>", "<EOS_TOKEN>", "<PAD_TOKEN>", "<|END_OF_TURN_TOKEN|>", "[/SYSTEM_PROMPT]"),
)
"""What known families put before, after and between texts and turns; never words."""
_NAMES = r"(system|developer|user|assistant|model|tool|observation|human|bot|User|Assistant)"
_OPENERS = (
    r"<\|im_start\|>([\w ]+)(?:\n|<\|im_(?:sep|middle)\|>)",
    r"<\|(?:start_header_id|header_start)\|>(\w+)<\|(?:end_header_id|header_end)\|>",
    r"<start_of_turn>(\w+)\n",
    r"<\|start_of_role\|>(\w+)<\|end_of_role\|>",
    r"<\|START_OF_TURN_TOKEN\|><\|(\w+?)_TOKEN\|>",
    r"<\|start\|>(\w+)(?:<\|channel\|>\w+)?<\|message\|>",
    rf"<\|{_NAMES}\|>",
    rf"\[\|{_NAMES}\|\]",
    r"(\[INST\]\s*<<SYS>>|<</SYS>>|\[/?INST\]|\[SYSTEM_PROMPT\])",
    rf"<｜{_NAMES}｜>",
    rf"(?:^|<\|end_of_turn\|>)\s*GPT4(?: Correct)? {_NAMES}:",
)
_PLAIN = (
    r"(?:^|\s|</s>)(USER|ASSISTANT):",
    r"(?:^|\n)### (Instruction|Input|Response|Human|User|Assistant|System):",
)
"""Marks that are words too: they count from the user's or system's to the assistant's."""
_SPECIAL = tuple(map(re.compile, _OPENERS))
_WORDS = tuple(map(re.compile, _PLAIN))
_SAYS = {
    **ROLES,
    **dict.fromkeys(("[inst]", "<</sys>>", "instruction", "input"), "user"),
    **dict.fromkeys(("[/inst]", "response", "chatbot"), "assistant"),
    "[system_prompt]": "system",
}
_MAX_TURNS = 512


def without_starts(text: str, own: Sequence[str] = ()) -> str:
    """Return a text without pads and beginnings before it; `own`: the served tokenizer's."""
    start, marks = 0, (*own, *_EDGES)
    while True:
        at = start + len(text[start : start + 80]) - len(text[start : start + 80].lstrip())
        mark = next((mark for mark in marks if text.startswith(mark, at)), None)
        if mark is None:
            return text[start:].lstrip() if start else text
        start = at + len(mark)


def without_ends(text: str, own: Sequence[str] = ()) -> str:
    """Return a text without the ends and pads after it; blanks before the first of them stay."""
    end, marks = len(text), (*own, *_EDGES)
    while True:
        at = end - len(text[max(0, end - 80) : end]) + len(text[max(0, end - 80) : end].rstrip())
        mark = next((mark for mark in marks if text.endswith(mark, 0, at)), None)
        if mark is None:
            return text[:end]
        end = at - len(mark)


def is_closed(text: str) -> bool:
    """Return whether a mark ends the text."""
    return text.rstrip().endswith(_EDGES)


def opens_turn(mark: str) -> bool:
    """Return whether known families begin a turn with the mark."""
    return any(pattern.match(f"{mark}user\n") for pattern in _SPECIAL)


def unthinking(answer: str) -> str:
    """Return an answer without the empty thoughts that templates of thinking models put first."""
    return re.sub(r"\A\s*<think>\s*</think>\s*", "", answer)


def turns_in(text: str) -> Turns | None:
    """Return the turns of a text that a known family's template rendered, the last perhaps empty;
    None where it is none. `DataError` where it was rendered twice, or in part."""
    found = [(pattern, list(pattern.finditer(text))) for pattern in _SPECIAL]
    found = [(pattern, marks) for pattern, marks in found if marks]
    is_words = not found
    if is_words:
        found = [(p, m) for p in _WORDS if (m := list(p.finditer(text))) and _is_talk(m)]
    if not found:
        return None
    pattern, marks = found[0]
    before = without_ends(without_starts(text[: marks[0].start()])).strip()
    # DeepSeek's system turn bears no mark, nor do those of the families whose marks are words.
    if before and not (is_words or "｜" in pattern.pattern):
        return None
    if len(found) > 1 or len(marks) > _MAX_TURNS:
        raise _refused("the marks of one chat template", text)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    turns = [("system", before)] if before else []
    for mark, end in zip(marks, ends, strict=True):
        words = without_ends(without_starts(text[mark.end() : end].strip())).strip()
        turns.append((_role(mark), words))
    asked = turns[:-1] if turns[-1][0] == "assistant" else turns
    if not all(words for _, words in asked):
        raise _refused("no turn that is empty (was the chat template applied twice?)", text)
    return _joined(turns) if is_words else turns


def bare(text: str, own: Sequence[str] = ()) -> str:
    """Return the text if no mark is in it that opens a turn, nor one of `own`; else `DataError`."""
    found = next((mark for mark in own if mark in text), None)
    if found is None:
        found = next((m[0] for pattern in _SPECIAL if (m := pattern.search(text))), None)
    if found is not None:
        raise DataError(
            "words must hold none of a chat template's marks",
            got=f"{found.strip()!r} in {text[:40]!r}",
            do="send the turns as a list of messages, and of an answer what stands before its end",
        )
    return text


def _role(mark: re.Match[str]) -> str:
    name = mark[1].lower().strip()
    return "system" if name.endswith("<<sys>>") else _SAYS.get(name, name)


def _is_talk(marks: Sequence[re.Match[str]]) -> bool:
    return _role(marks[0]) in ("user", "system") and _role(marks[-1]) == "assistant"


def _joined(turns: Turns) -> Turns:
    """Return the turns with neighbours of one role in one, as an instruction and its input are."""
    out: Turns = []
    for role, words in turns:
        if out and out[-1][0] == role:
            words = f"{out.pop()[1]}\n\n{words}"
        out.append((role, words))
    return out


def _refused(must: str, text: str) -> DataError:
    return DataError(f"a rendered text must hold {must}", got=repr(text[:56]), do="send messages")
