"""Any server that speaks the OpenAI chat protocol, as a `ChatModel` whose failures are words.

    wait after try k = max(backoff_s * 2^k * u, Retry-After),   u ~ U[0.5, 1.5) drawn beforehand

A dialogue that fails (no answer in time, 429, 5xx, a broken or endless body, no text) is tried
again and then has a `problem`; one cut off or filtered keeps its text beside the problem. Nothing
of it is raised, and each try ends by `timeout_s` even where the server sends a byte a second. What
is wrong with the set-up (nobody there, 401, 404, a redirect) is a `SetupError`, but only as long as
the endpoint has never answered: once it has, that too is a problem of the dialogue.

The key is read from the environment when it is needed; it is in no record, message or repr. Each
dialogue is sent a seed drawn from `rng`, which the server may or may not honour. Requests run on
one background thread for the whole process; `concurrency` and `per_minute` hold over all calls.

Fails in counting where the server does not count: tokens are then taken as a quarter of the
characters, and what a failed try cost nobody knows (`spent.failures` says how many there were).

>>> Endpoint(url="http://localhost:8000/v1", model="small").spent.requests
0
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from trueline.errors import InputError, SetupError
from trueline.records import Message, Reply

__all__ = ["Endpoint", "Spent", "Try", "failed"]

_MOST_BYTES = 4 * 2**20
_MOST_TOKENS = 10**6
_AGAIN = {408, 409, 425, 429}
_UNFINISHED = {"length": "cut off at max_tokens", "content_filter": "filtered by the server"}
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What an endpoint has taken so far."""

    requests: int = 0
    failures: int = 0
    """Requests without a usable answer, whatever they cost."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    """Answers whose tokens the server did not count."""
    price: float | None = None
    """In the currency of the endpoint's `price`; None where that is not known."""


class Try(NamedTuple):
    """What came of one request."""

    reply: Reply
    again: bool = True
    """Whether another may do better."""
    wait_s: float = 0.0
    wrong: bool = False
    """Whether it looks like a wrong set-up."""
    found: Any = None
    """What was read of an answer that is not a text."""


class _Call(NamedTuple):
    """Where requests go, how their answers are read (None: not at all), how long those may be."""

    path: str
    read: Callable[..., Try] | None
    most_bytes: int


@dataclass
class _State:
    """The part of an endpoint that changes, touched by the background thread only."""

    pid: int = 0
    client: Any = None
    room: Any = None
    next_at: float = 0.0
    answered: bool = False
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind `<url>/chat/completions`."""

    url: str
    """The base, which usually ends in /v1."""
    model: str
    key: str | None = None
    """Name of the environment variable that holds the API key."""
    timeout_s: float = 60.0
    """The most one try may take, and the most that is waited between two."""
    retries: int = 3
    backoff_s: float = 1.0
    concurrency: int = 8
    """Requests at once."""
    per_minute: float = math.inf
    """Requests started in a minute."""
    max_tokens: int = 1024
    temperature: float = 1.0
    price: tuple[float, float] | None = None
    """Of a million tokens of prompt, and of completion."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """More fields of the request; one that is None is left out ({"seed": None})."""
    _state: _State = field(default_factory=_State, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", self.url):
            raise SetupError(
                "an endpoint's url must be http(s)://host/…, without a name or key in it",
                got=repr(self.url.rpartition("@")[2].partition("?")[0]),
            )
        least = min(self.timeout_s, self.per_minute, self.concurrency, self.max_tokens)
        if not least > 0 or self.retries < 0:
            raise InputError("timeouts, rates and numbers of an endpoint must be above 0")
        self._headers()

    @property
    def spent(self) -> Spent:
        """Requests, tokens and price up to now."""
        spent = self._state.spent
        if self.price is None:
            return spent
        one, two = self.price
        return replace(
            spent, price=(spent.prompt_tokens * one + spent.completion_tokens * two) / 1e6
        )

    def say(
        self, dialogues: Sequence[Sequence[Message]], *, rng: np.random.Generator
    ) -> list[Reply]:
        """One reply a dialogue, in order; one that failed has a `problem`, and is not raised."""
        seeds = rng.integers(2**31, size=len(dialogues)).tolist()
        bodies = [self._body(turns, seed) for turns, seed in zip(dialogues, seeds, strict=True)]
        tries = self.post("chat/completions", bodies, self._read, rng=rng)
        return [tried.reply for tried in tries]

    def post(
        self,
        path: str,
        bodies: Sequence[bytes],
        read: Callable[..., Try] | None,
        *,
        rng: np.random.Generator,
        most_bytes: int = _MOST_BYTES,
    ) -> list[Try]:
        """What came of each request, in order, by `read(answer, sent=body)`; None: any answer."""
        jitters = rng.uniform(0.5, 1.5, size=(len(bodies), self.retries + 1)).tolist()
        with _LOCK:
            loop = _loop(os.getpid())
        all_of_it = self._say_all(_Call(path, read, most_bytes), bodies, jitters)
        future = asyncio.run_coroutine_threadsafe(all_of_it, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _body(self, turns: Sequence[Message], seed: int) -> bytes:
        table = {
            "model": self.model,
            "messages": [{"role": t.role, "content": _speakable(t.content)} for t in turns],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": seed,
            **self.extra,
        }
        return json.dumps({k: v for k, v in table.items() if v is not None}).encode()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.key is not None:
            key = os.environ.get(self.key, "").strip()
            if not re.fullmatch(r"[!-~]+", key):
                raise SetupError(
                    f"the environment variable {self.key} must hold the endpoint's key",
                    got="none" if not key else "something else",
                    do=f"export {self.key}=…",
                )
            headers["Authorization"] = f"Bearer {key}"
        return headers

    async def _say_all(
        self, call: _Call, bodies: Sequence[bytes], jitters: list[list[float]]
    ) -> list[Try]:
        import httpx

        state = self._state
        if state.pid != os.getpid():
            # A connection, like the thread that serves it, does not outlive a fork.
            limits = httpx.Limits(max_connections=self.concurrency)
            state.client = httpx.AsyncClient(timeout=None, limits=limits)
            state.room, state.pid = asyncio.Semaphore(self.concurrency), os.getpid()
        pairs = zip(bodies, jitters, strict=True)
        tasks = [asyncio.ensure_future(self._say(call, body, jitter)) for body, jitter in pairs]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _say(self, call: _Call, body: bytes, jitter: list[float]) -> Try:
        """One request, with its retries."""
        state, num_tokens = self._state, 0
        async with state.room:
            for k, factor in enumerate(jitter):
                now = time.monotonic()
                start = max(now, state.next_at)
                state.next_at = start + 60.0 / self.per_minute
                await asyncio.sleep(start - now)
                tried = await self._try(call, body)
                num_tokens += tried.reply.num_tokens
                useless = tried.found is None and not tried.reply.text
                self._book(requests=1, failures=int(useless))
                state.answered |= tried.found is not None
                if not tried.again or tried.wait_s > self.timeout_s or k == self.retries:
                    break
                backoff_s = min(self.backoff_s * 2**k * factor, self.timeout_s)
                await asyncio.sleep(max(backoff_s, tried.wait_s))
        if tried.wrong and not state.answered:
            raise SetupError(
                f"an endpoint must answer at {self.url}",
                got=tried.reply.problem,
                do="check the url (it usually ends in /v1), the model's name and the key",
            )
        return tried._replace(reply=replace(tried.reply, num_tokens=num_tokens))

    async def _try(self, call: _Call, body: bytes) -> Try:
        """One request, with its answer read or its failure named."""
        import httpx

        url, data = f"{self.url.rstrip('/')}/{call.path}", bytearray()
        headers = self._headers()
        request = self._state.client.stream("POST", url, content=body, headers=headers)
        try:
            async with asyncio.timeout(self.timeout_s), request as answer:
                async for chunk in answer.aiter_raw():
                    data += chunk
                    if len(data) > call.most_bytes:
                        return failed(f"more than {call.most_bytes} bytes")
        except TimeoutError:
            return failed(f"no answer within {self.timeout_s:g} s")
        except (httpx.ConnectError, httpx.InvalidURL):
            return failed("no connection")._replace(wrong=True)
        except (httpx.HTTPError, OSError) as error:
            return failed(f"the connection broke ({type(error).__name__})")
        status = int(answer.status_code)
        if status != 200:
            said = _message(bytes(data), hide=headers.get("Authorization", "")[7:])
            return failed(f"HTTP {status}{said}")._replace(
                again=status in _AGAIN or status >= 500,
                wait_s=_retry_after(answer.headers.get("Retry-After", "")),
                wrong=status in (401, 404) or 300 <= status < 400,
            )
        if call.read is None:
            return Try(Reply(""), again=False, found=True)
        if "json" not in answer.headers.get("Content-Type", ""):
            return failed("an answer that is not JSON")
        return call.read(bytes(data), sent=body)

    def _read(self, data: bytes, *, sent: bytes) -> Try:
        """The text of a well-formed answer, booked."""
        try:
            table = json.loads(data)
            choice = table["choices"][0]
            text, finish = choice["message"]["content"], choice.get("finish_reason")
            usage = table["usage"] if isinstance(table.get("usage"), dict) else {}
            counts = [usage.get(f"{part}_tokens") for part in ("prompt", "completion")]
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return failed("an answer of no known form")
        self._state.answered = True
        words, finish = (part if isinstance(part, str) else "" for part in (text, finish))
        asked, said = (n if _is_count(n) else None for n in counts)
        self._book(
            prompt_tokens=len(sent) // 4 if asked is None else asked,
            completion_tokens=(written := len(words) // 4 + 1 if said is None else said),
            estimated=int(asked is None or said is None),
        )
        problem = _UNFINISHED.get(finish) or (None if words.strip() else "no text")
        reply = Reply(_speakable(words), num_tokens=written, problem=problem)
        return Try(reply, again=problem == "no text")

    def _book(self, **more: int) -> None:
        spent = self._state.spent
        self._state.spent = replace(spent, **{k: getattr(spent, k) + n for k, n in more.items()})


@functools.lru_cache(maxsize=1)
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    """The event loop on its thread; a forked process gets its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="trueline-endpoint", daemon=True).start()
    return loop


def _is_count(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 <= number <= _MOST_TOKENS


def failed(problem: str) -> Try:
    """A request that may be tried again."""
    return Try(Reply("", problem=problem))


def _speakable(text: str) -> str:
    """Without lone surrogates, which JSON may hold and nothing can store."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _message(data: bytes, *, hide: str) -> str:
    """What the server says went wrong, on one short line without the key."""
    try:
        table = json.loads(data)
        error = table.get("error")
        named = (table.get(key) for key in ("detail", "message", "error_message"))
        said = error["message"] if error else next(filter(None, named), None)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""
    if not isinstance(said, str):
        return ""
    line = "".join(c for c in " ".join(_speakable(said).split()) if c.isprintable())
    return ": " + (line.replace(hide, "…") if hide else line)[:160]


def _retry_after(text: str) -> float:
    """Seconds the server asks to wait: a number, or a date; 0 if it asks for nothing readable."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
