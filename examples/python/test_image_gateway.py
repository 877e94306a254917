"""Tests of image_gateway.py against a service that breaks in every way: `python -m unittest test_image_gateway`."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable
from unittest import mock

import image_gateway
from image_gateway import Gateway, GatewayError, Picture, SupabaseUser

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100 + b"IEND\xaeB`\x82"
SHA256 = hashlib.sha256(PNG).hexdigest()

Handler = Callable[["Request"], None]


def event(name: str, **data: Any) -> bytes:
    text = json.dumps({"event": name, "data": data}, ensure_ascii=False)
    return f"id: 1\nevent: {name}\ndata: {text}\n\n".encode()


def stream(index: int = 0) -> list[bytes]:
    """The events of a whole stream."""
    pieces = [PNG[at:at + 12288] for at in range(0, len(PNG), 12288)]
    image = {"index": index, "media_type": "image/png", "bytes": len(PNG), "sha256": SHA256, "width": 8, "height": 8}
    return [
        b": " + b" " * 1024 + b"\n\n",
        event("start", task_id="t", n=1, message="开始"),
        event("image.start", index=index, media_type="image/png", draft=False),
        *(event("image.delta", index=index, b64=base64.b64encode(piece).decode()) for piece in pieces),
        event("image.done", **image),
        event("done", task_id="t", images=[image], failed=[]),
    ]


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    body: bytes = b""

    def handle_any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        service: "Service" = self.server.service  # type: ignore[attr-defined]
        service.requests.append(self)
        script = service.scripts[f"{self.command} {self.path.split('?')[0]}"]
        # The last handler answers all further requests.
        (script.pop(0) if len(script) > 1 else script[0])(self)
        self.close_connection = True

    do_GET = do_POST = do_DELETE = handle_any

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, value: Any, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-length": str(len(body)), "connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def events(self, *pieces: bytes, end: str = "clean", pause_s: float = 0) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            time.sleep(pause_s)
        if end == "clean":
            self.wfile.write(b"0\r\n\r\n")
        if end == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end == "stall":
            time.sleep(2)


def answer(status: int, value: Any, **headers: str) -> Handler:
    return lambda request: request.answer(status, value, **headers)


def events(*pieces: bytes, end: str = "clean", pause_s: float = 0) -> Handler:
    return lambda request: request.events(*pieces, end=end, pause_s=pause_s)


def record(status: str, **more: Any) -> Handler:
    return answer(200, {"task_id": "t", "status": status, "images": 1, "attempts": 1, **more})


def problem(code: str, status: int, **more: Any) -> Handler:
    value = {"code": code, "error": f"sentence of {code}", "message": "", "retryable": False, **more}
    return answer(status, value)


class Service:
    def __init__(self, scripts: dict[str, list[Handler]]) -> None:
        self.scripts = {"POST /api/generate-stream": [events(*stream())], **scripts}
        self.requests: list[Request] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        self.server.service = self  # type: ignore[attr-defined]
        self.server.daemon_threads = True
        # A client leaves after the terminal event, before the end of the body.
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def asked(self, command: str) -> list[Request]:
        return [request for request in self.requests if request.command == command]


GENERATE = "POST /api/generate-stream"
LOG = "GET /api/generations/key"


class GatewayTest(unittest.TestCase):
    def setUp(self) -> None:
        for name in ("POLL_S", "MAX_POLL_S"):
            patch = mock.patch.object(image_gateway, name, 0.05)
            patch.start()
            self.addCleanup(patch.stop)

    def start(self, **scripts: list[Handler]) -> tuple[Service, Gateway]:
        return self.start_with({{"generate": GENERATE, "log": LOG}[name]: script for name, script in scripts.items()})

    def start_with(self, scripts: dict[str, list[Handler]]) -> tuple[Service, Gateway]:
        service = Service(scripts)
        self.addCleanup(service.server.server_close)
        self.addCleanup(service.server.shutdown)
        return service, Gateway(service.url, token="token", language="en", idle_timeout_s=1, total_timeout_s=10)

    def refused(self, gateway: Gateway) -> GatewayError:
        with self.assertRaises(GatewayError) as caught:
            gateway.generate("x", task_id="key").result()
        self.assertEqual(caught.exception.task_id, "key")
        return caught.exception

    def test_a_whole_stream_is_a_picture_however_it_is_cut(self) -> None:
        whole = b"".join(stream())
        crlf = whole.replace(b"\n", b"\r\n")
        for text, size in ((whole, 1), (whole, 7), (crlf, 997), (whole, len(whole))):
            pieces = [text[at:at + size] for at in range(0, len(text), size)]
            service, gateway = self.start(generate=[events(*pieces)])
            names = []
            run = gateway.generate("a cat", task_id="key", n=1)
            for each in run:
                names.append(each.name)
            self.assertEqual([picture.content for picture in run.result().pictures], [PNG])
            self.assertEqual(names[:3], ["connecting", "start", "image.start"])
            self.assertEqual(names[-2:], ["image.done", "done"])
            request = service.requests[0]
            self.assertEqual(json.loads(request.body), {"prompt": "a cat", "n": 1, "format": "events"})
            sent = [request.headers[name] for name in ("idempotency-key", "authorization", "accept-language")]
            self.assertEqual(sent, ["key", "Bearer token", "en"])

    def test_a_stream_that_breaks_is_found_in_the_log_and_not_paid_again(self) -> None:
        whole = stream()
        broken = base64.b64encode(b"other bytes").decode()
        faults = {
            "ended": events(*whole[:4]),
            "ended before an event": events(),
            "cut": events(*whole[:4], end="cut"),
            "reset": events(*whole[:4], end="reset"),
            "silent": events(*whole[:4], end="stall"),
            "wrong bytes": events(*whole[:3], event("image.delta", index=0, b64=broken), *whole[-2:]),
            "no base64": events(*whole[:3], event("image.delta", index=0, b64="%")),
            "no JSON": events(*whole[:3], b"data: {\n\n"),
            "an unknown slot": events(*whole[:2], event("image.delta", index=3, b64=broken)),
            "in progress": problem("task_in_progress", 409, retryable=True, retry_after_ms=1),
        }
        for name, fault in faults.items():
            with self.subTest(name):
                service, gateway = self.start(generate=[fault], log=[problem("service_unavailable", 503), record("running")])
                links = [{"index": 0, "media_type": "image/png", "url": f"{service.url}/p/1", "sha256": SHA256}]
                service.scripts[LOG].append(record("succeeded", pictures=links))
                service.scripts["GET /p/1"] = [answer(200, PNG)]
                if name == "ended before an event":
                    service.scripts[GENERATE] = [fault, problem("task_in_progress", 409)]
                result = gateway.generate("x", task_id="key").result()
                self.assertTrue(result.resumed)
                self.assertEqual([picture.read() for picture in result.pictures], [PNG])
                posts = service.asked("POST")
                self.assertEqual(len(posts), 2 if name == "ended before an event" else 1)
                self.assertEqual({post.headers["idempotency-key"] for post in posts}, {"key"})
                link = [request for request in service.requests if request.path == "/p/1"]
                self.assertIsNone(link[0].headers["authorization"])

    def test_a_task_that_the_log_does_not_know_is_sent_again_with_the_same_key(self) -> None:
        lost = events(*stream()[:2], end="reset")
        service, gateway = self.start(generate=[lost, events(*stream())], log=[problem("task_not_found", 404)])
        with mock.patch("time.sleep"):
            result = gateway.generate("x", task_id="key").result()
        self.assertEqual([picture.content for picture in result.pictures], [PNG])
        self.assertFalse(result.resumed)
        self.assertEqual([post.headers["idempotency-key"] for post in service.asked("POST")], ["key", "key"])

    def test_a_success_whose_pictures_are_not_kept_is_reported_as_paid(self) -> None:
        service, gateway = self.start(generate=[events(*stream()[:4])], log=[record("succeeded")])
        error = self.refused(gateway)
        self.assertEqual((error.code, error.paid, error.retryable), ("interrupted", True, False))
        self.assertEqual(len(service.asked("POST")), 1)

    def test_a_picture_that_was_whole_before_the_stream_broke_is_a_success(self) -> None:
        _, gateway = self.start(generate=[events(*stream()[:-1])], log=[record("succeeded")])
        result = gateway.generate("x", task_id="key").result()
        self.assertEqual([picture.content for picture in result.pictures], [PNG])

    def test_what_is_kept_in_part_is_a_success(self) -> None:
        def link(index: int, **more: Any) -> dict[str, Any]:
            return {"index": index, "media_type": "image/png", "sha256": SHA256, **more}

        ark = [f"https://ark.example/{index}" for index in range(3)]
        rows: list[tuple[dict[str, Any], list[tuple[int, str]], list[int]]] = [
            ({"images": 4, "pictures": [link(3, url="https://k/3"), link(1, url="https://k/1"), link(2)]},
             [(0, ""), (1, "https://k/1"), (3, "https://k/3")], [2]),
            ({"images": 3, "urls": ark, "pictures": [link(2, url="https://k/2")]},
             [(0, ""), (1, ark[1]), (2, "https://k/2")], []),
            ({"images": 2, "urls": ark[1:], "pictures": [link(2, url="https://k/2")]}, [(0, ""), (2, "https://k/2")], []),
        ]
        for item, expected, failed in rows:
            _, gateway = self.start(generate=[events(*stream()[:-1])], log=[record("succeeded", **item)])
            result = gateway.generate("x", n=4, task_id="key").result()
            self.assertEqual([(picture.index, picture.url) for picture in result.pictures], expected)
            self.assertEqual(result.pictures[0].content, PNG)
            self.assertEqual([entry["index"] for entry in result.failed], failed)

    def test_an_expired_picture_or_a_draft_is_no_result(self) -> None:
        whole = stream()
        image = json.loads(whole[-2].split(b"data: ")[1])["data"]
        draft = event("image.done", **image, draft=True)
        expired = [{"index": 0, "expires": "2026-11-01T00:00:00Z"}]
        for generate, item in ((whole[:2], {"pictures": expired}), ([*whole[:-2], draft], {})):
            _, gateway = self.start(generate=[events(*generate)], log=[record("succeeded", **item)])
            error = self.refused(gateway)
            self.assertEqual((error.code, error.paid), ("interrupted", True))

    def test_a_log_at_a_wrong_address_does_not_mean_that_the_task_is_unknown(self) -> None:
        service, gateway = self.start(generate=[events(*stream()[:2])], log=[answer(404, b"<html>")])
        self.assertEqual(self.refused(gateway).code, "http_404")
        self.assertEqual(len(service.asked("POST")), 1)

    def test_a_failure_is_raised_and_its_task_is_not_repeated(self) -> None:
        whole = stream()
        failure = event("error", code="upstream_timeout", error="too slow", retryable=True, retry_after_ms=1000)
        rows: list[tuple[list[Handler], list[Handler], str, bool]] = [
            ([events(*whole[:2], failure)], [], "upstream_timeout", True),
            ([events(*whole[:2])], [record("failed", code="content_rejected")], "content_rejected", False),
            ([events(*whole[:2])], [record("failed", code="upstream_error")], "upstream_error", True),
            ([problem("invalid_request", 400)], [], "invalid_request", False),
            ([problem("upstream_error", 502, retryable=True)], [], "upstream_error", True),
            ([problem("insufficient_credits", 402)], [], "insufficient_credits", False),
            ([answer(200, b"<html>", content_type="text/html")], [], "protocol", False),
            ([answer(413, b"too large")], [], "payload_too_large", False),
            ([problem("task_already_completed", 409)], [record("succeeded")], "task_already_completed", False),
        ]
        for generate, log, code, retryable in rows:
            with self.subTest(code):
                service, gateway = self.start(generate=generate, log=log)
                error = self.refused(gateway)
                self.assertEqual((error.code, error.retryable), (code, retryable))
                self.assertEqual(len(service.asked("POST")), 1)

    def test_a_refusal_before_the_upstream_is_repeated_after_its_time(self) -> None:
        busy = problem("rate_limited", 429, retryable=True, retry_after_ms=1500)
        service, gateway = self.start(generate=[busy, answer(502, b"platform"), events(*stream())])
        with mock.patch("time.sleep") as sleep:
            gateway.generate("x", task_id="key").result()
        waits = [call.args[0] for call in sleep.call_args_list if call.args[0] > 0]
        self.assertEqual(waits[0], 1.5)
        self.assertTrue(0.75 <= waits[1] <= 1.25, waits)
        self.assertEqual(len(service.asked("POST")), 3)

        service, gateway = self.start(generate=[problem("rate_limited", 429, retryable=True, retry_after_ms=61_000)])
        self.assertEqual(self.refused(gateway).retry_after_s, 61)
        self.assertEqual(len(service.asked("POST")), 1)

    def test_a_run_ends_at_its_total_time_whatever_arrives(self) -> None:
        for generate in (events(*[b": ping\n\n"] * 40, pause_s=0.05), events(stream()[1], end="stall", pause_s=0.2)):
            service, _ = self.start(generate=[generate], log=[record("running")])
            gateway = Gateway(service.url, "token", idle_timeout_s=1, total_timeout_s=0.5)
            started = time.monotonic()
            self.assertEqual(self.refused(gateway).code, "timeout")
            self.assertLess(time.monotonic() - started, 1.4)

    def test_a_slow_upload_is_not_silence(self) -> None:
        def slow(request: Request) -> None:
            time.sleep(1.5)
            request.events(*stream())

        service, gateway = self.start(generate=[slow])
        gateway.generate("x", ["data:image/png;base64," + "A" * 100_000]).result()
        self.assertEqual(len(service.asked("POST")), 1)

    def test_nothing_is_sent_if_the_body_is_too_large(self) -> None:
        service, gateway = self.start()
        with self.assertRaises(GatewayError) as caught:
            gateway.generate("x", ["data:image/png;base64," + "A" * (6 << 20)]).result()
        self.assertEqual((caught.exception.code, service.requests), ("payload_too_large", []))

    def test_no_service_is_a_network_failure(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        with mock.patch("time.sleep"):
            error = self.refused(Gateway(f"http://127.0.0.1:{port}", retries=1))
        self.assertEqual((error.code, error.retryable, str(error)), ("network", True, "网络连接失败"))

    def test_an_expired_token_is_refreshed_once(self) -> None:
        expired = problem("token_expired", 401)
        service, gateway = self.start(generate=[expired, events(*stream())])
        asked = []

        def token(refresh: bool) -> str:
            asked.append(refresh)
            return f"token-{len(asked)}"

        Gateway(service.url, token).generate("x").result()
        self.assertEqual(asked, [False, True])
        self.assertEqual(service.requests[1].headers["authorization"], "Bearer token-2")

        service, gateway = self.start(generate=[expired])
        self.assertEqual(self.refused(gateway).code, "token_expired")
        self.assertEqual(len(service.requests), 1, "the same token is not sent twice")

    def test_a_session_of_supabase_is_refreshed_and_started_again(self) -> None:
        tokens = "POST /auth/v1/token"
        grants = [{"access_token": name, "refresh_token": f"r-{name}", "expires_in": 3600} for name in "abc"]
        service, _ = self.start_with({tokens: [answer(200, grants[0]), answer(200, grants[1]),
                                               problem("refresh_token_not_found", 400), answer(200, grants[2])]})
        user = SupabaseUser(service.url, "demo@example.com", "demo")
        self.assertEqual([user.token(), user.token(), user.token(True), user.token(True)], ["a", "a", "b", "c"])
        asked = [(request.path.split("=")[1], json.loads(request.body)) for request in service.requests]
        password = ("password", {"email": "demo@example.com", "password": "demo"})
        self.assertEqual(asked, [password, ("refresh_token", {"refresh_token": "r-a"}),
                                 ("refresh_token", {"refresh_token": "r-b"}), password])

    def test_pictures_are_saved_under_safe_names(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Picture("../../etc/x y", 1, content=PNG).save(Path(folder) / "new")
            self.assertEqual(path, Path(folder) / "new" / "_.._etc_x_y-1.png")
            self.assertEqual(path.read_bytes(), PNG)
            self.assertEqual([each.name for each in path.parent.iterdir()], [path.name])
            with self.assertRaises(ValueError):
                Picture("t", 0, content=b"<html>").save(folder)
        for url in ("http://example.com/p.png", "file:///etc/passwd", "ftp://example.com/p.png"):
            with self.assertRaises(GatewayError):
                Picture("t", 0, url=url).read()

    def test_the_links_of_faceflip_are_pictures(self) -> None:
        service, gateway = self.start_with({})
        link = {"url": f"{service.url}/p/1", "size": "2K"}
        service.scripts["GET /p/1"] = [answer(200, PNG)]
        for images in ({"images": [{"index": 0, **link}]}, {}):
            done = event("done", task_id="key", urls=[], generated_images=[link], **images)
            service.scripts["POST /api/v1/faceflip/generate/stream"] = [events(event("start", task_id="key"), done)]
            result = gateway.faceflip(["https://example.com/a.png"], task_id="key").result()
            self.assertEqual([picture.read() for picture in result.pictures], [PNG])
        body = json.loads(service.requests[0].body)
        self.assertEqual(body, {"urls": ["https://example.com/a.png"], "task_id": "key"})


if __name__ == "__main__":
    unittest.main()
