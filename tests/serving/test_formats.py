"""Each format against scoring directly, and what is refused and why."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from trueline.errors import InputError
from trueline.models.trunk import Trunk
from trueline.protocols import Scorer
from trueline.records import Message, Prompt
from trueline.serving.formats import Splitter
from trueline.worlds.sums import trunk_path

from .conftest import Moody, client, sums_reward, texts


def test_json_says_all_there_is_to_say_in_order(reward: Scorer) -> None:
    prompts, responses = texts(50)
    direct = reward.score(prompts, responses)
    turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    asked = {"prompts": [*prompts, turns], "responses": [*responses, "good"]}
    with client(reward) as http:
        *rows, last = http.post("/score", json=asked).json()["rows"]
    assert len(rows) == 50
    for name in ("mean", "std", "lower", "novelty"):
        np.testing.assert_allclose([row[name] for row in rows], getattr(direct, name), atol=1e-9)
    assert {row["outcome"] for row in rows} == {"scored"}
    expected = reward.score([Prompt.of("hello", system="be kind")], ["good"])[0]
    assert last["mean"] == pytest.approx(expected.mean, abs=1e-9)


def test_openrlhf(reward: Scorer) -> None:
    prompts, responses = texts(20)
    # The blank belongs to the prompt here: what follows the prompt is the response.
    given = [p + " " for p in prompts]
    query = [p + r for p, r in zip(given, responses, strict=True)]
    with client(reward) as http:
        asked = {"query": query, "prompts": given, "labels": [None] * 20}
        reply = http.post("/openrlhf", json=asked).json()
    expected = reward.score(given, responses)
    np.testing.assert_allclose(reply["rewards"], expected.lower, atol=1e-9)
    assert reply["scores"] == reply["rewards"]
    np.testing.assert_allclose(reply["extra_logs"]["std"], expected.std, atol=1e-9)
    assert reply["extra_logs"]["unscored"] == [0.0] * 20
    assert not np.allclose(expected.mean, expected.lower)


def test_classify_as_vllm_answers_and_slime(reward: Scorer) -> None:
    value = float(reward.score(["Hello"], ["Hi good"]).mean[0])
    text = "\n\nHuman: Hello\n\nAssistant: Hi good"
    with client(reward, use="mean") as http:
        for given in (text, [text, text]):
            plain = {"model": "m", "input": given, "use_activation": False}
            reply = http.post("/classify", json=plain).json()
            squashed = http.post("/classify", json={"model": "m", "input": given}).json()
            assert reply["data"][-1]["probs"][-1] == pytest.approx(value, abs=1e-9)
            assert squashed["data"][0]["probs"][0] == pytest.approx(1 / (1 + math.exp(-value)))
        for prompt in ("Hello", [{"role": "user", "content": "Hello"}]):
            slime = {"prompt": prompt, "response": "Hi good", "label": "x"}
            assert http.post("/slime", json=slime).json() == pytest.approx(value, abs=1e-9)


ONE_NUMBER = {
    "/openrlhf": {"query": ["q good", "q silent"], "prompts": ["q ", "q "]},
    "/classify": {"input": ["\n\nHuman: q\n\nAssistant: silent"], "use_activation": False},
    "/slime": {"prompt": "q", "response": "silent"},
}


def test_unscored_is_null_or_refused_and_never_silently_a_number(moody: Moody) -> None:
    with client(moody, about={"reward": {"limit": math.inf}}) as http:
        asked = {"prompts": ["q", "q"], "responses": ["good", "silent"]}
        good, silent = http.post("/score", json=asked).json()["rows"]
        assert good["outcome"] == "scored" and silent["outcome"] == "unscored"
        assert silent["reason"] == "it is silent"
        assert good["rater_interval"] == [pytest.approx(good["mean"] - 1.0), None]
        assert {silent[n] for n in ("mean", "std", "lower", "novelty", "rater_interval")} == {None}
        for path, body in ONE_NUMBER.items():
            reply = http.post(path, json=body)
            assert reply.status_code == 422 and "it is silent" in reply.json()["detail"]
        health, api = http.get("/health").json(), http.get("/openapi.json").json()
    assert health["ready"] is True and health["unscored"] == 4
    assert health["reward"] == {"limit": None}
    assert {"/score", "/openrlhf", "/classify", "/slime", "/health"} == api["paths"].keys()
    with client(moody, unscored=-7.5) as http:
        replies = {path: http.post(path, json=body).json() for path, body in ONE_NUMBER.items()}
    assert replies["/slime"] == -7.5 and replies["/classify"]["data"][0]["probs"] == [-7.5]
    assert replies["/openrlhf"]["rewards"][1] == -7.5 != replies["/openrlhf"]["rewards"][0]
    assert replies["/openrlhf"]["extra_logs"] == {"unscored": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/score", {"prompts": ["a"], "responses": []}, "as long as"),
        ("/score", {"prompts": [[]], "responses": ["a"]}, "`prompt`"),
        ("/openrlhf", {"query": ["xyz"], "prompts": ["a"]}, "must begin with its prompt"),
        ("/classify", {"input": "good"}, "Human"),
        ("/classify", {}, "body.input: Field required"),
        ("/slime", {"prompt": "<|im_start|>user\nq", "response": "a"}, "template's marks"),
    ],
)
def test_a_refusal_says_what_must_hold(reward: Scorer, path: str, body: Any, says: str) -> None:
    with client(reward) as http:
        reply = http.post(path, json=body)
    assert reply.status_code == 422 and says in reply.json()["detail"]
    assert "\n" not in reply.json()["detail"]


def test_limits(reward: Scorer) -> None:
    with client(reward, body_bytes=2_000, items=4, chars=100) as http:
        many = http.post("/score", json={"prompts": ["a"] * 5, "responses": ["b"] * 5})
        long = http.post("/score", json={"prompts": ["a"], "responses": ["b" * 101]})
        turns = [{"role": "user", "content": "a" * 40}] * 3
        talk = http.post("/slime", json={"prompt": turns, "response": "b"})
        large = http.post("/score", json={"prompts": ["a" * 3_000], "responses": ["b"]})
        fits = http.post("/score", json={"prompts": ["a"] * 4, "responses": ["b"] * 4})
    assert [r.status_code for r in (many, long, talk, large, fits)] == [413] * 4 + [200]


def test_a_token_is_asked_for(reward: Scorer) -> None:
    body, wrong = {"prompt": "q", "response": "a"}, {"Authorization": "Bearer wrong"}
    with client(reward, token="sesame") as http:
        for headers in ({}, wrong, {"Authorization": b"Bearer sesam\xe9"}):
            for path in ("/score", "/openrlhf", "/classify", "/slime"):
                sent = body if path == "/slime" else {"prompts": [], "responses": [], "query": []}
                assert http.post(path, json=sent, headers=headers).status_code == 401
            assert http.get("/health", headers=headers).status_code == 401
        assert http.post("/slime?token=sesame", json=body).status_code == 200
        bearer = {"Authorization": "Bearer sesame"}
        assert http.post("/slime", json=body, headers=bearer).status_code == 200


def test_without_a_token_only_loopback_names_are_served(reward: Scorer) -> None:
    hosts = ("127.0.0.1:8700", "[::1]:8700", "localhost", "evil.example", "")
    with client(reward) as http:
        codes = [http.get("/health", headers={"Host": host}).status_code for host in hosts]
    assert codes == [200, 200, 200, 400, 400]


TEMPLATES = {
    "its own": None,
    "ChatML with a standing system turn": (
        "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + "
        "'<|im_end|>\n' }}{%- else %}{{- '<|im_start|>system\nYou are kind.<|im_end|>\n' }}"
        "{%- endif %}{%- for m in messages %}{%- if m.role != 'system' %}{{- '<|im_start|>' + "
        "m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
    ),
    "no system turn, another name for the assistant": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == "
        "'assistant' else m['role']) + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
    ),
}


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk.load(trunk_path())


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("turns", [1, 3])
def test_rendered_texts_are_cut_where_the_template_cuts(
    trunk: Trunk, name: str, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = trunk.codec.tokenizer
    if TEMPLATES[name] is not None:
        monkeypatch.setattr(tokenizer, "chat_template", TEMPLATES[name])
    words = ["start 7 , + 5", "7 + 5 = 12 ; answer 12", "start 8"][:turns]
    roles = ["user", "assistant", "user"]
    messages = [Message(role, text) for role, text in zip(roles, words, strict=False)]
    plain = [{"role": m.role, "content": m.content} for m in messages]
    answered = [*plain, {"role": "assistant", "content": "answer 8 sure"}]
    asked = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(answered, tokenize=False)
    splitter, prompt = Splitter(trunk.codec), Prompt(messages=tuple(messages))
    for text in (whole, whole.removeprefix(tokenizer.bos_token), whole.rstrip()):
        assert splitter.whole(text) == (prompt, "answer 8 sure")
    assert splitter.prompt(asked) == prompt
    ended = asked + "answer 8 sure" + tokenizer.eos_token
    assert splitter.after(ended, asked) == (prompt, "answer 8 sure")
    for bad in (whole.replace("user", "usher"), "plain words", "<|im_start|>user\nhello"):
        with pytest.raises(InputError):
            splitter.whole(bad)


def test_a_text_of_nothing_but_marks_is_refused_at_once(trunk: Trunk) -> None:
    splitter = Splitter(trunk.codec)
    rendered = "<bos> <user> " + "a <assistant> b <end> <user> " * 200_000
    for text in (rendered, "\n\nHuman:" * 500_000):
        with pytest.raises(InputError):
            splitter.whole(text)


def test_the_embedded_trunk_scores_rendered_and_plain_alike(trunk: Trunk) -> None:
    """As OpenRLHF, verl and slime would send it, against scoring directly."""
    scorer, good = sums_reward(trunk).on(trunk), "7 + 5 = 12 ; answer 12 sure"
    value = float(scorer.score(["start 7 , + 5"], [good]).mean[0])
    asked = "<bos> <user> start 7 , + 5 <assistant>"
    with client(scorer, use="mean", splitter=Splitter(trunk.codec)) as http:
        openrlhf = {"query": [f"{asked} {good} <end>"], "prompts": [asked], "labels": ["12"]}
        verl = {"input": f"{asked} {good} <end>"[6:], "use_activation": False}
        slime = {"prompt": asked, "response": good, "label": "12"}
        found = [
            http.post("/openrlhf", json=openrlhf).json()["rewards"][0],
            http.post("/classify", json=verl).json()["data"][-1]["probs"][-1],
            http.post("/slime", json=slime).json(),
            http.post("/slime", json={**slime, "prompt": "start 7 , + 5"}).json(),
        ]
    assert found == pytest.approx([value] * 4, abs=1e-4)
