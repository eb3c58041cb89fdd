"""The system check holds every admin action to POST and to a permission."""

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin as StockModelAdmin
from django.core.checks import run_checks
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask
from unfold.admin import ModelAdmin
from unfold.decorators import action

from jobs.admin.base import ReadOnlyAdmin, permission_required
from jobs.checks import check_admin_actions
from jobs.models import Attempt


def problems_of(model_admin_class, model, monkeypatch) -> list[str]:
    monkeypatch.setitem(admin.site._registry, model, model_admin_class(model, admin.site))
    return [str(problem.id) for problem in check_admin_actions()]


def test_the_project_itself_passes():
    assert check_admin_actions() == []
    assert not [problem for problem in run_checks() if problem.id and problem.id.startswith("jobs.")]


def test_a_list_action_without_permissions_is_an_error(monkeypatch):
    class Bad(StockModelAdmin):
        actions = ["do"]

        @admin.action(description="Do")
        def do(self, request, queryset): ...

    assert problems_of(Bad, Attempt, monkeypatch) == ["jobs.E001"]


def test_a_bare_function_as_an_action_is_an_error(monkeypatch):
    def do(model_admin, request, queryset): ...

    class Bad(ModelAdmin):
        actions = [do]

    assert problems_of(Bad, Attempt, monkeypatch) == ["jobs.E001"]


@pytest.mark.parametrize("place", ["actions_list", "actions_row", "actions_detail"])
def test_an_action_with_a_url_of_its_own_is_an_error_without_permissions_and_without_a_dialog(monkeypatch, place):
    class Bad(ModelAdmin):
        @action(description="Do")
        def do(self, request): ...

    setattr(Bad, place, ["do"])
    assert sorted(problems_of(Bad, Attempt, monkeypatch)) == ["jobs.E001", "jobs.E002"]
    setattr(Bad, place, [{"title": "More", "items": ["do"]}])
    assert sorted(problems_of(Bad, Attempt, monkeypatch)) == ["jobs.E001", "jobs.E002"]


def test_an_action_of_the_submit_line_needs_permissions(monkeypatch):
    class Bad(ModelAdmin):
        actions_submit_line = ["do"]

        @action(description="Do")
        def do(self, request, obj): ...

    assert problems_of(Bad, Attempt, monkeypatch) == ["jobs.E001"]


def test_a_page_of_our_own_needs_a_permission(monkeypatch):
    class Bad(ReadOnlyAdmin):
        def get_urls(self):
            return [self.own_path("do/", self.do, "do"), *super().get_urls()]

        def do(self, request): ...

    assert problems_of(Bad, Attempt, monkeypatch) == ["jobs.E004"]
    monkeypatch.setattr(Bad, "do", permission_required("jobs.retry_job")(Bad.do))
    assert problems_of(Bad, Attempt, monkeypatch) == []


def test_a_well_made_action_passes(monkeypatch):
    class Good(ModelAdmin):
        actions = ["do"]

        @admin.action(description="Do", permissions=["change"])
        def do(self, request, queryset): ...

    assert problems_of(Good, Attempt, monkeypatch) == []


def test_the_stock_admin_of_schedules_is_an_error(monkeypatch):
    assert problems_of(PeriodicTaskAdmin, PeriodicTask, monkeypatch) == ["jobs.E003"]
