"""Where the response lies in the tokens, found from the joint text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.conftest import tokenize
from trueline.errors import DataError, InputError
from trueline.models.trunk import Trunk
from trueline.records import Message, Prompt, Response


def test_chat_rows_are_the_templates_own_dialogue(chat):
    prompt = Prompt.of("a b 7")
    ids, start = tokenize(chat, prompt, "c + d")
    said = [{"role": "user", "content": "a b 7"}, {"role": "assistant", "content": "c + d"}]
    tokenizer = chat.codec.tokenizer
    whole = tokenizer(
        tokenizer.apply_chat_template(said, tokenize=False), add_special_tokens=False
    )["input_ids"]
    assert ids == whole
    assert tokenizer.decode(ids[start:]) == "c + d <end>"
    assert ids[:start] == chat.codec.prompt_ids([prompt])[0]


def test_a_template_that_refuses_is_a_data_error(chat):
    chat.codec.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match="roles must alternate"):
        tokenize(chat, Prompt(messages=(Message("tool", "x"),)), "a")


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
