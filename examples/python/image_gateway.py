"""Client of the image gateway. Python 3.10 or newer, standard library only.

    from image_gateway import Gateway, SupabaseUser

    user = SupabaseUser("http://127.0.0.1:8787", "demo@example.com", "demo")
    gateway = Gateway("http://127.0.0.1:8787", token=user.token)
    for picture in gateway.generate("a wedding photo by the sea").result().pictures:
        print(picture.save("pictures"))

Nothing that was paid is lost: the key of a task is made before it is sent. A stream that ends without a terminal event
is an error; its task is followed in the caller's log, and is sent again only if the log does not know it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import json
import random
import re
import secrets
import ssl
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

__all__ = ["Event", "Gateway", "GatewayError", "Picture", "Result", "Run", "SupabaseUser", "data_url"]

Json = dict[str, Any]
# Called with True after a 401.
TokenSource = Callable[[bool], str | None]

MAX_BODY_BYTES = 6 << 20
MAX_LINE_BYTES = 1 << 20
MAX_PICTURE_BYTES = 16 << 20
PIECE_BYTES = 1 << 16
# The slowest upload that is not taken for silence.
UPLOAD_BYTES_PER_S = 16_000
POLL_S = 1.0
MAX_POLL_S = 10.0
REQUEST_S = 15.0

# Chinese and English.
SENTENCES = {
    "network": ("网络连接失败", "Network failure"),
    "timeout": ("等待超时", "Timed out"),
    "protocol": ("无法识别服务器的响应", "Unknown answer"),
    "interrupted": ("连接中断，图片不完整", "Connection broken"),
    "payload_too_large": ("图片太大，请先缩小", "Pictures too large"),
}
# The codes of a call that may have reached the service.
LOST = ("network", "timeout", "interrupted")


class GatewayError(Exception):
    """Every failure of this module. Decide by `code`, show the text.

    `code` is one of the service (docs/api.md), or `network`, `timeout`, `protocol`, `interrupted`, or `http_<status>`
    for a refusal of the platform.
    """

    def __init__(self, code: str, message: str, status: int = 0, retryable: bool = False,
                 retry_after_s: float | None = None, paid: bool | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        # For `interrupted`: True if the log says that the task succeeded and its pictures are not kept.
        self.paid = paid
        self.task_id = ""
        # The pictures that were whole before the failure. They stay valid.
        self.pictures: list[Picture] = []


@dataclass
class Picture:
    """A whole picture. It has `content`, a `url`, or both."""

    task_id: str
    index: int
    media_type: str = ""
    content: bytes = b""
    url: str = ""
    width: int = 0
    height: int = 0
    sha256: str = ""

    def read(self) -> bytes:
        """The bytes, fetched from the link if they did not come in the stream. The link needs no token."""
        if not self.content:
            if not _is_safe_link(self.url):
                raise _fail("protocol", "en")
            self.content = _download(self.url)
        return self.content

    def save(self, folder: str | Path) -> Path:
        """Writes `<task id>-<index>.<type>` into a folder and returns its path."""
        content = self.read()
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", self.task_id).lstrip(".")[:100] or "task"
        path = Path(folder) / f"{name}-{self.index}.{_extension(content)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(content)
        part.replace(path)
        return path


@dataclass
class Event:
    """A typed event of docs/api.md, or `connecting`, `retry` or `resumed` of this client."""

    name: str
    data: Json = field(default_factory=dict)
    # Of `image.done`.
    picture: Picture | None = None


@dataclass
class Result:
    """How a run ended: at least one picture."""

    task_id: str
    pictures: list[Picture]
    # Slots without a picture: `index`, `code`, `message`.
    failed: list[Json] = field(default_factory=list)
    text: str = ""
    credits_remaining: int | None = None
    # True if the stream broke and the log had the rest.
    resumed: bool = False


class Run:
    """A generation. Nothing is sent before it is iterated or `result` is called. It can be iterated once."""

    def __init__(self, task_id: str, events: Iterator[Event], answer: _Answer) -> None:
        self.task_id = task_id
        self._events = events
        self._answer = answer

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def result(self) -> Result:
        """Drains the run. Raises its failure."""
        for _ in self._events:
            pass
        if self._answer.result is None:
            raise ValueError("the run ended early: its loop was left or has failed")
        return self._answer.result


class Gateway:
    """A client. `url` is the base of all routes; `urls` has the addresses that `sam deploy` prints, by route."""

    ROUTES: Mapping[str, str] = {
        "generate": "/api/generate-stream",
        "faceflip": "/api/v1/faceflip/generate/stream",
        "generations": "/api/generations",
    }

    def __init__(self, url: str = "http://127.0.0.1:8787", token: str | TokenSource | None = None, *,
                 urls: Mapping[str, str] | None = None, language: str = "zh", idle_timeout_s: float = 60,
                 total_timeout_s: float = 660, retries: int = 2) -> None:
        self._urls = {route: url.rstrip("/") + path for route, path in self.ROUTES.items()}
        self._urls.update(urls or {})
        self._token: TokenSource = token if callable(token) else lambda refresh: token
        self.language = language
        self.idle_timeout_s = idle_timeout_s
        self.total_timeout_s = total_timeout_s
        self.retries = retries

    def generate(self, prompt: str, images: Sequence[str | Path] = (), *, n: int = 1,
                 model: str | None = None, aspect_ratio: str | None = None,
                 task_id: str | None = None) -> Run:
        """`POST /api/generate-stream`. `images` are paths of files, data URLs or `https` links."""
        task_id = task_id or _new_task_id()
        members: Json = {"prompt": prompt, "n": n, "format": "events"}
        if images:
            members["image_inputs"] = [_to_input(image) for image in images]
        if model:
            members["model"] = model
        if aspect_ratio:
            members["aspect_ratio"] = aspect_ratio
        return self._run(task_id, "generate", members)

    def faceflip(self, urls: Sequence[str | Path], *, prompt: str | None = None,
                 task_id: str | None = None) -> Run:
        """`POST /api/v1/faceflip/generate/stream`. `urls` are `https` links, data URLs or paths of files."""
        task_id = task_id or _new_task_id()
        members: Json = {"urls": [_to_input(url) for url in urls], "task_id": task_id}
        if prompt:
            members["prompt"] = prompt
        return self._run(task_id, "faceflip", members)

    def resume(self, task_id: str) -> Run:
        """Follows a task that was sent earlier, by this program or another."""
        return self._run(task_id, None, {})

    def generations(self, limit: int = 20, cursor: str | None = None) -> Json:
        """A page of the caller's log."""
        query = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
        return self._log("GET", "?" + urllib.parse.urlencode(query))

    def generation(self, task_id: str) -> Json:
        """One task of the log."""
        return self._log("GET", "/" + urllib.parse.quote(task_id, safe=""))

    def cancel(self, task_id: str) -> Json:
        """Asks a running task to stop."""
        return self._log("DELETE", "/" + urllib.parse.quote(task_id, safe=""))

    def _run(self, task_id: str, route: str | None, members: Json) -> Run:
        answer = _Answer(task_id, self.language)
        return Run(task_id, self._events(task_id, route, members, answer), answer)

    def _events(self, task_id: str, route: str | None, members: Json, answer: _Answer) -> Iterator[Event]:
        try:
            yield from self._attempts(task_id, route, members, answer)
        except GatewayError as error:
            error.task_id = task_id
            error.pictures = answer.pictures()
            raise

    def _attempts(self, task_id: str, route: str | None, members: Json, answer: _Answer) -> Iterator[Event]:
        body = json.dumps(members, ensure_ascii=False).encode()
        if len(body) > MAX_BODY_BYTES:
            raise _fail("payload_too_large", self.language)
        deadline = time.monotonic() + self.total_timeout_s
        for attempt in range(1, self.retries + 2):
            lost: GatewayError | None = None
            is_known = route is None
            if route is not None:
                yield Event("connecting", {"attempt": attempt})
                try:
                    for event in self._post(route, task_id, body, deadline, answer):
                        is_known = True
                        yield event
                    return
                except GatewayError as error:
                    lost = error
            is_last = attempt > self.retries
            step = "ask" if lost is None else _judge(lost, is_known)
            if step == "throw" and lost:
                raise lost
            if step == "ask" or (is_last and lost and not lost.status):
                yield Event("resumed", {"task_id": task_id})
                must_end = is_known or (lost is not None and lost.status == 409)
                item = self._follow(task_id, must_end, POLL_S if lost else 0, deadline)
                if item is not None:
                    yield from answer.settle(item, lost)
                    return
            if lost is None:
                raise GatewayError("task_not_found", _sentence("protocol", self.language), 404)
            delay = lost.retry_after_s
            if delay is None:
                delay = min(8.0, 0.5 * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)
            if is_last or delay > 60 or time.monotonic() + delay > deadline:
                raise lost
            yield Event("retry", {"attempt": attempt + 1, "delay_s": delay, "code": lost.code})
            time.sleep(delay)
            answer.clear()

    def _post(self, route: str, task_id: str, body: bytes, deadline: float, answer: _Answer) -> Iterator[Event]:
        """Sends the POST and reads its answer up to the terminal event."""
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/problem+json"}
        if route != "faceflip":
            headers["Idempotency-Key"] = task_id

        def remaining() -> float:
            left = min(self.idle_timeout_s, deadline - time.monotonic())
            if left <= 0:
                raise _fail("timeout", self.language)
            return left

        head_s = min(remaining() + len(body) / UPLOAD_BYTES_PER_S, deadline - time.monotonic())
        with self._send("POST", self._urls[route], headers, body, head_s) as exchange:
            response = exchange.response
            if response.status != 200:
                raise exchange.refusal()
            if not (response.getheader("content-type") or "").startswith("text/event-stream"):
                raise _fail("protocol", self.language)
            waiting = b""
            data = b""
            while True:
                exchange.set_timeout(remaining())
                piece = exchange.read_some()
                if not piece:
                    raise _fail("interrupted", self.language)
                *lines, waiting = (waiting + piece).split(b"\n")
                if len(waiting) + len(data) > MAX_LINE_BYTES:
                    raise _fail("protocol", self.language)
                for line in lines:
                    line = line.rstrip(b"\r")
                    if line.startswith(b"data:"):
                        data += line[5:].strip()
                    elif not line and data:
                        yield from answer.read(data)
                        data = b""
                        if answer.result is not None:
                            return

    def _follow(self, task_id: str, must_end: bool, first_s: float, deadline: float) -> Json | None:
        """The record of the task once it has ended, None if there is none.

        If the service has answered for the task, the log is asked up to the deadline, whatever the network does.
        """
        failures = 0
        wait = first_s
        while True:
            time.sleep(max(0.0, min(wait, deadline - time.monotonic())))
            try:
                item = self.generation(task_id)
                if item.get("status") != "running":
                    return item
                failures = 0
            except GatewayError as error:
                if error.code == "task_not_found":
                    return None
                failures += 1
                if (not error.retryable and error.status < 500) or (not must_end and failures > self.retries):
                    raise
            if time.monotonic() >= deadline:
                raise _fail("timeout", self.language)
            wait = min(wait * 1.5 + POLL_S / 2, MAX_POLL_S)

    def _log(self, method: str, path: str) -> Json:
        with self._send(method, self._urls["generations"] + path, {}, None, REQUEST_S) as exchange:
            if exchange.response.status not in (200, 202):
                raise exchange.refusal()
            return _object(exchange.read_all(), self.language)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None,
              timeout_s: float) -> _Exchange:
        """Sends a request with the user's token. After a 401 the token is asked for once more."""
        refused: str | None = None
        exchange: _Exchange | None = None
        for refresh in (False, True):
            token = self._token(refresh)
            if exchange is not None:
                if not token or token == refused:
                    return exchange
                exchange.close()
            own = {"Authorization": f"Bearer {token}"} if token else {}
            all_headers = {"Accept-Language": self.language, **headers, **own}
            exchange = _Exchange(method, url, all_headers, body, timeout_s, self.language)
            if exchange.response.status != 401:
                break
            refused = token
        assert exchange is not None
        return exchange


class SupabaseUser:
    """A user of a Supabase project, signed in with a password at the first request. `token` is for `Gateway`."""

    def __init__(self, url: str, email: str, password: str, key: str = "local") -> None:
        self._address = url.rstrip("/") + "/auth/v1/token?grant_type="
        self._credentials = {"email": email, "password": password}
        self._key = key
        self._session: Json = {}
        self._fresh_until = 0.0

    def token(self, refresh: bool = False) -> str:
        """The access token; a fresh one if it has expired or if `refresh` is set."""
        if refresh or time.monotonic() > self._fresh_until:
            self._session = self._refreshed() or self._ask("password", self._credentials)
            self._fresh_until = time.monotonic() + float(self._session.get("expires_in", 0)) - 60
        return str(self._session["access_token"])

    def _refreshed(self) -> Json | None:
        if not self._session:
            return None
        try:
            return self._ask("refresh_token", {"refresh_token": self._session["refresh_token"]})
        except GatewayError as error:
            if error.status != 400:
                raise
            return None  # The session has ended: sign in again.

    def _ask(self, grant: str, members: Json) -> Json:
        headers = {"Content-Type": "application/json", "apikey": self._key}
        with _Exchange("POST", self._address + grant, headers, json.dumps(members).encode(), REQUEST_S, "en") as exchange:
            if exchange.response.status != 200:
                raise exchange.refusal()
            return _object(exchange.read_all(), "en")


def data_url(path: str | Path) -> str:
    """The bytes of a PNG, JPEG or WebP file as a data URL."""
    content = Path(path).read_bytes()
    kind = _extension(content).replace("jpg", "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


class _Answer:
    """The pictures of one answer."""

    def __init__(self, task_id: str, language: str) -> None:
        self._task_id = task_id
        self._language = language
        self.result: Result | None = None
        self.clear()

    def clear(self) -> None:
        self._open: dict[int, bytearray] = {}
        self._finals: dict[int, Picture] = {}
        self._drafts: dict[int, Picture] = {}
        self._text = ""

    def pictures(self) -> list[Picture]:
        return [picture for _, picture in sorted({**self._drafts, **self._finals}.items())]

    def read(self, payload: bytes) -> Iterator[Event]:
        envelope = _object(payload, self._language)
        name, data = envelope.get("event"), envelope.get("data")
        if not isinstance(name, str) or not isinstance(data, dict):
            raise self._protocol()
        try:
            picture = self._apply(name, data)
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as cause:
            raise self._protocol() from cause
        yield Event(name, data, picture)

    def _apply(self, name: str, data: Json) -> Picture | None:
        if name == "error":
            raise _from_problem(data, "upstream_error", self._language)
        if name == "text":
            self._text += data["text"]
        elif name == "image.start":
            self._open[int(data["index"])] = bytearray()
        elif name == "image.delta":
            arriving = self._open[int(data["index"])]
            arriving += base64.b64decode(data["b64"], validate=True)
            if len(arriving) > MAX_PICTURE_BYTES:
                raise self._protocol()
        elif name == "image.done":
            return self._whole(data)
        elif name == "image.stored":
            self._finals[int(data["index"])].url = data["url"]
        elif name == "done":
            self._finish(data)
        return None

    def _whole(self, data: Json) -> Picture:
        index = int(data["index"])
        content = bytes(self._open.pop(index, b""))
        picture = self._picture(data, index)
        if not picture.url:
            if hashlib.sha256(content).hexdigest() != data["sha256"]:
                raise self._protocol()
            picture.content = content
        (self._drafts if data.get("draft") else self._finals)[index] = picture
        return picture

    def _picture(self, data: Json, index: int) -> Picture:
        return Picture(self._task_id, index, media_type=data.get("media_type", ""), url=data.get("url", ""),
                       width=data.get("width", 0), height=data.get("height", 0), sha256=data.get("sha256", ""))

    def _finish(self, data: Json) -> None:
        """`images` has the final picture of each slot. The documented form of faceflip has `generated_images` alone."""
        final = []
        for position, entry in enumerate(data.get("images") or data.get("generated_images") or []):
            index = int(entry.get("index", position))
            known = [store[index] for store in (self._finals, self._drafts) if index in store]
            known = [picture for picture in known if picture.sha256 == entry.get("sha256", picture.sha256)]
            picture = known[0] if known else self._picture(entry, index)
            picture.url = entry.get("url", picture.url)
            if not picture.content and not picture.url:
                raise self._protocol()
            final.append(picture)
        if not final:
            raise _fail("no_image", self._language)
        self.result = Result(self._task_id, final, data.get("failed") or [], self._text, data.get("credits_remaining"))

    def settle(self, item: Json, lost: GatewayError | None) -> Iterator[Event]:
        """Makes the result of a task that has ended in the log. Pictures that are nowhere any more are in `failed`."""
        if item.get("status") == "failed":
            code = str(item.get("code", "upstream_error"))
            raise _fail(code, self._language, retryable=not re.search("reject|invalid|cancel", code))
        made = int(item.get("images", 0))
        # A kept picture that has expired has no link. The log lists ARK's links without their slots.
        kept = [entry for entry in item.get("pictures") or [] if entry.get("url")]
        links = [{"url": url, "index": index} for index, url in enumerate(item.get("urls") or [])]
        for entry in [*kept, *links]:
            index = int(entry["index"])
            if index in self._finals or (entry in links and len(self._finals) >= made):
                continue
            self._finals[index] = self._picture(entry, index)
            yield Event("image.done", entry, self._finals[index])
        if not self._finals:
            if lost is not None and lost.code == "task_already_completed":
                raise lost
            raise _fail("interrupted", self._language, paid=True)
        # Behind a draft the final picture may have been lost.
        pictures = [picture for _, picture in sorted(self._finals.items())]
        empty = [index for index in range(made) if index not in self._finals][:max(0, made - len(pictures))]
        message = _sentence("interrupted", self._language)
        failed = [{"index": index, "code": "interrupted", "message": message} for index in empty]
        self.result = Result(self._task_id, pictures, failed, self._text, resumed=True)

    def _protocol(self) -> GatewayError:
        return _fail("protocol", self._language)


class _Exchange:
    """A request whose response has begun. The environment's proxies are not used, and redirects are not followed."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float,
                 language: str) -> None:
        self._language = language
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=timeout_s, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        with _Network(language, self.close):
            self._connection.request(method, path, body, dict(headers))
            self._socket = self._connection.sock
            self.response = self._connection.getresponse()

    def __enter__(self) -> _Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def set_timeout(self, seconds: float) -> None:
        if self._socket is not None:
            self._socket.settimeout(seconds)

    def read_some(self) -> bytes:
        """The next bytes; none at the end, also if the connection broke off there."""
        with _Network(self._language):
            try:
                return self.response.read1(PIECE_BYTES)
            except http.client.IncompleteRead:
                return b""

    def read_all(self, most: int = MAX_PICTURE_BYTES) -> bytes:
        with _Network(self._language):
            content = self.response.read(most + 1)
        if len(content) > most:
            raise _fail("protocol", self._language)
        return content

    def refusal(self) -> GatewayError:
        """The problem that the body holds, also if the platform wrote it."""
        status = self.response.status
        try:
            problem = _object(self.read_all(MAX_LINE_BYTES), self._language)
        except GatewayError:
            problem = {}  # The platform's own refusals are not JSON.
        # A refusal of faceflip is an `error` event.
        code = {401: "token_invalid", 413: "payload_too_large", 429: "rate_limited"}.get(status, f"http_{status}")
        error = _from_problem(problem, code, self._language, retryable=status in (408, 429, 502, 503, 504))
        error.status = status
        if error.retry_after_s is None and (self.response.getheader("retry-after") or "").isdigit():
            error.retry_after_s = float(self.response.getheader("retry-after") or 0)
        return error


class _Network:
    """Turns the failures of a socket into `timeout` and `network`."""

    def __init__(self, language: str, close: Callable[[], None] = lambda: None) -> None:
        self._language = language
        self._close = close

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, cause: BaseException | None, _trace: object) -> None:
        if isinstance(cause, (OSError, http.client.HTTPException)):
            self._close()
            code = "timeout" if isinstance(cause, TimeoutError) else "network"
            raise _fail(code, self._language) from cause


def _judge(lost: GatewayError, has_events: bool) -> str:
    """What to do about a POST that was lost. It is sent again only if it cannot be paid twice."""
    if lost.code in ("task_in_progress", "task_already_completed") or lost.code.startswith("stream_"):
        return "ask"
    if has_events:
        return "ask" if lost.code in LOST or lost.code == "protocol" else "throw"
    # The upstream was not called: a limit, a busy service, or a refusal of the platform itself.
    is_unpaid = lost.status in (429, 503) or lost.code == "upstream_unreachable" or lost.code.startswith("http_")
    return "send" if lost.code in LOST or (lost.retryable and is_unpaid) else "throw"


def _from_problem(problem: Json, code: str, language: str, retryable: bool = False) -> GatewayError:
    texts = [problem.get(name) for name in ("error", "message")]
    message = next((text for text in texts if isinstance(text, str)), None)
    own = problem.get("code")
    code = own if isinstance(own, str) else code
    after = problem.get("retry_after_ms")
    return GatewayError(code, message or _sentence(code, language),
                        retryable=bool(problem.get("retryable", retryable)),
                        retry_after_s=after / 1000 if isinstance(after, (int, float)) else None)


def _fail(code: str, language: str, retryable: bool | None = None, paid: bool | None = None) -> GatewayError:
    if retryable is None:
        retryable = code in LOST and not paid
    return GatewayError(code, _sentence(code, language), retryable=retryable, paid=paid)


def _sentence(code: str, language: str) -> str:
    chinese, english = SENTENCES.get(code, (f"生成失败 ({code})", f"Generation failed ({code})"))
    return english if language == "en" else chinese


def _object(text: bytes, language: str) -> Json:
    try:
        value = json.loads(text)
    except ValueError as cause:
        raise _fail("protocol", language) from cause
    if not isinstance(value, dict):
        raise _fail("protocol", language)
    return value


def _new_task_id() -> str:
    return secrets.token_hex(16)


def _to_input(image: str | Path) -> str:
    text = str(image)
    return text if re.match("https?:|data:", text) else data_url(image)


def _extension(content: bytes) -> str:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    raise ValueError("not a PNG, JPEG or WebP picture")


def _is_safe_link(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost"))


def _download(url: str) -> bytes:
    with _Exchange("GET", url, {}, None, REQUEST_S, "en") as exchange:
        if exchange.response.status != 200:
            raise exchange.refusal()
        return exchange.read_all()
