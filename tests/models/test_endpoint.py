"""An endpoint that fails in every way costs verdicts nothing but themselves."""

from __future__ import annotations

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trueline.errors import InputError, SetupError
from trueline.models import endpoint as endpoints
from trueline.models.endpoint import Endpoint, read_reply
from trueline.oversight.debate import Debate
from trueline.oversight.direct import Direct
from trueline.oversight.text_helpers import TextDebater, TextJudge
from trueline.oversight.verdicts import read_verdict
from trueline.protocols import ChatModel
from trueline.records import Case, Message, Preference, Prompt, Response
from trueline.rng import stream
from trueline.testing import FAULTS, HOSTILE, FakeEndpoint

KEY = "sk-very-secret-0123456789"


def shout(turns):
    return turns[-1]["content"].upper()


def dialogues(num):
    return [[Message("user", f"word {i}")] for i in range(num)]


def endpoint(server, **settings):
    quick = {"timeout_s": 20.0, "retries": 1, "model": "m"}
    return Endpoint(url=server.url, **{**quick, **settings})


def said(server, num=3, **settings):
    return endpoint(server, **settings).say(dialogues(num), rng=np.random.default_rng(0))


PROBLEMS = {
    **dict.fromkeys(("stall", "drip"), "no answer in time"),
    "429": "HTTP 429",
    "500": "HTTP 500",
    "dropped": "connection broke",
    "cut text": "cut off",
    "cut json": "not JSON",
    **dict.fromkeys(("no choices", "html"), "no known form"),
    "not text": "no text",
}


@pytest.mark.parametrize("fault", PROBLEMS)
def test_every_fault_is_a_problem_and_ends(fault):
    start = time.monotonic()
    with FakeEndpoint(shout, faults=[fault], share=1.0) as server:
        replies = said(server, timeout_s=0.3 if fault in ("stall", "drip") else 10)
    assert time.monotonic() - start < 10
    for i, reply in enumerate(replies):
        assert PROBLEMS[fault] in reply.problem
        assert reply.text == (f"WORD {i}"[:3] if fault == "cut text" else "")
    # What stalls takes its whole time before a second try.
    assert len(server.log) == (3 if fault in ("cut text", "drip", "stall") else 6)
    assert set(FAULTS) == {*PROBLEMS, "hostile"}


def test_retry_after_is_honoured_and_nobody_waits_for_ever():
    with FakeEndpoint(shout, faults=["429"], share=1.0) as server:
        for after, least in (("0.9", 0.9), ("3600", 0)):
            server.retry_after, start = after, time.monotonic()
            assert said(server, 1, timeout_s=5)[0].problem == "HTTP 429: busy"
            assert least <= time.monotonic() - start < 4


def test_replies_keep_the_order_and_requests_at_once_their_number():
    class Crowd(FakeEndpoint):
        now = most = 0

        def serve(self, path, request):
            self.now += 1
            self.most = max(self.most, self.now)
            time.sleep(0.02)
            self.now -= 1
            return super().serve(path, request)

    with Crowd(shout) as server:
        model = endpoint(server, concurrency=3)
        replies = model.say(dialogues(24), rng=np.random.default_rng(0))
    assert [reply.text for reply in replies] == [f"WORD {i}" for i in range(24)]
    assert all(reply.num_tokens == 2 and reply.problem is None for reply in replies)
    assert 1 <= server.most <= 3
    assert isinstance(model, ChatModel) and model.say([], rng=np.random.default_rng(0)) == []


def test_a_wrong_set_up_is_refused_at_once_in_one_line(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    with FakeEndpoint(shout, key="another") as server:
        for settings in ({"key": "THE_KEY"}, {}, {"url": server.url + "/v2"}):
            wrong = Endpoint(**{"url": server.url, "model": "m", **settings})
            with pytest.raises(SetupError, match="HTTP 40") as caught:
                wrong.say(dialogues(20), rng=np.random.default_rng(0))
            assert "\n" not in str(caught.value) and KEY not in str(caught.value)
        gone = server.url
    with pytest.raises(SetupError, match="no connection"):
        Endpoint(url=gone, model="m", retries=0).say(dialogues(1), rng=np.random.default_rng(0))
    for url in ("localhost:8000", "http://key@host/v1", "http://a b/"):
        with pytest.raises(SetupError, match="url"):
            Endpoint(url=url, model="m")
    with pytest.raises(InputError, match="above 0"):
        Endpoint(url=gone, model="m", timeout_s=0)
    with pytest.raises(SetupError, match="NO_SUCH_KEY"):
        Endpoint(url=gone, model="m", key="NO_SUCH_KEY")


def test_the_accounts_variables_of_the_sdk_are_not_sent(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    # The fake refuses with 401 whatever does not hold its key.
    with FakeEndpoint(shout, key=KEY) as server, pytest.raises(SetupError, match="HTTP 401"):
        said(server, 1)
    assert server.log == []


def test_a_key_that_ends_stops_the_run_and_is_nowhere(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    with FakeEndpoint(shout, key=KEY) as server:
        model = endpoint(server, key="THE_KEY")
        assert model.say(dialogues(1), rng=np.random.default_rng(0))[0].text == "WORD 0"
        server.key, server.refusal = "changed", f"wrong key {KEY}\n\x1b[2J"
        with pytest.raises(SetupError, match="HTTP 401: wrong key …") as caught:
            model.say(dialogues(1), rng=np.random.default_rng(0))
    assert "\x1b" not in str(caught.value)
    assert KEY not in repr(model) + str(caught.value) + repr(vars(model))


class Particular(FakeEndpoint):
    """Answers each request by `reply(request)`: a status and a table."""

    reply = None

    def serve(self, path, request):
        self.log.append((None, request))
        return None, *self.reply(request)


def particular(reply, num=3, **settings):
    """What an endpoint says to words 0, 1, ..., and the requests that the server got."""
    with Particular(shout) as server:
        server.reply = reply
        return said(server, num, concurrency=1, **settings), [log[1] for log in server.log]


def text(content, **more):
    return 200, {"choices": [{"message": {"content": content, **more}, "finish_reason": "stop"}]}


def refuses(wrong, words):
    """A server that refuses what is `wrong` in these words, and says yes otherwise."""
    error = {"message": words} if isinstance(words, str) else words
    return lambda asked: (400, {"error": error}) if wrong(asked) else text("yes")


VARIANTS = {
    "the limit": (
        refuses(lambda q: "max_tokens" in q, "Unrecognized argument: max_tokens"),
        lambda q: q["max_completion_tokens"] == 1024,
    ),
    "no temperature": (
        refuses(lambda q: "temperature" in q, "`temperature` and `top_p` cannot both be specified"),
        lambda q: "temperature" not in q,
    ),
    "temperature 1": (
        refuses(
            lambda q: q.get("temperature") != 1, "only temperature=1 is allowed for this model"
        ),
        lambda q: q["temperature"] == 1,
    ),
    "two at once": (
        refuses(lambda q: "seed" in q or "max_tokens" in q, "seed? max_completion_tokens!"),
        lambda q: "seed" not in q and "max_completion_tokens" in q,
    ),
    "another word for it": (
        refuses(
            lambda q: q["messages"][0]["role"] == "system",
            "'messages[0].role' does not support 'system' with this model",
        ),
        lambda q: len(q["messages"]) == 1,
    ),
    "the system turn": (
        refuses(
            lambda q: q["messages"][0]["role"] == "system",
            "Conversation roles must alternate user/assistant/user/assistant/...",
        ),
        lambda q: q["messages"] == [{"role": "user", "content": "be brief\n\nword 0"}],
    ),
}


@pytest.mark.parametrize("what", VARIANTS)
def test_the_variant_that_the_server_names_is_tried_and_remembered(what):
    reply, right = VARIANTS[what]
    with Particular(shout) as server, pytest.warns(UserWarning, match="is asked with"):
        server.reply, model = reply, endpoint(server, temperature=0.3)
        for most in (3, 1):
            server.log.clear()
            turns = [Message("system", "be brief"), Message("user", "word 0")]
            (answer,) = model.say([turns], rng=np.random.default_rng(0))
            assert answer.text == "yes" and right(server.log[-1][1]) and len(server.log) <= most


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "unknown parameter 'n'"),
        (400, "only seed=7 and temperature=2 will do"),
        (402, "Insufficient credits"),
        (403, "no access to model m"),
        (500, "Your credit balance is too low"),
        (422, [{"loc": ["body", "frequency"], "msg": "extra"}]),
        (429, {"message": "You exceeded your quota", "code": "insufficient_quota"}),
        (200, {"message": "Payment required", "code": 402}),
    ],
)
@pytest.mark.filterwarnings("ignore:.* is asked with")
def test_a_set_up_that_no_dialogue_can_mend_stops_after_the_first(status, error):
    def reply(asked):
        asked_for.append(asked["messages"][0]["content"])
        return status, {"detail": error} if isinstance(error, list) else {"error": error}

    asked_for = []
    with pytest.raises(SetupError, match=f"HTTP {status if status != 200 else 402}: .") as caught:
        particular(reply, retries=0)
    # The next one may be on its way when the first comes back.
    assert "word 2" not in asked_for and "\n" not in str(caught.value)


def test_once_it_has_answered_a_refusal_is_of_one_dialogue():
    def reply(asked):
        if asked["messages"][0]["content"] == "word 1":
            return 400, {"error": {"message": "I do not like it"}}
        return text("yes")

    replies, _ = particular(reply)
    assert [one.problem for one in replies] == [None, "HTTP 400: I do not like it", None]
    long = "This model's maximum context length is 10 tokens"
    replies, _ = particular(lambda _: (400, {"error": {"message": long}}), num=2)
    assert [one.problem for one in replies] == [f"HTTP 400: {long}"] * 2


def test_what_an_answer_plainly_says_is_read_in_its_forms():
    parts = [{"type": "thinking", "thinking": "B?"}, {"type": "text", "text": "A"}]
    parts += [{"type": "output_text", "text": "!"}, {"type": "image_url"}, None]
    once = iter([(200, {"error": {"message": "busy behind", "code": 429}}), text("A!")])
    for reply in (
        lambda _: text(parts),
        lambda _: text("A!", reasoning_content="B?"),
        lambda _: (200, {"choices": [{"text": "A!"}]}),
        lambda _: next(once),
    ):
        assert particular(reply, num=1)[0][0].text == "A!"
    for reply, problem in (
        (text(None, reasoning_content="B 90%"), "no text beside reasoning_content"),
        (text([], refusal="no"), "no text beside refusal"),
        ((200, {"error": "overloaded", "choices": []}), "HTTP 200: overloaded"),
        ((200, {"object": "error", "message": "busy", "code": 503}), "HTTP 503: busy"),
    ):
        ((one,), _) = particular(lambda _, r=reply: r, num=1, retries=0)
        assert (one.text, one.problem) == ("", problem)


NAMES = ["choices", "message", "content", "finish_reason", "usage", "completion_tokens"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner),
)


@given(VALUES)
@example({"choices": [{"message": {"content": "a"}, "finish_reason": [[]]}]})
@example({"choices": [{"message": {"content": "a"}}], "usage": {"completion_tokens": 10**5000}})
@example({"choices": [{"message": {"content": "half \ud800"}}], "usage": {"completion_tokens": -4}})
def test_no_answer_breaks_the_reading(table):
    endpoints._one_line(table, hide="x").encode()
    try:
        reply = read_reply(table)
    except ValueError:
        return
    assert reply.text.encode().strip() and 0 <= reply.num_tokens <= 10**6


def test_an_interrupt_ends_the_wait_and_the_requests():
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with FakeEndpoint(shout, faults=["stall"], share=1.0) as server:
            model, start = endpoint(server, timeout_s=30), time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                model.say(dialogues(3), rng=np.random.default_rng(0))
            assert time.monotonic() - start < 5
    finally:
        signal.signal(signal.SIGALRM, before)


# The acceptance line: no crash, no verdict lost, no failure turned into a score.


def plays(turns):
    """A model that judges rightly (4 is better) and speaks in the forms asked for."""
    asked = turns[-1]["content"]
    if code := re.search("VERDICT ([0-9a-f]{12})", asked):
        a, b = (re.search(rf"answer {x} ===\n(.*?)\n===", asked, re.S)[1] for x in "AB")
        assert ("is 4" in a) != ("is 4" in b)
        return f"I worked it out.\nVERDICT {code[1]}: {'A' if 'is 4' in a else 'B'} 90%"
    code = re.search("NO FLAW ([0-9a-f]{12})", asked)[1]
    return f"It is 4.\nFLAW {code}: wrong sum | 1 | 2 + 2 is 4"


CASES = [
    Case(
        first=Response(prompt=Prompt.of(f"case {i}: 2 + 2"), text="it is 4"),
        second=Response(prompt=Prompt.of(f"case {i}: 2 + 2"), text=f"it is 5. {HOSTILE}"),
    )
    for i in range(40)
]


@pytest.mark.parametrize(
    ("protocol", "calls"), [(Direct(), 1), (Debate(rounds=1), 3)], ids=["direct", "debate"]
)
def test_a_server_with_every_fault_crashes_nothing_and_scores_nothing(protocol, calls):
    with FakeEndpoint(plays, share=0.6, seed=1) as server:
        model = endpoint(server, retries=1, timeout_s=0.8, concurrency=16)

        def act(i):
            debater, judge, rng = TextDebater(model), TextJudge(model), stream(0, "case", i)
            return protocol.judge(CASES[i], helper=debater, judge=judge, rng=rng)

        with ThreadPoolExecutor(16) as pool:
            verdicts = list(pool.map(act, range(len(CASES))))
    assert len({fault for fault, _ in server.log}) >= 9
    decided, undecided = (
        [v for v in verdicts if (v.preference is Preference.UNDECIDED) == no] for no in (0, 1)
    )
    assert len(verdicts) == 40 and len(decided) >= 8 and len(undecided) >= 8
    sound = {text for fault, text in server.log if fault is None}
    for v in decided:
        code = re.search("VERDICT ([0-9a-f]{12})", v.text)[1]
        assert v.text in sound and read_verdict(v.text, code=code)[2] is None
        assert v.preference is Preference.FIRST and v.belief == pytest.approx(0.9)
    assert all(v.reason and v.belief is None for v in undecided)
    assert all(v.cost.calls == calls for v in verdicts)
    kept = {re.sub(" [0-9a-f]{12}", "", text) for text in sound}
    for critique in (c for v in verdicts for c in v.critiques):
        assert critique.problem if critique.flaws is None else critique.text in kept
