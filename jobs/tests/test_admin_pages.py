"""The other pages of the admin: workers, results, audit log, tokens, users; and what guards them all."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone
from django_celery_results.models import TaskResult

from jobs.models import ApiToken, AuditEntry, State, Worker
from jobs.operators.actors import command_actor
from jobs.operators.tokens import authenticate, create_token
from jobs.tests.admin_helpers import LIST, client_with, job_page_url, page_of, said
from jobs.tests.factories import make_job

pytestmark = pytest.mark.django_db


def make_worker(name: str, **fields) -> Worker:
    now = timezone.now()
    values = {"host": "h", "pid": 1, "queues": ["default"], "children": 2, "started_at": now, "heartbeat_at": now}
    return Worker.objects.create(name=name, **{**values, **fields})


def test_workers_are_alive_silent_or_stopped_with_the_jobs_they_run():
    Worker.objects.all().delete()  # a worker that another module's tests started may have left its row
    make_worker("w1@h", memory_bytes=64 * 1_048_576)
    make_worker("w2@h", heartbeat_at=timezone.now() - timedelta(minutes=2))
    make_worker("w3@h", stopped_at=timezone.now())
    make_job(State.RUNNING, worker="w1@h")
    client = client_with("jobs.view_worker", "jobs.view_job")

    response = client.get(page_of("jobs_worker"))

    html = response.content.decode()
    for state in ("alive", "silent", "stopped", "64 MiB"):
        assert state in html
    assert {worker.name: worker.running_jobs for worker in response.context["cl"].result_list} == {
        "w1@h": 1,
        "w2@h": 0,
        "w3@h": 0,
    }
    assert len(client.get(LIST, {"state": "running", "worker": "w1@h"}).context["cl"].result_list) == 1


def test_results_are_found_by_the_beginning_of_the_id_and_lead_to_their_job():
    job = make_job(State.SUCCEEDED, id="abc-1")
    mine = TaskResult.objects.create(task_id=job.pk, task_name=job.task, status="SUCCESS", result='{"found": 3}')
    TaskResult.objects.create(task_id="xyz", task_name="selftest.fail", status="FAILURE", result="{}", traceback="T: x")
    client = client_with("django_celery_results.view_taskresult")
    model = "django_celery_results_taskresult"

    assert [r.pk for r in client.get(page_of(model), {"q": "abc"}).context["cl"].result_list] == [mine.pk]
    assert len(client.get(page_of(model), {"status": "FAILURE"}).context["cl"].result_list) == 1
    html = client.get(page_of(model, "change", mine.pk)).content.decode()
    assert job_page_url(job) in html
    assert "&quot;found&quot;: 3" in html
    assert client.get(page_of(model), {"q": "\x00"}).status_code == 200
    assert client.get(f"{page_of(model)}999999999999999999999/change/", follow=True).status_code == 200


@pytest.mark.parametrize(
    "model", ["django_celery_results_taskresult", "jobs_worker", "jobs_auditentry", "jobs_job", "jobs_apitoken"]
)
def test_what_the_ledger_writes_is_read_only_and_not_for_everybody(model):
    assert client_with().get(page_of(model)).status_code == 403
    everything = client_with(
        *("jobs.view_job", "jobs.change_job", "jobs.delete_job", "jobs.view_auditentry", "jobs.view_worker"),
        *("django_celery_results.delete_taskresult", "django_celery_results.change_taskresult"),
        *("jobs.delete_apitoken", "jobs.view_apitoken"),
        name="eve",
    )
    job = make_job()
    AuditEntry.objects.create(actor="x", via="admin", action="job.retry", target=job.pk)
    result = TaskResult.objects.create(task_id=job.pk)
    pks = {"jobs_job": job.pk, "django_celery_results_taskresult": result.pk}
    assert everything.post(page_of(model, "delete", pks.get(model, 1)), {"post": "yes"}).status_code in (302, 403)
    everything.post(
        page_of(model), {"action": "delete_selected", "_selected_action": [pks.get(model, 1)], "post": "yes"}
    )
    assert AuditEntry.objects.exists()
    assert TaskResult.objects.exists()


def test_the_audit_log_is_filtered_and_searched():
    for action, target in (("job.retry", "j1"), ("job.cancel", "j2")):
        AuditEntry.objects.create(actor="ann", via="admin", action=action, target=target, detail={"reason": "<b>x</b>"})
    client = client_with("jobs.view_auditentry")

    def targets(**query):
        return [entry.target for entry in client.get(page_of("jobs_auditentry"), query).context["cl"].result_list]

    assert targets(action="job.retry") == ["j1"]
    assert targets(via="command") == []
    assert targets(q="j2") == ["j2"]
    assert targets(q="ann") == ["j2", "j1"]
    assert "<b>x</b>" not in client.get(page_of("jobs_auditentry")).content.decode()


def test_a_token_is_shown_once_and_never_again():
    client = client_with("jobs.add_apitoken", "jobs.view_apitoken", "jobs.change_apitoken")
    ann = User.objects.get(username="ann")

    response = client.post(page_of("jobs_apitoken", "add"), {"name": "dashboard", "user": ann.pk})

    text = response.context["text"]
    assert text in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert authenticate(text).user == ann
    token = ApiToken.objects.get()
    assert text not in client.get(page_of("jobs_apitoken")).content.decode()

    assert client.get(page_of("jobs_apitoken", "revoke", token.pk)).status_code == 200
    assert authenticate(text) is not None
    assert said(client.post(page_of("jobs_apitoken", "revoke", token.pk))) == "1 token revoked."
    assert authenticate(text) is None
    assert "0 tokens revoked" in said(client.post(page_of("jobs_apitoken", "revoke", token.pk)))
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == ["token.create", "token.revoke"]


def test_a_token_cannot_be_made_for_or_taken_from_somebody_else():
    boss = User.objects.create_superuser("boss")
    token, text = create_token(command_actor(), boss, "boss's own")
    client = client_with("jobs.add_apitoken", "jobs.view_apitoken", "jobs.change_apitoken")

    refused = client.post(page_of("jobs_apitoken", "add"), {"name": "sly", "user": boss.pk})
    client.post(page_of("jobs_apitoken", "revoke", token.pk))

    assert "user" in refused.context["form"].errors
    assert ApiToken.objects.count() == 1
    assert authenticate(text) is not None
    assert "boss&#x27;s own" not in client.get(page_of("jobs_apitoken")).content.decode()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "expires_at": "2001-01-01T00:00"}, "expires_at"),
    ],
)
def test_a_wrong_token_is_told_at_its_field(given, field):
    client = client_with("jobs.add_apitoken", "jobs.view_apitoken")
    response = client.post(page_of("jobs_apitoken", "add"), {"user": User.objects.get().pk, **given})
    assert field in response.context["form"].errors
    assert not ApiToken.objects.exists()


def test_tokens_need_their_permissions():
    token, _ = create_token(command_actor(), User.objects.create_user("bob"), "bob's")
    viewer = client_with("jobs.view_apitoken")
    assert viewer.get(page_of("jobs_apitoken", "add")).status_code == 403
    assert viewer.post(page_of("jobs_apitoken", "revoke", token.pk)).status_code == 403


def test_edits_of_users_and_groups_are_recorded_without_secrets():
    client = client_with()
    User.objects.update(is_superuser=True)
    bob = User.objects.create_user("bob", password="first-Secret-9")

    client.post(page_of("auth_group", "add"), {"name": "operators"})
    client.post(page_of("auth_user", "add"), {"username": "cat", "usable_password": "false"})
    body = {"password1": "next-Secret-99", "password2": "next-Secret-99", "usable_password": "true"}
    response = client.post(f"/admin/auth/user/{bob.pk}/password/", body)

    assert response.status_code == 302
    bob.refresh_from_db()
    assert bob.check_password("next-Secret-99")
    assert Group.objects.get().name == "operators"
    recorded = {(entry.action, entry.detail["name"]) for entry in AuditEntry.objects.all()}
    assert {("group.create", "operators"), ("user.create", "cat"), ("user.change", "bob")} <= recorded
    assert "Secret" not in str(list(AuditEntry.objects.values()))


def test_the_policy_is_strict_with_one_exception_for_the_admin(client):
    admin = client.get("/admin/login/")["Content-Security-Policy"]
    other = client.get("/")["Content-Security-Policy"]

    assert "'unsafe-eval'" in admin
    assert "unsafe" not in other
    for policy in (admin, other):
        assert "default-src 'none'" in policy
        assert "http" not in policy
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert "'unsafe-inline'" not in directives["script-src"]


def test_the_sidebar_shows_only_what_the_user_may_see():
    html = client_with("jobs.view_job").get("/admin/").content.decode()
    assert 'href="/admin/jobs/job/"' in html
    for hidden in ("/admin/auth/user/", "/admin/jobs/auditentry/", "/admin/jobs/job/enqueue/"):
        assert hidden not in html


def test_ctrl_k_finds_jobs_and_schedules_that_the_user_may_see():
    make_job(id="abc-12345", task="selftest.echo")
    term = {"s": "abc-1234", "extended": "1"}
    assert "abc-12345" in client_with("jobs.view_job").get("/admin/search/", term).content.decode()
    assert "abc-12345" not in client_with(name="bob").get("/admin/search/", term).content.decode()
    assert (
        client_with("jobs.view_job", name="cat").get("/admin/search/", {"s": "\x00", "extended": "1"}).status_code
        == 200
    )


@pytest.mark.parametrize("page", ["/admin/jobs/", "/admin/django_celery_beat/", "/admin/auth/"])
def test_the_pages_of_the_apps_open(page):
    assert (
        client_with("jobs.view_job", "auth.view_user", "django_celery_beat.view_periodictask").get(page).status_code
        == 200
    )
