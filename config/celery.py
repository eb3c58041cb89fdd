"""The Celery app, named `switchyard`; its class, which keeps the ledger, belongs to `jobs`."""

import os

from kombu.utils.imports import symbol_by_name

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Celery would run Django's checks at each first send and start of a worker, and tell nobody what they found.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = symbol_by_name("jobs.worker.app:LedgerCelery")("switchyard")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
