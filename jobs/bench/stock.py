"""Celery with the stock `django-db` result backend, as its documentation sets it up."""

import os

import django
from celery import Celery

os.environ["DJANGO_SETTINGS_MODULE"] = "jobs.bench.stock_settings"
django.setup()

# Not the current one: whoever measures has an app of its own.
app = Celery("stock", broker=os.environ.get("BROKER_URL"), backend="django-db", set_as_current=False)
app.conf.broker_connection_retry_on_startup = True


@app.task
def no_op(value: None = None) -> None:
    """Do nothing."""
