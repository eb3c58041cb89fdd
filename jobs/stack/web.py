"""The web server: gunicorn inside a forked child, on the socket that the supervisor holds."""

import signal
import socket
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from jobs.stack.errors import StackError
from jobs.stack.parent import die_with_parent
from jobs.stack.program import Tell

ADDRESS = "127.0.0.1"
WORKERS = 2
THREADS = 4
#: In bytes, the most that gunicorn takes unless there is no limit at all. What is longer is posted.
LONGEST_REQUEST_LINE = 8190


def bind(port: int) -> socket.socket:
    """Take the port on loopback. Raises StackError, naming PORT, when it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen(128)
    except OSError as exc:
        listener.close()
        raise StackError(f"port {port} cannot be used ({exc.strerror}); choose another one with PORT") from None
    return listener


class WebServer(BaseApplication):
    def __init__(self, listener: socket.socket, tell: Tell) -> None:
        self.listener = listener
        self.tell = tell
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"fd://{self.listener.fileno()}",
            "worker_class": "gthread",
            "workers": WORKERS,
            "threads": THREADS,
            "preload_app": True,
            "timeout": 60,
            "graceful_timeout": 10,
            "keepalive": 5,
            "limit_request_line": LONGEST_REQUEST_LINE,
            "accesslog": None,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_fork": lambda arbiter, worker: die_with_parent(signal.SIGKILL, arbiter.pid),
            "post_worker_init": lambda worker: self.tell("ready"),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return import_string(settings.WSGI_APPLICATION)


def serve(listener: socket.socket, tell: Tell) -> int:
    WebServer(listener, tell).run()
    return 0
