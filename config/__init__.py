import gc

# What is loaded at a start is no garbage; to look for some among it took nearly a third of a command's start.
# `jobs` switches it on again when Django has loaded its apps.
gc.disable()

from config.celery import app as celery_app  # noqa: E402

__all__ = ["celery_app"]
