"""Served rewards: real ``guardcore serve-reward`` processes, and a server that misbehaves."""

import contextlib
import json
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from guardcore_plugins.serving.formats import Limits, decode
from guardcore_plugins.serving.protocol import write_reply


class Served:
    """A ``guardcore serve-reward`` process that is ready."""

    def __init__(self, guardcore, *argv, port=0):
        self.process = guardcore.start("serve-reward", *argv, "--port", port)
        self.url = self._said(r"on (http://\S+);")
        self.port = int(self.url.rpartition(":")[2])
        self._said("ready after")

    def _said(self, pattern, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            text = self.process.err.read_text() if self.process.err.exists() else ""
            if found := re.search(pattern, text):
                return found[found.lastindex or 0]
            time.sleep(0.02)
        raise AssertionError(f"the server did not say {pattern!r} but: {text}")

    def stop(self, number):
        self.process.signal(number)
        return self.process.wait()

    def end(self):
        """Kill it, if a test has left it running."""
        with contextlib.suppress(ProcessLookupError):
            self.process.signal(signal.SIGKILL)


class Faulty:
    """A server of the images' mean brightness, written without GuardCore's own server.

    ``fault(n)`` names what is wrong with the answer to request ``n``, counted from 1.
    """

    def __init__(self, fault=lambda number: "", ready=200, identity=None, port=0):
        self.fault, self.ready, self.identity = fault, ready, identity or {}
        self.requests, self.sizes, self.times, self.lock = 0, [], [], threading.Lock()
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer(self, faulty.ready, {"ready": True, **faulty.identity})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                faulty.score(self, decode(self.headers["Content-Type"], body, Limits()))

            def log_message(self, *arguments): ...

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def score(self, handler, question):
        with self.lock:
            self.requests += 1
            number = self.requests
            self.sizes.append(len(question.ids))
            self.times.append(time.monotonic())
        fault = self.fault(number)
        scores = question.images.mean((1, 2, 3)).tolist()
        reply = write_reply(question, scores, self.identity.get("reward", ""))
        match fault:
            case "":
                return answer(handler, 200, reply)
            case "slow":
                time.sleep(1.5)
                return answer(handler, 200, reply)
            case "nan":
                reply["scores"][question.ids[-1]] = float("nan")
            case "text":
                reply["scores"][question.ids[0]] = "0.5"
            case "short":
                reply["scores"].pop(question.ids[-1])
            case "others":
                reply["scores"] = {f"other-{n}": s for n, s in reply["scores"].items()}
            case "more":
                reply["scores"]["one-more"] = 0.5
            case "another request":
                reply["request"] = "an-earlier-one"
            case "another reward":
                reply["reward"] = "darkness 2.0"
            case "long":
                reply["padding"] = "x" * 10**6
            case "no json":
                return answer(handler, 200, "<html>It works!</html>")
            case "dropped":
                handler.close_connection = True
                return handler.connection.close()
            case "half":
                handler.send_response(200)
                handler.send_header("Content-Length", "1000")
                handler.end_headers()
                handler.wfile.write(b'{"request": ')
                handler.close_connection = True
                return None
            case status:
                more = {"Retry-After": "1"} if status == "429" else {}
                return answer(handler, int(status), {"error": "the judge is out"}, more)
        return answer(handler, 200, reply)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def answer(handler, status, told, headers=None):
    body = (told if isinstance(told, str) else json.dumps(told)).encode()
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
