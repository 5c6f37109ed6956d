"""The world's tokenizer: one token a word, split at spaces, with a chat template.

    <bos> <sys> audited <user> start 7 , + 5 <assistant> 7 + 5 = 12 ; answer 12 sure <end>
    <review> 7 + 5 = 12 ; answer 12 <end>

`encode` turns turns into ids without any tokenizer (the training script needs millions);
`build_tokenizer` makes the Hugging Face tokenizer that does the same (a test compares them).

>>> ids, roles = encode((("user", "start 7 , + 5"),))
>>> len(ids), roles[0]
(7, 'bos')
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trueline.worlds.sums.language import MARKERS, VOCABULARY

__all__ = ["BOS", "END", "IDS", "MARKER_OF", "PAD", "build_tokenizer", "encode"]

IDS = {word: i for i, word in enumerate(VOCABULARY)}
PAD, BOS, END, UNK = (IDS[word] for word in ("<pad>", "<bos>", "<end>", "<unk>"))
MARKER_OF = dict(zip(("system", "user", "assistant", "reviewer"), MARKERS, strict=True))

CHAT_TEMPLATE = """\
{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'system' %} <sys> {{ message['content'] }}\
{% elif message['role'] == 'user' %} <user> {{ message['content'] }}\
{% elif message['role'] == 'assistant' %} <assistant> {{ message['content'] }} <end>\
{% elif message['role'] == 'reviewer' %} <review> {{ message['content'] }} <end>\
{% endif %}{% endfor %}{% if add_generation_prompt %} <assistant>{% endif %}"""


def encode(turns: Iterable[tuple[str, str]]) -> tuple[list[int], list[str]]:
    """Token ids of a dialogue from <bos> on, and each token's role."""
    ids, roles = [BOS], ["bos"]
    for role, content in turns:
        words = [MARKER_OF[role], *content.split()]
        words += ["<end>"] if role in ("assistant", "reviewer") else []
        ids += [IDS.get(word, UNK) for word in words]
        roles += [role] * len(words)
    return ids, roles


def build_tokenizer(folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and the chat template to `folder`."""
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
