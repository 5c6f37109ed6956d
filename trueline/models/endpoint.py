"""A model behind a server that speaks the OpenAI chat protocol, as a `ChatModel`.

The `openai` SDK connects, tries again (no connection, time-outs, 408, 409, 429, 5xx; by Retry-After
up to two minutes) and waits between; below it every attempt ends after `timeout_s` even where the
server sends a byte a second, and an answer that is too large, no JSON or of no use counts as one
that broke, so that it is asked for again too. A dialogue that still has no answer gets a `Reply`
with a `problem` and is not raised; one cut off or filtered keeps its text beside the problem. A
wrong set-up (nobody there, 401, 404, a redirect) is a `SetupError`, but only as long as the
endpoint has never answered: once it has, that too is a problem of the dialogue.

The key is read from the environment, and is in no record, message or repr; the SDK's own variables
(OPENAI_API_KEY and others) are not used. Each dialogue is sent a seed drawn from `rng`, which the
server may or may not honour. Requests run on one background thread for the whole process;
`concurrency` holds over all calls. Tokens that the server does not count are taken as a quarter of
the characters.

>>> Endpoint(url="http://localhost:8000/v1", model="small").timeout_s
60.0
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trueline.errors import InputError, SetupError
from trueline.records import Message, Reply

__all__ = ["Endpoint"]

_MOST_BYTES = 2**26
_MOST_CHAT_BYTES = 2**22
_MOST_TOKENS = 10**6
_UNFINISHED = {"length": "cut off at max_tokens", "content_filter": "filtered by the server"}
_WRONG_STATUS = (301, 302, 307, 308, 401, 404)
_LOCK = threading.Lock()
_CHECK: ContextVar[Callable[[Any], str | None] | None] = ContextVar("check", default=None)
"""What an attempt's answer is checked by: the SDK knows of no such thing."""


@dataclass
class _State:
    """The part of an endpoint that changes."""

    pid: int = 0
    client: Any = None
    room: Any = None
    answered: bool = False


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind `<url>/chat/completions`."""

    url: str
    """The base, which usually ends in /v1."""
    model: str
    key: str | None = None
    """Name of the environment variable that holds the API key."""
    timeout_s: float = 60.0
    """The most one attempt may take."""
    retries: int = 3
    concurrency: int = 8
    """Requests at once."""
    max_tokens: int = 1024
    temperature: float = 1.0
    _state: _State = field(default_factory=_State, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", self.url):
            raise SetupError(
                "an endpoint's url must be http(s)://host/…, without a name or key in it",
                got=repr(self.url.rpartition("@")[2].partition("?")[0]),
            )
        if not min(self.timeout_s, self.concurrency, self.max_tokens) > 0 or self.retries < 0:
            raise InputError("timeouts and numbers of an endpoint must be above 0")
        self._key()

    def say(
        self, dialogues: Sequence[Sequence[Message]], *, rng: np.random.Generator
    ) -> list[Reply]:
        """Return one reply a dialogue, in order; one that failed has a `problem`."""
        seeds = rng.integers(2**31, size=len(dialogues)).tolist()
        tables: list[dict[str, object]] = [
            {
                "model": self.model,
                "messages": [{"role": t.role, "content": _storable(t.content)} for t in turns],
                "max_tokens": self.max_tokens,
                "temperature": self.temperature,
                "seed": seed,
            }
            for turns, seed in zip(dialogues, seeds, strict=True)
        ]
        answers = self.post("chat/completions", tables, check=_useless)
        return [a if isinstance(a, Reply) else read_reply(a) for a in answers]

    def post(
        self,
        path: str,
        tables: Sequence[Mapping[str, object]],
        *,
        check: Callable[[Any], str | None] | None = None,
    ) -> list[Any]:
        """Return the JSON answer to each request, in order, or a `Reply` whose `problem` says why
        there is none.

        `check` says what is wrong with an answer that is to be asked for again; without one any
        answer does, JSON or not.
        """
        with _LOCK:
            loop = _loop(os.getpid())
        future = asyncio.run_coroutine_threadsafe(self._post_all(path, tables, check), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _post_all(self, path: str, tables: Sequence[Any], check: Any) -> list[Any]:
        state = self._state
        if state.pid != os.getpid():
            # A connection, like the thread that serves it, does not outlive a fork.
            state.client, state.pid = self._client(), os.getpid()
            state.room = asyncio.Semaphore(self.concurrency)
        _CHECK.set(check)
        tasks = [asyncio.ensure_future(self._post(path, table)) for table in tables]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _post(self, path: str, table: Mapping[str, object]) -> Any:
        import httpx2
        import openai

        state = self._state
        # The account's variables of the environment are for OpenAI, not for this server.
        hidden = ["OpenAI-Organization", "OpenAI-Project", *([] if self.key else ["Authorization"])]
        headers: Any = {name: openai.Omit() for name in hidden}
        try:
            async with state.room:
                answer = await state.client.post(
                    f"/{path}", body=table, cast_to=object, options={"headers": headers}
                )
        except openai.APITimeoutError:
            return Reply("", problem=f"no answer within {self.timeout_s:g} s")
        except openai.APIStatusError as error:
            message = _one_line(error.body, hide=self._key())
            wrong = error.status_code in _WRONG_STATUS
            return self._failed(f"HTTP {error.status_code}{message}", wrong=wrong)
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.DecodingError):
                return Reply("", problem=str(error.__cause__))
            wrong = isinstance(error.__cause__, httpx2.ConnectError)
            return self._failed("no connection" if wrong else "the connection broke", wrong=wrong)
        except (openai.OpenAIError, ValueError, RecursionError):
            return Reply("", problem="an answer that is not JSON")
        state.answered = True
        return answer

    def _failed(self, problem: str, *, wrong: bool) -> Reply:
        """Return the problem; raise it where it looks like a wrong set-up."""
        if wrong and not self._state.answered:
            raise SetupError(
                f"an endpoint must answer at {self.url}",
                got=problem,
                do="check the url (it usually ends in /v1), the model's name and the key",
            )
        return Reply("", problem=problem)

    def _key(self) -> str:
        """Return the API key, or nothing where none is wanted."""
        if self.key is None:
            return ""
        key = os.environ.get(self.key, "").strip()
        if not re.fullmatch(r"[!-~]+", key):
            raise SetupError(
                f"the environment variable {self.key} must hold the endpoint's key",
                got="none" if not key else "something else",
                do=f"export {self.key}=…",
            )
        return key

    def _client(self) -> Any:
        import openai

        return openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key() or "none",
            timeout=self.timeout_s,
            max_retries=self.retries,
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, transport=_transport(self.timeout_s)
            ),
        )


def read_reply(table: Any) -> Reply:
    """Return the text of a chat completion; an answer of another form is a problem."""
    try:
        choice = table["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
        usage = table.get("usage")
    except (LookupError, TypeError, AttributeError):
        return Reply("", problem="an answer of no known form")
    text = _storable(text) if isinstance(text, str) else ""
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if type(count) is not int or not 0 <= count <= _MOST_TOKENS:
        count = len(text) // 4 + 1
    problem = _UNFINISHED.get(finish) if isinstance(finish, str) else None
    if not text.strip():
        problem = problem or "no text"
    return Reply(text, num_tokens=count, problem=problem)


def _useless(answer: Any) -> str | None:
    """Return what is wrong with a chat completion that holds no text at all."""
    reply = read_reply(answer)
    return None if reply.text else reply.problem


def _transport(timeout_s: float) -> Any:
    """Return what carries single attempts: each ends in time, and is whole and of use or broken."""
    import httpx2

    class Whole(httpx2.AsyncHTTPTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            check = _CHECK.get()
            most = _MOST_CHAT_BYTES if check is _useless else _MOST_BYTES
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await super().handle_async_request(request)
                    data = await self.read(answer, most)
            except TimeoutError:
                raise httpx2.ReadTimeout("no whole answer in time") from None
            problem = None
            if answer.status_code == 200 and check is not None:
                try:
                    problem = check(json.loads(data))
                except (ValueError, RecursionError):
                    problem = "an answer that is not JSON"
            if problem is not None:
                raise httpx2.DecodingError(problem)
            # It is never unpacked: few bytes may stand for endless ones.
            answer.headers.pop("Content-Encoding", None)
            return httpx2.Response(answer.status_code, headers=answer.headers, content=data)

        async def read(self, answer: Any, most: int) -> bytes:
            data = bytearray()
            try:
                async for chunk in answer.stream:
                    data += chunk
                    if len(data) > most:
                        raise httpx2.DecodingError(f"an answer of more than {most} bytes")
            finally:
                await answer.aclose()
            return bytes(data)

    return Whole()


@functools.lru_cache(maxsize=1)
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    """Return the event loop on its thread; a forked process gets its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="trueline-endpoint", daemon=True).start()
    return loop


def _storable(text: str) -> str:
    """Return the text without lone surrogates, which JSON may hold and nothing can store."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _one_line(body: object, *, hide: str) -> str:
    """Return what the server says went wrong, on one short line without the key."""
    if not isinstance(body, dict):
        return ""
    # The SDK hands over the "error" part where there is one.
    named = (body.get(name) for name in ("message", "detail", "error_message", "error"))
    message = next((text for text in named if isinstance(text, str)), None)
    if message is None:
        return ""
    line = "".join(c for c in " ".join(_storable(message).split()) if c.isprintable())
    return ": " + (line.replace(hide, "…") if hide else line)[:160]
