"""Texts as decoded batches and other families' templates bring them: read by turns, or refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from trueline.errors import InputError
from trueline.models.trunk import Trunk
from trueline.protocols import Scorer
from trueline.records import Message, Prompt
from trueline.serving.formats import Splitter
from trueline.worlds.sums import trunk_path

from .conftest import client

ASK, SAY = "Name a river.", "The Nile."
SYSTEM = Prompt.of(ASK, system="Be short.")
RENDERED = {
    "chatml": "<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n",
    "thinking": "<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    "{a}<|im_end|>\n",
    "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{q}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{a}<|eot_id|>",
    "gemma": "<bos><start_of_turn>user\n{q}<end_of_turn>\n<start_of_turn>model\n{a}<end_of_turn>\n",
    "mistral": "<s>[INST] {q}[/INST] {a}</s>",
    "llama2": "<s>[INST] <<SYS>>\nBe short.\n<</SYS>>\n\n{q} [/INST] {a} </s>",
    "phi": "<|system|>\nBe short.<|end|>\n<|user|>\n{q}<|end|>\n<|assistant|>\n{a}<|end|>\n",
    "zephyr": "<|user|>\n{q}</s>\n<|assistant|>\n{a}</s>",
    "vicuna": "Be short. USER: {q} ASSISTANT: {a}</s>",
    "alpaca": "### Instruction:\n{q}\n\n### Response:\n{a}",
    "deepseek": "<｜begin▁of▁sentence｜>Be short.<｜User｜>{q}<｜Assistant｜>{a}"
    "<｜end▁of▁sentence｜>",
    "command": "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>{q}<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{a}<|END_OF_TURN_TOKEN|>",
}


@pytest.fixture(scope="module", params=[None, "sums"])
def splitter(request: Any) -> Splitter:
    return Splitter(Trunk.load(trunk_path()).codec if request.param else None)


@pytest.mark.parametrize("family", RENDERED)
def test_another_familys_text_is_read_by_its_roles(splitter: Splitter, family: str) -> None:
    form, prompt = RENDERED[family], SYSTEM if "Be short" in RENDERED[family] else Prompt.of(ASK)
    whole, asked = form.format(q=ASK, a=SAY), form.format(q=ASK, a="\0").partition("\0")[0]
    pads = "<pad>" * 3 + "<|endoftext|> "
    for text in (whole, pads + whole, whole + "<|endoftext|>" * 2 + "<|im_end|>\n"):
        assert splitter.whole(text) == (prompt, SAY)
    assert splitter.prompt(asked) == splitter.prompt(pads + asked) == prompt
    assert splitter.after(whole, asked) == splitter.after(pads + whole, asked) == (prompt, SAY)
    twice = form.format(q=asked, a="") + (form.format(q="\0", a="").partition("\0")[2])
    for text in (twice, whole.replace(ASK, ""), f"cut short {whole}"):
        if text.startswith("cut") and family in ("vicuna", "alpaca", "deepseek"):
            continue  # Words before their first mark are a system turn.
        with pytest.raises(InputError):
            splitter.whole(text)


def test_the_trunks_own_marks_are_taken_off_or_refused(splitter: Splitter) -> None:
    if splitter._tokenizer is None:
        return
    asked, prompt = "<bos> <user> start 7 <assistant>", Prompt.of("start 7")
    for text in (f"{asked} 7 <end> <end>", f"<pad> <pad> {asked} 7 <end>", f"<bos> {asked} 7"):
        assert splitter.whole(text) == splitter.after(text, asked) == (prompt, "7")
    assert splitter.answer(" 7 <end> <pad> <pad>") == "7"
    messages = [{"role": "user", "content": "<bos> start 7 <end>"}]
    assert splitter.prompt(messages).text.strip() == "start 7"
    for bad in (f"<bos> <user> {asked} 7", "<bos> <user> a <end> b <assistant> 7"):
        with pytest.raises(InputError):
            splitter.whole(bad)
    for bad in ("7 <end> <user> 8", "7 <|im_start|>user\n8", "[INST] 7 [/INST] 8"):
        with pytest.raises(InputError, match="marks"):
            splitter.answer(bad)
    with pytest.raises(InputError, match="marks"):
        splitter.prompt([{"role": "user", "content": asked}])


class ChatML:
    """SmolLM2's: the first token is what opens a turn, the pad what ends it; a standing system."""

    bos_token, eos_token, pad_token = "<|im_start|>", "<|im_end|>", "<|im_end|>"
    added_tokens_decoder: ClassVar[dict[int, Any]] = {
        i: SimpleNamespace(content=mark, special=True)
        for i, mark in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    }

    special_tokens_map: ClassVar[dict[str, str]] = {}

    def get_chat_template(self) -> str:
        return (
            "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are small.<|im_end|>\n"
            "{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role }}\n{{ m.content }}"
            "<|im_end|>{{ '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
        )

    def apply_chat_template(self, rows: list[Any], *, add_generation_prompt: bool, **_: Any) -> str:
        if rows[0]["role"] != "system":
            rows = [{"role": "system", "content": "You are small."}, *rows]
        turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in rows]
        return "".join(turns) + "<|im_start|>assistant\n" * add_generation_prompt


def test_a_first_token_that_opens_turns_is_no_pad() -> None:
    splitter: Any = Splitter(SimpleNamespace(tokenizer=ChatML(), chat=True))  # type: ignore[arg-type]
    rows = [{"role": "user", "content": ASK}]
    asked = ChatML().apply_chat_template(rows, add_generation_prompt=True)
    bare = asked[asked.index("<|im_start|>user") :]
    for text in (asked + SAY, bare + SAY, "<|im_end|>" * 3 + asked + SAY + "<|im_end|>" * 3):
        assert splitter.whole(text) == (Prompt.of(ASK), SAY)
    assert splitter.after(asked + SAY + "<|im_end|><|im_end|>", asked) == (Prompt.of(ASK), SAY)
    ran_on = f"{asked}{SAY}<|im_end|>\n<|im_start|>user\nMore?<|im_end|>\n"
    twice = ChatML().apply_chat_template(
        [{"role": "user", "content": asked}], add_generation_prompt=True
    )
    for text in (ran_on, twice + SAY, bare.replace("user", "narrator") + SAY):
        with pytest.raises(InputError):
            splitter.whole(text)


def test_words_that_only_mention_a_mark_of_words_stay(splitter: Splitter) -> None:
    for text in ("Translate: USER: hi", "### Response: what is this?", "a < b | c > d", "I <3 U"):
        assert splitter.prompt(text) == Prompt.of(text) and splitter.answer(text) == text


def test_single_items_stand_beside_lists_in_every_form(reward: Scorer) -> None:
    value = float(reward.score(["Hello"], ["Hi good"]).mean[0])
    turns = [{"role": "user", "content": "Hello"}]
    hh, pads = "\n\nHuman: Hello\n\nAssistant: Hi good", "<|im_end|>\n</s></s>"
    sent: list[tuple[str, dict[str, Any], Any]] = [
        ("/score", {"prompt": "Hello", "response": f"Hi good{pads}"}, "rows"),
        ("/score", {"prompts": turns, "responses": ["Hi good"]}, "rows"),
        ("/score", {"prompts": [turns], "responses": "Hi good"}, "rows"),
        ("/openrlhf", {"query": f"<pad>Hello{'Hi good'}{pads}", "prompts": "Hello"}, "rewards"),
        ("/openrlhf", {"query": f"<s>{hh}{pads}"}, "rewards"),
        ("/classify", {"input": f"{hh}{pads}", "use_activation": False}, "data"),
        ("/slime", {"prompt": turns, "response": f"Hi good{pads}"}, None),
        ("/slime", {"prompt": [turns], "response": ["Hi good"]}, 0),
    ]
    with client(reward, use="mean") as http:
        for path, body, at in sent:
            reply: Any = http.post(path, json=body).json()
            found = reply if at is None else reply[at]
            found = found[0] if isinstance(found, list) else found
            if isinstance(found, dict):
                assert found["answer_cut"] is False and found["prompt_cut"] is False
                found = found["mean"] if "mean" in found else found["probs"][0]
            assert found == pytest.approx(value, abs=1e-9), (path, body)
        flags = http.post("/openrlhf", json=sent[3][1]).json()["extra_logs"]
    assert flags["answer_cut"] == flags["prompt_cut"] == [0.0]


def test_messages_roles_are_read_as_in_files() -> None:
    asked = Splitter(None).prompt([{"role": "user", "content": "Hi"}])
    assert asked.messages == (Message("user", "Hi"),)
