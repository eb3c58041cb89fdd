"""A system check that no admin action can run on GET, or without a permission.

Unfold turns each action of a list, row or page into a URL of its own, which runs on GET, without CSRF, and for any
member of staff unless it declares permissions; the stock admin of django-celery-beat declares none.
"""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.core.checks import CheckMessage, Error

STOCK = frozenset({"django_celery_beat", "django_celery_results"})
#: Unfold gives each of these a URL; with a dialog, the deed follows the dialog's POST.
URL_ACTIONS = ("actions_list", "actions_row", "actions_detail")


def check_admin_actions(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """jobs.E001: an action without permissions. jobs.E002: one that runs on GET. jobs.E003: a foreign admin class."""
    if not apps.is_installed("django.contrib.admin"):
        return []
    return [problem for model_admin in admin.site._registry.values() for problem in _check(model_admin)]


def _check(model_admin: "ModelAdmin[Any]") -> Iterator[CheckMessage]:
    kind = type(model_admin)
    if kind.__module__.split(".")[0] in STOCK:
        yield Error(
            f"{kind.__module__}.{kind.__name__} is registered as it comes: any member of staff may run its actions",
            hint=f"Unregister {model_admin.opts.label} and register an admin class of our own.",
            obj=kind,
            id="jobs.E003",
        )
        return
    for action in _stock_actions(model_admin):
        yield from _check_permissions(kind, action)
    for place in (*URL_ACTIONS, "actions_submit_line"):
        for action in _unfold_actions(model_admin, place):
            yield from _check_permissions(kind, action)
            if place in URL_ACTIONS and not getattr(action, "dialog", None):
                yield Error(
                    f"{kind.__name__}.{_name(action)} in {place} runs on GET, without a CSRF token",
                    hint="Pass dialog= to @action, or make it a view of get_urls() that acts on POST alone.",
                    obj=kind,
                    id="jobs.E002",
                )


def _check_permissions(kind: type, action: Any) -> Iterator[CheckMessage]:
    if not getattr(action, "allowed_permissions", None):
        yield Error(
            f"{kind.__name__}.{_name(action)} declares no permissions: any member of staff could run it",
            hint="Pass permissions=[…] to @action.",
            obj=kind,
            id="jobs.E001",
        )


def _stock_actions(model_admin: "ModelAdmin[Any]") -> Iterator[Any]:
    """The drop-down above a list; it acts on POST alone by itself."""
    for action in model_admin.actions or ():
        yield action if callable(action) else getattr(model_admin, action, action)


def _unfold_actions(model_admin: "ModelAdmin[Any]", place: str) -> Iterator[Any]:
    for entry in getattr(model_admin, place, None) or ():
        names = entry.get("items", ()) if isinstance(entry, dict) else (entry,)
        for name in names:
            yield getattr(model_admin, name, name)


def _name(action: Any) -> str:
    return str(getattr(action, "__name__", action))
