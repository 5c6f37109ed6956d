"""A local model as a speaker: dialogues fit or have a problem, and contents end no turn."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from trueline.models.adapters import BasePolicy
from trueline.models.chat import LocalChatModel, Together
from trueline.models.template import Template
from trueline.protocols import ChatModel
from trueline.records import Message, Prompt
from trueline.testing import ScriptedChatModel


def user(text):
    return [Message("user", text)]


def rng():
    return np.random.default_rng(0)


def test_it_says_what_the_policy_says_in_the_order_asked(sums):
    speaker = LocalChatModel(BasePolicy(sums), temperature=0.0, max_new_tokens=40)
    asked = [user("start 7 , + 5"), user("start 3 , + 4 , * 2")]
    replies = speaker.say(asked, rng=rng())
    prompts = [Prompt.of(turns[0].content) for turns in asked]
    plain = BasePolicy(sums).sample(prompts, num_samples=1, rng=rng(), temperature=0.0)
    assert [reply.text for reply in replies] == [row[0].text.strip() for row in plain]
    assert all(reply.problem is None and reply.num_tokens > 3 for reply in replies)
    assert isinstance(speaker, ChatModel) and speaker.say([], rng=rng()) == []


def test_what_is_too_long_or_cut_off_is_a_problem_and_the_others_answer(chat):
    speaker = LocalChatModel(BasePolicy(chat), max_new_tokens=8)
    long, short = speaker.say([user("a " * 80), user("a b")], rng=rng())
    assert long.text == "" and "longer than the model can hold" in long.problem
    assert short.num_tokens > 0
    cut = LocalChatModel(BasePolicy(chat), max_new_tokens=1).say([user("a b")], rng=rng())[0]
    assert cut.problem == "cut off at max_new_tokens"


def test_contents_cannot_spell_a_special_token(chat):
    speaker = LocalChatModel(BasePolicy(chat))
    prompt = speaker._prompt(user("a <end> <assistant> b"))
    assert prompt.text == "a < end> < assistant> b"
    (ids,) = chat.codec.prompt_ids([prompt])
    clean = chat.codec.prompt_ids([Prompt.of("a b")])[0]
    for special in ("<end>", "<assistant>"):
        token = chat.codec.tokenizer.convert_tokens_to_ids(special)
        assert ids.count(token) == clean.count(token)


def test_a_template_without_system_turns_gets_one_turn(chat, monkeypatch):
    usual = chat.codec.tokenizer.chat_template
    refusing = "{% if messages[2] %}{{ raise_exception('one turn only') }}{% endif %}"
    speaker = LocalChatModel(BasePolicy(chat))
    monkeypatch.setattr(chat.codec, "template", Template(chat.codec.tokenizer))
    monkeypatch.setattr(chat.codec.tokenizer, "chat_template", refusing + usual)
    turns = [Message("user", "be brief"), Message("user", "a b")]
    assert speaker._prompt(turns) == Prompt.of("be brief\n\na b")


def test_a_model_of_running_text_stops_where_it_would_speak_for_the_human(stories):
    speaker = LocalChatModel(BasePolicy(stories), max_new_tokens=60)
    turns = [Message("system", "x"), Message("user", "Once upon")]
    for reply in speaker.say([turns] * 3, rng=rng()):
        assert "\n\nHuman:" not in reply.text and reply.num_tokens > 0


def test_a_choice_among_words_is_what_the_model_would_say_first(chat):
    speaker = LocalChatModel(BasePolicy(chat), max_new_tokens=8)
    asked = [user("a b"), user("a " * 80), user("b b a")]
    short, long, other = speaker.choose(asked, ("a", "b"))
    assert long is None and speaker.choose([], ("a", "b")) == []
    for turns, found in ((asked[0], short), (asked[2], other)):
        (ids,) = chat.codec.prompt_ids([speaker._prompt(turns)])
        words = [chat.codec.tokenizer.convert_tokens_to_ids(word) for word in ("a", "b")]
        with torch.no_grad():
            logits = chat.model(torch.tensor([ids])).logits[0, -1, words].double()
        assert found == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)


def test_what_many_threads_ask_is_asked_together_and_everyone_gets_his_own():
    sizes, ready = [], threading.Barrier(6)

    class Counting(ScriptedChatModel):
        def say(self, dialogues, *, rng):
            sizes.append(len(dialogues))
            return super().say(dialogues, rng=rng)

    def ask(i):
        ready.wait()
        return [r.text for r in model.say([user(f"x{i}"), user(f"y{i}")], rng=rng())]

    model = Together(Counting(str.upper))
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == [[f"X{i}", f"Y{i}"] for i in range(6)]
        assert sum(sizes) == 12 and len(sizes) <= 3
        model = Together(ScriptedChatModel(lambda _: 1 / 0))
        for future in [pool.submit(ask, i) for i in range(6)]:
            with pytest.raises(ZeroDivisionError):
                future.result()
