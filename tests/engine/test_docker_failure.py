"""An engine that answers, but badly: every failure is one EngineError, never the SDK's own."""

import http.server
import json
import threading

import pytest

from launcher import images
from launcher.engine.docker import DockerEngine
from launcher.errors import EngineError

HELLO = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10"}


class Engine(http.server.BaseHTTPRequestHandler):
    """Says its version, and that everything else went wrong."""

    answers = {"/version": (200, HELLO)}  # noqa: RUF012 - replaced whole by a test

    def answer(self):
        path = self.path.split("?")[0].removeprefix("/v1.41")
        status, body = self.answers.get(path, (500, {"message": "the disk is on fire"}))
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the server calls these

    def log_message(self, *_):
        pass


@pytest.fixture
def _failing(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    yield server
    server.shutdown()
    server.server_close()


pytestmark = pytest.mark.usefixtures("_failing")


def test_an_engine_that_fails_at_hello_is_an_engine_error():
    with pytest.raises(EngineError, match="the disk is on fire"):
        DockerEngine()


@pytest.mark.parametrize("act", ["describe", "image", "orphans", "collect", "remove"])
def test_an_engine_that_fails_later_is_an_engine_error(monkeypatch, act):
    monkeypatch.setattr(Engine, "answers", {**Engine.answers, "/_ping": (200, {})})
    engine = DockerEngine()
    acts = {
        "describe": engine.describe,
        "image": lambda: engine.image("x"),
        "orphans": lambda: engine.orphans({"a": "b"}),
        "collect": lambda: engine.collect("x", on_stdout=bytes, on_stderr=bytes),
        "remove": lambda: engine.remove("x"),
    }
    with pytest.raises(EngineError, match="the disk is on fire"):
        acts[act]()
    engine.close()


def test_an_engine_too_old_to_talk_to_is_an_engine_error(monkeypatch):
    old = HELLO | {"ApiVersion": "1.12"}
    monkeypatch.setattr(Engine, "answers", {"/version": (200, old)})
    with pytest.raises(EngineError, match="API versions below"):
        DockerEngine()
    with pytest.raises(EngineError, match="API versions below"):
        images.image_id("x")
