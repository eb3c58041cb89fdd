"""The control room: unfold's admin over the ledger. Every action goes through a service in `jobs.operators`."""

# The stock pages first: ours take the places of some.
import django.contrib.auth.admin  # noqa: F401
import django_celery_beat.admin  # noqa: F401
import django_celery_results.admin  # noqa: F401
from django.apps import apps
from django.contrib import admin

from jobs.admin import access, alerts, audit, effects, jobs, limits, results, schedules, timetables, tokens, workers

__all__ = [
    "access",
    "alerts",
    "audit",
    "effects",
    "jobs",
    "limits",
    "results",
    "schedules",
    "timetables",
    "tokens",
    "workers",
]

admin.site.index_title = "Control room"
# What stands in the header; the models' own names cannot be changed without a migration of theirs.
apps.get_app_config("django_celery_beat").verbose_name = "Schedules"
apps.get_app_config("django_celery_results").verbose_name = "Results"
