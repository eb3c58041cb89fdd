"""A Django project with nothing but django-celery-results, as its documentation sets it up."""

import os

SECRET_KEY = "only-for-a-benchmark"  # noqa: S105
INSTALLED_APPS = ["django_celery_results"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "stock",
        "USER": "switchyard",
        "HOST": os.environ.get("BENCH_STOCK_DATABASE", ""),
    }
}
USE_TZ = True
