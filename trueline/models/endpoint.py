"""A model behind a server that speaks the OpenAI chat protocol, as a `ChatModel`.

The `openai` SDK connects, tries again (no connection, time-outs, 408, 409, 429, 5xx; by Retry-After
up to two minutes) and waits between. An answer of no use is asked for again as often. All tries of
a request together end after `timeout_s` for each. A dialogue that still has no answer gets a
`Reply` with a `problem`; one cut off or filtered keeps its text beside it. A wrong set-up is a
`SetupError`: 401, 402 and a spent quota whenever they come; nobody there, a redirect, 400, 403, 404
and 422 until the endpoint has answered once, for later they are about one dialogue. Where the
server's words name a field that it wants otherwise (`_VARIANTS`), the request is made again so, all
later ones are, and a warning says it.

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
import warnings
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
_BESIDE = ("reasoning_content", "reasoning", "refusal", "tool_calls")
_WRONG, _WRONG_AT_FIRST = (401, 402), (400, 403, 404, 422)
_NO_CREDIT = re.compile(r"insufficient.(?:quota|balance|credit|funds)|credit balance|out of credit")
_ONE_DIALOGUE = re.compile(
    r"context.?length|too (?:long|large)|content.?(?:filter|management|policy)"
)
_SYSTEM = r"system\W{0,3}(?:role|message|prompt|instruction)|roles? must alternate|developer instr"
_SYSTEM += r"|\broles?\b.{0,60}\bsystem\b"
_LIMIT = r"max_completion_tokens|(?:un\w+|not (?:support|permit)\w+)[^.]{0,60}\bmax_tokens"
_LIMIT += r"|\bmax_tokens\b.{0,60}(?:unsupported|unknown|not (?:support|permit)|deprecated)"
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
    _taken: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """The variants of a request that the server asked for."""

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
            return self._refused(error.status_code, error.body)
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.ConnectError):
                return self._failed("no connection", wrong=not self._answered.is_set())
            return Reply("", problem="the connection broke")

    async def _read(self, path: str, table: Any, read: Callable[[Any], Any]) -> Any:
        """Return what is read of the first answer of use."""
        problem = ""
        for i in range(self.retries + 1):
            try:
                answer = await self._send(path, table)
                error = isinstance(answer, dict) and not answer.get("choices")
                if error and {"error", "message", "detail"} & answer.keys():
                    # Some gateways hand on an error of the server behind them as if all were well.
                    problem = self._error_within(answer.get("error") or answer)
                    await asyncio.sleep(min(0.25 * 2**i, 4))
                    continue
                self._answered.set()
                return read(answer)
            except (json.JSONDecodeError, UnicodeError, RecursionError):
                problem = "an answer that is not JSON"
            except ValueError as error:
                problem = str(error)
        return Reply("", problem=problem)

    async def _send(self, path: str, table: dict[str, Any]) -> Any:
        """Return the server's answer, in the variant that it takes."""
        import openai

        # The account's variables of the environment are for OpenAI, not for this server.
        hidden = ["OpenAI-Organization", "OpenAI-Project", *([] if self.key else ["Authorization"])]
        options: Any = {"headers": {name: openai.Omit() for name in hidden}}
        while True:
            sent = self._varied(table)
            try:
                return await self._client.post(
                    f"/{path}", body=sent, cast_to=object, options=options
                )
            except openai.APIStatusError as error:
                if error.status_code not in (400, 422) or not self._learn(table, sent, error.body):
                    raise

    def _varied(self, table: dict[str, Any]) -> dict[str, Any]:
        for name, (_, change) in _VARIANTS.items():
            table = change(table) if name in self._taken and "messages" in table else table
        return table

    def _learn(self, table: dict[str, Any], sent: dict[str, Any], body: object) -> bool:
        """Take up the next variant that the server's words ask for; return whether there is one."""
        for name, (words, _) in _VARIANTS.items():
            if self._varied(table) == sent and re.search(words, str(body).lower()):
                self._taken.add(name)
        if self._varied(table) == sent:
            return False
        warnings.warn(f"{self.url} is asked {', '.join(sorted(self._taken))}", stacklevel=2)
        return True

    def _error_within(self, error: object) -> str:
        code = error.get("code") if isinstance(error, dict) else None
        status = int(str(code)) if re.fullmatch("[45][0-9]{2}", str(code)) else 200
        return self._refused(status, error).problem or ""

    def _refused(self, status: int, body: object) -> Reply:
        """Return what the server says; raise it where the next dialogue would fare no better."""
        said = _one_line(body, hide=self._key())
        wrong = status in _WRONG or bool(_NO_CREDIT.search(str(body).lower()))
        if not wrong and (300 <= status < 400 or status in _WRONG_AT_FIRST):
            wrong = not (self._answered.is_set() or _ONE_DIALOGUE.search(said.lower()))
        return self._failed(f"HTTP {status}{said}", wrong=wrong)

    def _failed(self, problem: str, *, wrong: bool) -> Reply:
        """Return the problem; raise it where it is a wrong set-up."""
        if wrong:
            do = "check the url (it usually ends in /v1), the model's name, the key and the account"
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
            base_url=self.url.removesuffix("/").removesuffix("/chat/completions"),
            api_key=self._key() or "none",
            timeout=self.timeout_s,
            max_retries=self.retries,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )


def read_reply(answer: Any) -> Reply:
    """Return the text of a chat completion; `ValueError` says why there is none."""
    try:
        choice = answer["choices"][0]
        message = choice["message"] if "message" in choice else {"content": choice["text"]}
        text, finish = _text_of(message["content"]), choice.get("finish_reason")
        usage = answer.get("usage")
    except (LookupError, TypeError, AttributeError):
        raise ValueError("an answer of no known form") from None
    problem = _UNFINISHED.get(finish) if isinstance(finish, str) else None
    if not text.strip():
        raise ValueError(
            problem or " beside ".join(["no text", *(x for x in _BESIDE if message.get(x))])
        )
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if type(count) is not int or not 0 <= count <= _MOST_TOKENS:
        count = len(text) // 4 + 1
    return Reply(text, num_tokens=count, problem=problem)


def _text_of(content: object) -> str:
    """Return a message's text, which may come in parts; what it thought is no part of it."""
    parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    typed = [p for p in parts if isinstance(p, dict) and p.get("type") in ("text", "output_text")]
    return _storable("".join(p["text"] for p in typed if isinstance(p.get("text"), str)))


def _without(table: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != name}


def _renamed(table: dict[str, Any]) -> dict[str, Any]:
    limit = {"max_completion_tokens": table["max_tokens"]} if "max_tokens" in table else {}
    return _without(table, "max_tokens") | limit


def _folded(table: dict[str, Any]) -> dict[str, Any]:
    """Return the request with its system turn at the head of the user's."""
    system, *turns = table["messages"]
    if system["role"] != "system" or not turns:
        return table
    first = {**turns[0], "content": f"{system['content']}\n\n{turns[0]['content']}"}
    return {**table, "messages": [first, *turns[1:]]}


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
    message = (body.get("message") or body.get("detail")) if isinstance(body, dict) else body
    message = json.dumps(message) if isinstance(message, list) else message
    if not isinstance(message, str):
        return ""
    line = "".join(c for c in " ".join(_storable(message).split()) if c.isprintable())
    return ": " + (line.replace(hide, "…") if hide else line)[:160]


_VARIANTS: Mapping[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "with max_completion_tokens": (_LIMIT, _renamed),
    "without temperature": ("temperature", lambda table: _without(table, "temperature")),
    "with temperature 1": ("temperature", lambda table: {**table, "temperature": 1}),
    "without seed": (r"\bseed\b", lambda table: _without(table, "seed")),
    "with the system turn in the user's": (_SYSTEM, _folded),
}
"""How a request may be made otherwise, and the server's words that ask for it; tried in order."""
