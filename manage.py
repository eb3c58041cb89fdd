#!/usr/bin/env python3
"""Switchyard's command line: `manage.py help` lists the commands."""

import os
import signal
import sys


def _stop_at_once(*_: object) -> None:
    os._exit(130)


def main() -> None:
    if sys.argv[1:2] == ["up"]:
        # Nothing runs yet that would have to be stopped, and an exception may get lost in the middle of an import.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop_at_once)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as exc:
        if "--traceback" in sys.argv:
            raise
        sys.stderr.write(f"Switchyard is not configured rightly: {exc}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
