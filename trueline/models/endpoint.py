"""A model behind a server that speaks the OpenAI chat protocol, as a `ChatModel`.

The `openai` SDK connects, retries (no connection, time-outs, 408, 409, 429, 5xx; by Retry-After up
to two minutes) and waits between. A dialogue that still has no answer gets a `Reply` with a
`problem` and is not raised; one cut off or filtered keeps its text beside the problem. A wrong
set-up (nobody there, 401, 404, a redirect) is a `SetupError`, but only as long as the endpoint has
never answered: once it has, that too is a problem of the dialogue.

The key is read from the environment, and is in no record, message or repr; the SDK's own variables
(OPENAI_API_KEY and others) are not used. Each dialogue is sent a seed drawn from `rng`, which the
server may or may not honour. Requests run on one background thread for the whole process;
`concurrency` holds over all calls.

Where the server does not count tokens, they are taken as a quarter of the characters.

>>> Endpoint(url="http://localhost:8000/v1", model="small").timeout_s
60.0
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from trueline.errors import InputError, SetupError
from trueline.records import Message, Reply

__all__ = ["Endpoint"]

_MOST_BYTES = 2**26
_MOST_TOKENS = 10**6
_PAUSE_S = 8.0
"""The SDK's longest pause between attempts, but for Retry-After."""
_UNFINISHED = {"length": "cut off at max_tokens", "content_filter": "filtered by the server"}
_WRONG_STATUS = (301, 302, 307, 308, 401, 404)
_LOCK = threading.Lock()

R = TypeVar("R")


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
        tables = [self._table(turns, seed) for turns, seed in zip(dialogues, seeds, strict=True)]
        answers = self.post("chat/completions", tables)
        return [a if isinstance(a, Reply) else read_reply(a) for a in answers]

    def post(self, path: str, tables: Sequence[Mapping[str, object]]) -> list[Any]:
        """Return the JSON answer to each request, in order, or a `Reply` whose `problem` says why
        there is none."""
        with _LOCK:
            loop = _loop(os.getpid())
        future = asyncio.run_coroutine_threadsafe(self._post_all(path, tables), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _post_all(self, path: str, tables: Sequence[Mapping[str, object]]) -> list[Any]:
        state = self._state
        if state.pid != os.getpid():
            # A connection, like the thread that serves it, does not outlive a fork.
            state.client, state.pid = self._client(), os.getpid()
            state.room = asyncio.Semaphore(self.concurrency)
        return await _all([self._post(path, table) for table in tables])

    async def _post(self, path: str, table: Mapping[str, object]) -> Any:
        import openai

        state = self._state
        # The SDK's own time-out starts anew with every byte that arrives.
        longest = (self.timeout_s + _PAUSE_S) * (self.retries + 1)
        try:
            async with state.room, asyncio.timeout(longest):
                answer = await state.client.post(
                    f"/{path}", body=table, cast_to=object, options={"headers": self._hidden()}
                )
        except (TimeoutError, openai.APITimeoutError):
            return Reply("", problem=f"no answer within {self.timeout_s:g} s")
        except openai.APIStatusError as error:
            message = _one_line(error.body, hide=self._key())
            problem = f"HTTP {error.status_code}{message}"
            return self._failed(problem, wrong=error.status_code in _WRONG_STATUS)
        except openai.APIConnectionError as error:
            wrong = type(error.__cause__).__name__ == "ConnectError"
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

    def _table(self, turns: Sequence[Message], seed: int) -> dict[str, object]:
        return {
            "model": self.model,
            "messages": [{"role": t.role, "content": _storable(t.content)} for t in turns],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": seed,
        }

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

    def _hidden(self) -> dict[str, Any]:
        """Return the headers that are not sent: the account's variables of the environment are for
        OpenAI, not for this server."""
        import openai

        names = ["OpenAI-Organization", "OpenAI-Project", *([] if self.key else ["Authorization"])]
        return {name: openai.Omit() for name in names}

    def _client(self) -> Any:
        import openai

        return openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key() or "none",
            timeout=self.timeout_s,
            max_retries=self.retries,
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, event_hooks={"response": [_bound]}
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


async def _bound(response: Any) -> None:
    """Refuse an answer of more than 64 MiB while it arrives, and never unpack one."""
    import httpx2

    class Bounded(httpx2.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def __aiter__(self) -> Any:
            num_bytes = 0
            async for chunk in self.stream:
                num_bytes += len(chunk)
                if num_bytes > _MOST_BYTES:
                    raise httpx2.ReadError(f"more than {_MOST_BYTES} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    response.headers.pop("Content-Encoding", None)
    response.stream = Bounded(response.stream)


async def _all(acts: Sequence[Coroutine[Any, Any, R]]) -> list[R]:
    """Run all at once; the first error ends the others."""
    tasks = [asyncio.ensure_future(act) for act in acts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


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
