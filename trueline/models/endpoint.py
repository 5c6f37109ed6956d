"""A model behind a server that speaks the OpenAI chat protocol, as a `ChatModel`.

The `openai` SDK connects, tries again (no connection, time-outs, 408, 409, 429, 5xx; by Retry-After
up to two minutes) and waits between. An answer of no use is asked for again as often. All tries of
a request together end after `timeout_s` for each. A dialogue that still has no answer gets a
`Reply` with a `problem`; one cut off or filtered keeps its text beside it. A wrong set-up (nobody
there, 401, 404, a redirect) is a `SetupError`, but only until the endpoint has answered once.

The key is read from the environment, and is in no record, message or repr; the SDK's own variables
(OPENAI_API_KEY and others) are not used. Each dialogue is sent a seed drawn from `rng`, which the
server may or may not honour. `concurrency` holds over all calls. Tokens that the server does not
count are taken as a quarter of the characters.

>>> Endpoint(url="http://localhost:8000/v1", model="small").timeout_s
60.0
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np

from trueline.errors import InputError, SetupError
from trueline.records import Message, Reply

__all__ = ["Endpoint", "read_reply"]

_MOST_TOKENS = 10**6
_UNFINISHED = {"length": "cut off at max_tokens", "content_filter": "filtered by the server"}
_LOCK = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind `<url>/chat/completions`."""

    url: str
    """The base, which usually ends in /v1."""
    model: str
    key: str | None = None
    """Name of the environment variable that holds the API key."""
    timeout_s: float = 60.0
    """The most one try may take."""
    retries: int = 3
    concurrency: int = 8
    """Requests at once."""
    max_tokens: int = 1024
    temperature: float = 1.0
    _answered: threading.Event = field(
        default_factory=threading.Event, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", self.url):
            must = "an endpoint's url must be http(s)://host/…, without a name or key in it"
            raise SetupError(must, got=repr(self.url.rpartition("@")[2].partition("?")[0]))
        if not min(self.timeout_s, self.concurrency, self.max_tokens) > 0 or self.retries < 0:
            raise InputError("timeouts and numbers of an endpoint must be above 0")
        self._key()

    def say(
        self, dialogues: Sequence[Sequence[Message]], *, rng: np.random.Generator
    ) -> list[Reply]:
        """Return one reply a dialogue, in order; one that failed has a `problem`."""
        seeds = rng.integers(2**31, size=len(dialogues)).tolist()
        tables = [
            {
                "model": self.model,
                "messages": [{"role": t.role, "content": _storable(t.content)} for t in turns],
                "max_tokens": self.max_tokens,
                "temperature": self.temperature,
                "seed": seed,
            }
            for turns, seed in zip(dialogues, seeds, strict=True)
        ]
        return self.post("chat/completions", tables, read_reply)

    def post(
        self, path: str, tables: Sequence[Mapping[str, Any]], read: Callable[[Any], Any]
    ) -> list[Any]:
        """Return what `read` makes of the JSON answer to each request, in order, or a `Reply` whose
        `problem` says why there is none.

        `read` raises `ValueError` where the request is to be made again.
        """
        with _LOCK:
            loop = _loop()
        future = asyncio.run_coroutine_threadsafe(self._post_all(path, tables, read), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _post_all(self, path: str, tables: Sequence[Any], read: Any) -> list[Any]:
        tasks = [asyncio.ensure_future(self._post(path, table, read)) for table in tables]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _post(self, path: str, table: Any, read: Callable[[Any], Any]) -> Any:
        import httpx2
        import openai

        try:
            async with self._room, asyncio.timeout(self.timeout_s * (self.retries + 1)):
                return await self._read(path, table, read)
        except (TimeoutError, openai.APITimeoutError):
            return Reply("", problem="no answer in time")
        except openai.APIStatusError as error:
            message = _one_line(error.body, hide=self._key())
            wrong = error.status_code < 400 or error.status_code in (401, 404)
            return self._failed(f"HTTP {error.status_code}{message}", wrong=wrong)
        except openai.APIConnectionError as error:
            wrong = isinstance(error.__cause__, httpx2.ConnectError)
            return self._failed("no connection" if wrong else "the connection broke", wrong=wrong)

    async def _read(self, path: str, table: Any, read: Callable[[Any], Any]) -> Any:
        """Return what is read of the first answer of use."""
        import openai

        # The account's variables of the environment are for OpenAI, not for this server.
        hidden = ["OpenAI-Organization", "OpenAI-Project", *([] if self.key else ["Authorization"])]
        options: Any = {"headers": {name: openai.Omit() for name in hidden}}
        problem = ""
        for _ in range(self.retries + 1):
            try:
                answer = await self._client.post(
                    f"/{path}", body=table, cast_to=object, options=options
                )
                self._answered.set()
                return read(answer)
            except (json.JSONDecodeError, UnicodeError, RecursionError):
                problem = "an answer that is not JSON"
            except ValueError as error:
                problem = str(error)
        return Reply("", problem=problem)

    def _failed(self, problem: str, *, wrong: bool) -> Reply:
        """Return the problem; raise it where it looks like a wrong set-up."""
        if wrong and not self._answered.is_set():
            do = "check the url (it usually ends in /v1), the model's name and the key"
            raise SetupError(f"an endpoint must answer at {self.url}", got=problem, do=do)
        return Reply("", problem=problem)

    def _key(self) -> str:
        """Return the API key, or nothing where none is wanted."""
        if self.key is None:
            return ""
        key = os.environ.get(self.key, "").strip()
        if not re.fullmatch(r"[!-~]+", key):
            must = f"the environment variable {self.key} must hold the endpoint's key"
            raise SetupError(must, got="something else" if key else "none")
        return key

    @cached_property
    def _room(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.concurrency)

    @cached_property
    def _client(self) -> Any:
        import openai

        return openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key() or "none",
            timeout=self.timeout_s,
            max_retries=self.retries,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )


def read_reply(answer: Any) -> Reply:
    """Return the text of a chat completion; `ValueError` says why there is none."""
    try:
        choice = answer["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
        usage = answer.get("usage")
    except (LookupError, TypeError, AttributeError):
        raise ValueError("an answer of no known form") from None
    problem = _UNFINISHED.get(finish) if isinstance(finish, str) else None
    text = _storable(text) if isinstance(text, str) else ""
    if not text.strip():
        raise ValueError(problem or "no text")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if type(count) is not int or not 0 <= count <= _MOST_TOKENS:
        count = len(text) // 4 + 1
    return Reply(text, num_tokens=count, problem=problem)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop on its thread."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="trueline-endpoint", daemon=True).start()
    return loop


def _storable(text: str) -> str:
    """Return the text without lone surrogates, which JSON may hold and nothing can store."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _one_line(body: object, *, hide: str) -> str:
    """Return what the server says went wrong, on one short line without the key."""
    # The SDK hands over the "error" part where there is one.
    message = (body.get("message") or body.get("detail")) if isinstance(body, dict) else None
    if not isinstance(message, str):
        return ""
    line = "".join(c for c in " ".join(_storable(message).split()) if c.isprintable())
    return ": " + (line.replace(hide, "…") if hide else line)[:160]
