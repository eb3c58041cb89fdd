"""A worker whose reports take two seconds, as on a machine with much else to do; loaded through TASK_MODULES."""

import time
from typing import Any
from unittest import mock

from jobs.worker.bootsteps import Heartbeat

_beat = Heartbeat._beat


def slow_beat(heartbeat: Heartbeat, connection: Any) -> None:
    time.sleep(2)
    _beat(heartbeat, connection)


mock.patch.object(Heartbeat, "_beat", slow_beat).start()
