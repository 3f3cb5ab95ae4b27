"""The page on trackers: its own tracker works in a run."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module

import pytest

from guardcore.registry import Origin
from pages import DOCS, blocks
from runs import rows, run
from toy import toy_host

ORIGIN = Origin("mine", "1", "chat", "chat")


@pytest.fixture
def chat():
    """A webhook, and the lines that it was sent."""
    lines = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            lines.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *of_a_request):
            pass

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", lines
        server.shutdown()


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with the page's plugin."""
    (source,) = [block.text for block in blocks(DOCS / "trackers.md") if block.title == "chat.py"]
    (tmp_path / "chat.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = toy_host()
    made.add(import_module("chat"), ORIGIN)
    yield made
    del sys.modules["chat"]


def test_the_pages_tracker_tells_a_chat_of_every_best_score(tmp_path, host, chat):
    url, lines = chat
    tracker = {"use": "chat", "url": url, "metric": "eval/brightness"}
    run(tmp_path / "mine", host=host, tracker=[tracker], evaluate={"every": 1})
    assert [str(problem) for problem in host.problems if problem.origin == ORIGIN] == []
    best, expected = float("-inf"), []
    for row in rows(tmp_path / "mine", "metrics"):
        if row["eval/brightness"] > best:
            best = row["eval/brightness"]
            said = f"mine: eval/brightness {best:.3f} after iteration {row['iteration']}"
            expected.append(said)
    assert len(expected) > 1
    assert lines == expected
