"""What the log shows, and what it spares its readers."""

import logging


class RefusalsInOneLine(logging.Filter):
    """A request that was refused (4xx) is one line; only our own errors keep their traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        refused = getattr(record, "status_code", 500) < 500 or record.name.startswith("django.security")
        if refused and record.name.startswith("django."):
            record.exc_info = None
            record.exc_text = None
        return True
