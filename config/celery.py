"""The Celery app, named `switchyard`; its class, which keeps the ledger, belongs to `jobs`."""

import os

from kombu.utils.imports import symbol_by_name

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = symbol_by_name("jobs.worker.app:LedgerCelery")("switchyard")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
