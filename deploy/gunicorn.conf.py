"""The web server in a container; WEB_BIND and WEB_CONCURRENCY (gunicorn's own) come from the environment."""

import os

wsgi_app = "config.wsgi:application"
bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
worker_class = "gthread"
threads = 4
timeout = 60
graceful_timeout = 25
keepalive = 5
# In bytes, the most that it takes unless there is no limit at all: searches with long words are addresses, too.
limit_request_line = 8190
# Its heartbeat files would otherwise be on a disk, whose stalls end workers.
worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True
accesslog = None
