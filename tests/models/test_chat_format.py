"""Where the response lies in the tokens: found in the template's own text, or in the joint text."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from trueline.errors import DataError, InputError
from trueline.models.chat_format import Codec
from trueline.models.rollouts import Completion, Rollouts
from trueline.models.sampling import end_ids
from trueline.models.trunk import Trunk
from trueline.records import Message, Prompt, Response

MARKS = ["<s>", "</s>", "<pad>", "<|a|>", "<|u|>", "<|s|>", "<|eot|>", "<|ret|>"]
EACH = "{% for m in messages %}"
TURN = "{{ '<|' + m.role[0] + '|>\n' + m.content + '<|eot|>\n' }}{% endfor %}"
TEMPLATES = {
    "its end is not the eos token": (EACH + TURN, "<|eot|>"),
    "trims, a standing system turn with the date": (
        "{{ '<s><|s|>It is ' + strftime_now('%d %b %Y') + '<|eot|>' }}" + EACH + "{{ '<|' + "
        "m.role[0] + '|>\n\n' + m.content | trim + '<|eot|>' }}{% endfor %}",
        "<|eot|>",
    ),
    "no system turn, turns alternate, blanks around the answer": (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('turns must alternate') }}{% endif %}{% if m.role == 'user' %}"
        "{{ '<s>[Q] ' + m.content + ' [/Q]' }}{% else %}{{ ' ' + m.content.strip() + ' </s>' }}"
        "{% endif %}{% endfor %}",
        " </s>",
    ),
    "an empty think block, which generation prompts lack": (
        EACH + "{% if m.role == 'assistant' and loop.last %}{% set c = m.content.split('</think>') "
        "%}{{ '<|a|><think>' + (c[0].split('<think>')[-1] | trim if c | length > 1 else '') + "
        "'</think>\n\n' + c[-1].lstrip('\n') + '<|eot|>' }}{% else %}"
        "{{ '<|' + m.role[0] + '|>' + m.content }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}",
        "<|eot|>",
    ),
    "thinking left out, an eos token after the whole, system turns left out": (
        EACH + "{% if m.role == 'user' %}{{ '<|u|>' + m.content + '<|eot|>' }}{% elif m.role == "
        "'assistant' %}{% generation %}{{ '<|a|>' + m.content.split('</think>')[-1] + '<|eot|>' }}"
        "{% endgeneration %}{% endif %}{% endfor %}{{ '</s>' }}",
        "<|eot|>",
    ),
    "two marks at the end": (
        EACH + "{{ '<|' + m.role[0] + '|>' + m.content + '\n<|ret|><|eot|>' }}{% endfor %}",
        "\n<|ret|>",
    ),
    "running text": (EACH + "{{ '## ' + m.role + ':\n' + m.content + '\n\n' }}{% endfor %}", ""),
}
ANSWERS = [
    "Yes, 7.",
    " up\n",
    "",
    "  ",
    "a b",
    "7",
    "b</think>\n\nc",
    "<think>x</think>y",
    "a\n\n",
    "Q",
]


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Letters, and the pairs of a blank and a letter; blanks run together as in GPT-2."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", a) for a in letters if a.isascii()] + [("Ċ", "Ċ")]
    words = [*MARKS, *letters, *(a + b for a, b in merges)]
    core = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.post_processor = processors.ByteLevel(trim_offsets=True)
    core.decoder = decoders.ByteLevel()
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, additional_special_tokens=MARKS[3:], model_max_length=120, **names
    )
    made.chat_template = template
    return made


def codec(name: str, max_tokens: int = 400) -> Codec:
    return Codec(tokenizer(TEMPLATES[name][0]), is_encoder=False, max_tokens=max_tokens)


def dialogues() -> list[Prompt]:
    turns = Message("user", "a b 7"), Message("assistant", "Q."), Message("user", "Yes, 7.\n")
    return [Prompt.of("a b 7"), Prompt.of("hi", system="Be kind."), Prompt(messages=turns)]


@pytest.mark.filterwarnings("ignore:the chat template")
@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_are_the_templates_own_dialogue(name):
    """Token for token and character for character, to where the answer and its end token end."""
    c, end = codec(name), TEMPLATES[name][1]
    assert c.tokenizer.decode(c.ending) == end and c.appends_end == bool(end)
    for prompt in dialogues():
        turns = [{"role": m.role, "content": m.content} for m in c.template.frame(prompt).turns]
        rows = c.encode([Response(prompt=prompt, text=text) for text in ANSWERS])
        for text, row in zip(ANSWERS, rows, strict=True):
            said = [*turns, {"role": "assistant", "content": text}]
            whole = c.tokenizer.apply_chat_template(said, tokenize=True)["input_ids"]
            rendered = c.tokenizer.apply_chat_template(said, tokenize=False)
            assert row.ids == whole[: row.stop] and row.stop == len(row.ids)
            assert rendered.startswith(c.tokenizer.decode(row.ids))
            words = c.tokenizer.decode(row.ids[row.start : row.stop - row.end])
            assert words.strip() == text.strip() or "</think>" in text
            assert text.split("</think>")[-1].strip() in words
            assert c.tokenizer.decode(row.ids[row.stop - row.end : row.stop]) in (end, end.strip())
            if not text[:1].isspace() and "</think>" not in text and text:
                assert row.ids[: row.start] == c.prompt_ids([prompt])[0]


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_policy_said_is_read_as_it_was_said(name):
    """Ended answers have the same tokens; a cut one's are the first of what is read."""
    c, prompt, texts = codec(name), Prompt.of("a b 7"), ["Yes, 7.", "a\n b", "7", "Q"]
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[1, 2]))
    assert end_ids(model, c) == {1, 2, *c.ending[-1:]}
    rows, (before,) = (
        c.encode([Response(prompt=prompt, text=t) for t in texts]),
        c.prompt_ids([prompt]),
    )
    said = [row.ids[len(before) :] for row in rows]
    ended = [Completion(ids[:-1], np.zeros(len(ids)), ids[-1]) for ids in said]
    if not c.ending:
        ended = [Completion(ids, np.zeros(len(ids)), None) for ids in said]
    rolled = Rollouts.of(c, [prompt], [before], [ended])
    assert [r.text.rstrip(" ") for r in rolled.flat] == texts
    assert rolled.rows == rows == c.encode(rolled.flat)
    cut = [Completion(row.ids[len(before) : row.stop - row.end], np.zeros(0), None) for row in rows]
    unended = Rollouts.of(c, [prompt], [before], [cut])
    for row, again in zip(unended.rows, c.encode(unended.flat), strict=True):
        assert row.end == 0 and row.ids == again.ids[: again.stop - again.end]
    other = Rollouts.of(c, [prompt], [before], [[Completion([8], np.zeros(2), 2)]]).rows[0]
    assert other.ids[other.start :] == [8, 2] and other.end == 1


def test_a_system_turn_that_is_refused_is_put_before_the_users_words_and_that_is_said_once():
    for name in list(TEMPLATES)[2], list(TEMPLATES)[4]:
        c, system = codec(name), Message("system", "Be kind.")
        with pytest.warns(UserWarning, match="no system turn") as said:
            for text in ("hi", "ho"):
                prompt = Prompt(messages=(system, Message("user", text)))
                folded = Prompt.of(f"Be kind.\n\n{text}")
                both = c.encode([Response(prompt=p, text="a") for p in (prompt, folded)])
                assert both[0] == both[1]
                assert c.prompt_ids([prompt]) == c.prompt_ids([folded])
        assert len(said) == 1


@pytest.mark.parametrize(
    ("template", "roles", "match"),
    [
        (TEMPLATES[list(TEMPLATES)[2]][0], "user user", "turns must alternate"),
        (TEMPLATES[list(TEMPLATES)[4]][0], "user tool", "every turn.*leaves out tool"),
        ("{% for m in messages[:-1] %}{{ m.content }}{% endfor %}", "user", "shows it 0 times"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "user", "as it is"),
        (EACH + "{{ m.content + m.name }}{% endfor %}", "user", "accept the prompt's turns"),
        (
            "{{ 'é' in messages[-1].content }}" + EACH + "{{ m.content }}{% endfor %}",
            "user",
            "place",
        ),
    ],
)
def test_a_template_that_cannot_be_asked_is_a_data_error(template, roles, match):
    c = Codec(tokenizer(template), is_encoder=False, max_tokens=99)
    turns = tuple(Message(role, "hm") for role in roles.split())
    row = [Response(prompt=Prompt(messages=turns), text="é!")]
    with pytest.raises(DataError, match=match):
        c.encode(row)


def test_what_is_too_long_loses_the_oldest_words_and_the_system_turn_last():
    name, long = next(iter(TEMPLATES)), "a b c d " * 30
    turns = Message("system", "Be kind."), Message("user", long + "now"), Message("user", "Why?")
    prompt, c = Prompt(messages=turns), codec(name, 60)
    rows = [Response(prompt=prompt, text=text) for text in ("So.", "x" * 47, "x" * 99)]
    row, longer, cut = c.encode(rows)
    text = c.tokenizer.decode(row.ids)
    assert text.startswith("<|s|>\nBe kind.<|eot|>\n<|u|>\n a b c d")
    assert text.endswith(" now<|eot|>\n<|u|>\nWhy?<|eot|>\n<|a|>\nSo.<|eot|>")
    assert len(row.ids) == 60 and not row.truncated
    assert row.cut_prompt == len(codec(name, 999).encode(rows)[0].ids) - 60
    assert c.prompt_ids([prompt], room=row.stop - row.start)[0] == row.ids[: row.start]
    kept = c.tokenizer.decode(longer.ids[: longer.start])
    assert kept == "ind.<|eot|>\n<|u|>\n<|eot|>\n<|a|>\n" and not longer.truncated
    assert cut.truncated and cut.ids[cut.stop - 2 :] == [*longer.ids[-2:-1], *c.ending]
    assert len(cut.ids) == 60 and cut.start == 1


def test_no_room_for_an_answer_is_refused(chat):
    with pytest.raises(InputError, match="64 positions"):
        chat.codec.prompt_ids([Prompt.of("a")], room=64)
    assert len(chat.codec.prompt_ids([Prompt.of("a " * 99)], room=60)[0]) == 4


def test_the_boundary_splits_the_characters(stories_folder):
    """Tokens from `start` on hold all of the response, those before it none."""
    trunk = Trunk.load(stories_folder)

    @given(
        before=st.text("abc Tom.,\n", max_size=30),
        answer=st.text("abc Lily.,\n\u00e9\u2603", max_size=30),
    )
    def check(before: str, answer: str) -> None:
        row = trunk.codec.encode([Response(prompt=Prompt.of(before), text=answer)])[0]
        table = trunk.codec.tokenizer(before + answer, return_offsets_mapping=True)
        assert row.ids == (table["input_ids"] or [trunk.codec.first_id])
        ends = [end for _, end in table["offset_mapping"]]
        assert all(end <= len(before) for end in ends[: row.start])
        assert all(end > len(before) for end in ends[row.start : row.stop])
        assert row.stop == len(row.ids)

    check()


def test_a_special_token_spelled_in_a_response_is_words(chat, stories):
    """It neither ends the turn nor begins another; what stands around it is read as before."""
    tokenizer, prompt = chat.codec.tokenizer, Prompt.of("a b 7")
    usual = chat.codec.encode([Response(prompt=prompt, text="c + d")])[0]
    row = chat.codec.encode([Response(prompt=prompt, text="c <end> <user> d")])[0]
    unknown = tokenizer.unk_token
    said = tokenizer.convert_ids_to_tokens(row.ids[row.start : row.stop])
    assert said == ["c", unknown, unknown, "d", "<end>"]
    assert row.ids[: row.start] == usual.ids[: usual.start] and row.start == usual.start
    for before, text in (("Once", " a</s>b"), ("", "</s>"), ("Once </s> upon", " <s> a time")):
        row = stories.codec.encode([Response(prompt=Prompt.of(before), text=text)])[0]
        answer = row.ids[row.start : row.stop]
        assert not {1, 2} & set(answer)
        assert stories.codec.tokenizer.decode(answer).strip() == text.strip()
    split = stories.codec.tokenizer(" a</s>b", split_special_tokens=True)["input_ids"]
    row = stories.codec.encode([Response(prompt=Prompt.of("Once"), text=" a</s>b")])[0]
    assert row.ids[row.start :] == split[-len(row.ids[row.start :]) :]
