"""What can be done from the admin: by whom, how, and what is said and written down about it."""

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from jobs.models import AuditEntry, Job, State
from jobs.tests.admin_helpers import LIST, client_with, job_page_url, said, user_with
from jobs.tests.factories import make_job

pytestmark = pytest.mark.django_db
PERMISSIONS = {
    "retry": "jobs.retry_job",
    "edit": "jobs.edit_job_arguments",
    "cancel": "jobs.cancel_job",
    "discard": "jobs.discard_job",
}
FROM = {"retry": State.FAILED, "edit": State.FAILED, "cancel": State.QUEUED, "discard": State.FAILED}
TO = {"retry": State.QUEUED, "edit": State.QUEUED, "cancel": State.CANCELLED, "discard": State.DISCARDED}
BODY = {"args": "[1]", "kwargs": "{}", "reason": "no longer wanted"}


def state_of(job: Job) -> str:
    return Job.objects.get(pk=job.pk).state


@pytest.mark.parametrize("page", PERMISSIONS)
def test_each_action_on_a_page_needs_its_own_permission(page):
    job = make_job(FROM[page])
    client = client_with("jobs.view_job", *(p for name, p in PERMISSIONS.items() if name != page))

    assert client.post(job_page_url(job, page), BODY).status_code == 403
    assert client.get(job_page_url(job, page)).status_code == 403
    assert f"/{page}/" not in client.get(job_page_url(job)).content.decode()
    assert state_of(job) == FROM[page]
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("page", PERMISSIONS)
def test_a_get_asks_and_a_post_acts(page):
    job = make_job(FROM[page])
    client = client_with("jobs.view_job", PERMISSIONS[page], "jobs.retry_job")

    assert client.get(job_page_url(job, page)).status_code == 200
    assert client.head(job_page_url(job, page)).status_code == 200
    assert state_of(job) == FROM[page]

    response = client.post(job_page_url(job, page), BODY)

    assert response.status_code == 302
    assert said(response).startswith("1 job ")
    assert state_of(job) == TO[page]
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.via, entry.target) == ("ann", "admin", job.pk)


@pytest.mark.parametrize("page", PERMISSIONS)
def test_a_post_without_its_token_is_refused(page):
    job = make_job(FROM[page])
    client = Client(enforce_csrf_checks=True)
    client.force_login(user_with("jobs.view_job", PERMISSIONS[page], "jobs.retry_job"))

    assert client.post(job_page_url(job, page), BODY).status_code == 403
    assert state_of(job) == FROM[page]


@pytest.mark.parametrize("page", PERMISSIONS)
def test_nobody_outside_the_staff_comes_in(page):
    job = make_job(FROM[page])
    assert Client().post(job_page_url(job, page), BODY).status_code == 302
    assert state_of(job) == FROM[page]


@pytest.mark.parametrize("page", ["retry", "cancel", "discard"])
def test_an_action_that_comes_too_late_says_why_it_changed_nothing(page):
    job = make_job(State.SUCCEEDED)

    response = client_with("jobs.view_job", PERMISSIONS[page]).post(job_page_url(job, page))

    assert said(response).startswith("0 jobs ")
    assert "is succeeded" in said(response)
    assert state_of(job) == State.SUCCEEDED


def test_the_page_offers_only_what_the_state_allows():
    client = client_with("jobs.view_job", *PERMISSIONS.values())
    offered = {
        state: [button["name"] for button in client.get(job_page_url(make_job(state))).context["buttons"]]
        for state in State.values
    }
    assert offered == {
        "scheduled": ["cancel", "discard"],
        "queued": ["cancel", "discard"],
        "running": ["cancel"],
        "succeeded": [],
        "failed": ["retry", "edit", "discard"],
        "cancelled": ["retry", "edit", "discard"],
        "discarded": [],
    }


def test_a_bulk_action_asks_first_and_then_says_how_many_changed_and_why_not():
    failed = [make_job(State.FAILED) for _ in range(2)]
    done = make_job(State.SUCCEEDED)
    client = client_with("jobs.view_job", "jobs.retry_job")
    body = {"action": "retry_selected", ACTION_CHECKBOX_NAME: [job.pk for job in (*failed, done)]}

    asked = client.post(LIST, body)
    assert "Retry 3 jobs?" in asked.content.decode()
    assert {state_of(job) for job in failed} == {State.FAILED}

    response = client.post(LIST, {**body, "confirmed": "yes"})

    assert said(response) == (
        "2 jobs retried; 1 not: 1 because it is succeeded; only a failed or cancelled job can be retried."
    )
    assert {state_of(job) for job in failed} == {State.QUEUED}
    assert AuditEntry.objects.filter(action="job.retry").count() == 2


def test_a_bulk_discard_keeps_the_reason():
    job = make_job(State.QUEUED)
    client = client_with("jobs.view_job", "jobs.discard_job")
    body = {"action": "discard_selected", ACTION_CHECKBOX_NAME: [job.pk], "confirmed": "yes", "reason": "superseded"}

    client.post(LIST, body)

    assert Job.objects.get(pk=job.pk).reason == "superseded"
    assert AuditEntry.objects.get().detail["reason"] == "superseded"


@pytest.mark.parametrize("name", ["retry", "cancel", "discard"])
def test_a_bulk_action_without_its_permission_is_neither_shown_nor_run(name):
    job = make_job(FROM[name])
    client = client_with("jobs.view_job", *(p for page, p in PERMISSIONS.items() if page != name))

    assert f"{name}_selected" not in client.get(LIST).content.decode()
    client.post(LIST, {"action": f"{name}_selected", ACTION_CHECKBOX_NAME: [job.pk], "confirmed": "yes"})

    assert state_of(job) == FROM[name]


def test_a_bulk_action_never_means_rows_that_were_not_ticked():
    ticked, other = make_job(State.FAILED), make_job(State.FAILED)
    client = client_with("jobs.view_job", "jobs.retry_job")
    body = {"action": "retry_selected", "select_across": "1", "confirmed": "yes", ACTION_CHECKBOX_NAME: [ticked.pk]}

    client.post(LIST, body)

    assert (state_of(ticked), state_of(other)) == (State.QUEUED, State.FAILED)


# --- edited arguments ---


@pytest.fixture
def editor(db):
    return client_with("jobs.view_job", "jobs.retry_job", "jobs.edit_job_arguments")


def test_a_retry_with_edited_arguments_takes_them(editor):
    job = make_job(State.FAILED, task="selftest.sleep", args=[], kwargs={"seconds": 5})

    html = editor.get(job_page_url(job, "edit")).content.decode()
    assert "&quot;seconds&quot;: 5" in html
    editor.post(job_page_url(job, "edit"), {"args": "[]", "kwargs": '{"seconds": 0.5}'})

    job.refresh_from_db()
    assert (job.state, job.kwargs) == (State.QUEUED, {"seconds": 0.5})
    assert AuditEntry.objects.get().detail["arguments_edited"] is True


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"args": "[1", "kwargs": "{}"}, "This is not JSON"),
        ({"args": "{}", "kwargs": "{}"}, "Expected a list"),
        ({"args": "[]", "kwargs": "[]"}, "Expected an object"),
        ({"args": "[NaN]", "kwargs": "{}"}, "NaN is not JSON"),
        ({"args": "[" * 2000 + "]" * 2000, "kwargs": "{}"}, "nested"),
        ({"args": "[]", "kwargs": '{"nonsense": 1}'}, "cannot be called so"),
        ({"args": '["soon"]', "kwargs": "{}"}, "seconds must be float"),
    ],
)
def test_edited_arguments_that_do_not_fit_are_told_and_kept_on_the_page(editor, body, told):
    job = make_job(State.FAILED, task="selftest.sleep", args=[5])

    response = editor.post(job_page_url(job, "edit"), body)

    assert response.status_code == 200
    assert told in response.content.decode()
    assert response.context["form"]["kwargs"].value() == body["kwargs"]
    assert state_of(job) == State.FAILED


def test_edited_arguments_may_hold_any_json(editor):
    job = make_job(State.FAILED, args=[1])
    response = editor.post(job_page_url(job, "edit"), {"args": '["\\ud800 \\u0000 <b>"]', "kwargs": "{}"})
    assert response.status_code in (200, 302)


# --- enqueue ---

ENQUEUE = f"{LIST}enqueue/"


@pytest.fixture
def sender(db):
    return client_with("jobs.view_job", "jobs.enqueue_job")


def test_enqueueing_needs_its_permission():
    client = client_with("jobs.view_job", "jobs.add_job")
    assert client.get(ENQUEUE).status_code == 403
    assert client.post(ENQUEUE, {"task": "selftest.echo", "parameter_value": "1"}).status_code == 403
    assert "Enqueue a job" not in client.get(LIST).content.decode()
    assert not Job.objects.exists()


def test_the_page_has_a_field_for_each_parameter_and_sends_what_was_typed(sender):
    html = sender.get(ENQUEUE, {"task": "selftest.sleep"}).content.decode()
    assert 'name="parameter_seconds"' in html
    assert 'name="parameter_steps"' in html

    response = sender.post(
        ENQUEUE,
        {
            "task": "selftest.sleep",
            "parameter_seconds": "1.5",
            "queue": "fast_lane",
            "priority": "9",
            "unique_key": "k",
        },
    )

    job = Job.objects.get()
    assert response.url == job_page_url(job)
    assert (job.task, job.args, job.kwargs) == ("selftest.sleep", [], {"seconds": 1.5})
    assert (job.queue, job.priority, job.unique_key, job.origin, job.origin_detail) == (
        *("fast_lane", 9, "k"),
        *("admin", "ann"),
    )
    assert AuditEntry.objects.get().action == "job.enqueue"


@pytest.mark.parametrize(
    ("typed", "value"), [('"text"', "text"), ("[1, null]", [1, None]), ("0", 0), ("false", False), ("null", None)]
)
def test_a_parameter_of_any_type_takes_json(sender, typed, value):
    response = sender.post(ENQUEUE, {"task": "selftest.echo", "parameter_value": typed})
    if value is None:  # required, and null is a value too
        assert response.status_code in (200, 302)
    if response.status_code == 302:
        assert Job.objects.get().kwargs == {"value": value}


def test_the_same_key_again_leads_to_the_job_that_holds_it(sender):
    body = {"task": "selftest.echo", "parameter_value": "1", "unique_key": "only one"}
    first = sender.post(ENQUEUE, body)
    second = sender.post(ENQUEUE, body)

    assert second.url == first.url
    assert "No new job" in said(second)
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"parameter_seconds": ""}, "parameter_seconds"),
        ({"parameter_seconds": "soon"}, "parameter_seconds"),
        ({"parameter_seconds": "inf"}, "parameter_seconds"),
        ({"parameter_seconds": "1", "parameter_steps": "1.5"}, "parameter_steps"),
        ({"parameter_seconds": "1", "priority": "12"}, "priority"),
        ({"parameter_seconds": "1", "queue": "nowhere"}, "queue"),
        ({"parameter_seconds": "1", "run_at": "2001-01-01T00:00"}, "run_at"),
        ({"parameter_seconds": "1", "run_at": "2999-01-01T00:00"}, "run_at"),
        ({"parameter_seconds": "1", "run_at": "soon"}, "run_at"),
        ({"parameter_seconds": "1", "unique_key": "k" * 256}, "unique_key"),
        ({"parameter_seconds": "1", "unique_key": "a\x00b"}, "unique_key"),
    ],
)
def test_a_wrong_value_is_told_at_its_field_and_the_input_kept(sender, body, field):
    response = sender.post(ENQUEUE, {"task": "selftest.sleep", **body})

    assert response.status_code == 200
    form = response.context["form"]
    assert list(form.errors) == [field]
    assert form[field].value() == body.get(field, "")
    assert not Job.objects.exists()


@pytest.mark.parametrize("task", ["no.such.task", "celery.backend_cleanup", "<script>", "\x00"])
def test_an_unknown_task_is_told(sender, task):
    response = sender.get(ENQUEUE, {"task": task})
    assert "There is no task" in response.content.decode()
    assert "<script>'" not in response.content.decode()
    assert sender.post(ENQUEUE, {"task": task}).status_code == 200


@pytest.mark.parametrize(
    "page", ["jobs_job", "django_celery_beat_periodictask", "auth_user", "auth_group", "reviews_repository"]
)
@pytest.mark.parametrize("key", ["abc", "\x00", "\ud800", "99999999999999999999999"])
@pytest.mark.parametrize("action", ["delete_selected", "enable_selected", "discard_selected"])
def test_ticked_rows_that_cannot_be_are_refused_in_words(admin_client, page, key, action):
    answer = admin_client.post(
        reverse(f"admin:{page}_changelist"), {"action": action, "_selected_action": key.encode("utf-8", "ignore")}
    )

    assert answer.status_code in (200, 302, 400)


def test_a_bulk_reason_is_cleaned_and_cut_like_any_other(admin_client):
    job = make_job(State.FAILED)

    admin_client.post(
        reverse("admin:jobs_job_changelist"),
        {"action": "discard_selected", "_selected_action": job.pk, "confirmed": "1", "reason": "a\x00b" + "c" * 5000},
    )

    job.refresh_from_db()
    assert job.state == State.DISCARDED
    assert job.reason.startswith("a\ufffdb")
    assert len(job.reason) == 1000


def test_only_a_superuser_edits_a_superuser(client):
    boss = User.objects.create_superuser("boss")
    keeper = User.objects.create_user("keeper", is_staff=True)
    keeper.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    client.force_login(keeper)

    password = {"password1": "new-Secret-123", "password2": "new-Secret-123", "usable_password": "true"}
    assert client.post(reverse("admin:auth_user_password_change", args=[boss.pk]), password).status_code == 403
    page = client.get(reverse("admin:auth_user_change", args=[keeper.pk]))
    assert b'name="is_superuser"' not in page.content
