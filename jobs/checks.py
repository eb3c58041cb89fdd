"""A system check that no admin action can run on GET, or without a permission.

Unfold turns each action of a list, row or page into a URL of its own, which runs on GET, without CSRF, and for any
member of staff unless it declares permissions; the stock admin of django-celery-beat declares none.
"""

import inspect
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.core.checks import CheckMessage, Error

STOCK = frozenset({"django_celery_beat", "django_celery_results"})
#: Set on a view by jobs.admin.base.permission_required.
PERMISSION_MARK = "required_permission"
#: Unfold gives each of these a URL; with a dialog, the deed follows the dialog's POST.
URL_ACTIONS = ("actions_list", "actions_row", "actions_detail")


def check_admin_actions(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """jobs.E001: an action without permissions. jobs.E002: one that runs on GET. jobs.E003: a foreign admin class.

    jobs.E004: a view of our own without a permission.
    """
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
    yield from _check_views(kind, model_admin)
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


def _check_views(kind: type, model_admin: "ModelAdmin[Any]") -> Iterator[CheckMessage]:
    """Hold what get_urls() adds to a permission; stock pages, also overridden ones, ask for theirs themselves."""
    for pattern in model_admin.get_urls():
        view = inspect.unwrap(pattern.callback)
        name = getattr(view, "__name__", "")
        is_stock = view.__module__.startswith(("django.", "unfold.")) or hasattr(ModelAdmin, name)
        is_action = name in _action_names(model_admin)
        if not (is_stock or is_action or hasattr(pattern.callback, PERMISSION_MARK)):
            yield Error(
                f"{kind.__name__}.{name} is a page without a permission: any member of staff could open it",
                hint="Decorate it with jobs.admin.base.permission_required.",
                obj=kind,
                id="jobs.E004",
            )


def _action_names(model_admin: "ModelAdmin[Any]") -> set[str]:
    return {_name(action) for place in URL_ACTIONS for action in _unfold_actions(model_admin, place)}


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
