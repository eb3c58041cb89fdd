"""The far side of outside effects: `python -m jobs.drill.judge LOG`. A process that no fault of a drill touches.

POST /effect with {"key": …} is written to the log and known from then on; GET /effect?key=… answers 200 if the key is
known, else 404. POST /delay with {"before": s, "after": s} makes each effect wait, before it counts or after. The port
is printed on the first line.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit


class Far:
    """What has happened on the far side. One line a call goes to the log: time, key."""

    def __init__(self, log: IO[str]) -> None:
        self.log = log
        self.lock = threading.Lock()
        self.known: set[str] = set()
        self.delay = {"before": 0.0, "after": 0.0}

    def do(self, key: str) -> None:
        time.sleep(self.delay["before"])
        with self.lock:
            self.known.add(key)
            self.log.write(json.dumps({"at": time.time(), "key": key}) + "\n")
            self.log.flush()
        time.sleep(self.delay["after"])


class Handler(BaseHTTPRequestHandler):
    far: Far

    def do_POST(self) -> None:
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        except ValueError:
            self._answer(400)
            return
        if self.path.startswith("/delay"):
            self.far.delay = {"before": 0.0, "after": 0.0, **body}
            self._answer(200)
        else:
            self.far.do(str(body["key"]))
            self._answer(201)

    def do_GET(self) -> None:
        key = parse_qs(urlsplit(self.path).query).get("key", [""])[0]
        self._answer(200 if key in self.far.known else 404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing: the log is the calls."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that die in the middle are what this is for."""


def main(path: str) -> None:
    with Path(path).open("a") as log:
        Handler.far = Far(log)
        server = Server(("127.0.0.1", 0), Handler)
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
