"""What operators see of effects and decide about them: one service behind the admin, REST and the command."""

import json
import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from jobs import retention
from jobs.models import AuditEntry, Effect, EffectState, Job, State
from jobs.tests.admin_helpers import client_with, job_page_url, page_of, said
from jobs.tests.api_client import caller, person, post, problem
from jobs.tests.factories import make_job

pytestmark = pytest.mark.django_db
V1 = "/api/v1/effects/"
LIST = "/admin/jobs/effect/"


def make_effect(key: str = "k", state: str = "uncertain", job: Job | None = None, **fields: Any) -> Effect:
    """A row in this state, with the columns that it demands."""
    tried = state in ("tried", "uncertain", "done")
    values: dict[str, Any] = {"kind": "mail", "target": "ann@example.org", "identity": key, "attempts": int(tried)}
    values |= {"key": key, "state": state, "job_id": job.pk if job else None, **fields}
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now = cursor.fetchone()[0]
    values |= {"created_at": now, "tried_at": now if tried else None, "deadline_at": now if tried else None}
    values |= {"done_at": now if state == "done" else None, "try_id": uuid.uuid4() if state == "tried" else None}
    return Effect.objects.create(**values)


# --- REST ------------------------------------------------------------------------------------------------------------


def test_the_list_is_filtered_and_paged(api: Client) -> None:
    job = make_job(State.FAILED)
    for number in range(3):
        make_effect(f"mail:{number}", "uncertain" if number else "done", job)
    make_effect("other", kind="comment")

    def keys(query: str) -> list[str]:
        return [row["key"] for row in api.get(f"{V1}?{query}").json()["results"]]

    assert keys("") == ["other", "mail:2", "mail:1", "mail:0"]
    assert keys("state=uncertain&state=done&kind=mail") == ["mail:2", "mail:1", "mail:0"]
    assert keys("state=uncertain&search=mail:") == ["mail:2", "mail:1"]
    assert keys(f"job={job.pk}&state=done") == ["mail:0"]
    first = api.get(f"{V1}?page_size=3").json()
    rest = api.get(first["next"]).json()
    assert [row["key"] for row in rest["results"]] == ["mail:0"]
    assert [row["key"] for row in api.get(rest["previous"]).json()["results"]] == ["other", "mail:2", "mail:1"]


def test_what_is_sent_is_not_shown(api: Client) -> None:
    effect = make_effect(request=b"private")

    assert "private" not in api.get(f"{V1}{effect.pk}/").content.decode()
    assert (
        "private"
        not in client_with("jobs.view_effect").get(page_of("jobs_effect", "change", effect.pk)).content.decode()
    )


@pytest.mark.parametrize(
    "query", ["state=lost", "cursor=x", "page_size=0", "order=1", "cursor=WyJuZXh0IiwiMjAyNi0xMS0yMVQwMDowMFoiLCJ4Il0"]
)
def test_a_parameter_that_makes_no_sense_is_refused(api: Client, query: str) -> None:
    problem(api.get(f"{V1}?{query}"), 400)


@pytest.mark.parametrize("number", ["1", "9" * 30, "0"])
def test_an_unknown_number_is_not_found(api: Client, number: str) -> None:
    problem(api.get(f"{V1}{number}/"), 404)
    problem(post(api, f"{V1}{number}/decide/", {"happened": True}), 404)


@pytest.mark.parametrize(("happened", "state"), [(True, "done"), (False, "failed")])
def test_a_decision_is_kept_with_who_and_why(api: Client, happened: bool, state: str) -> None:
    job = make_job(State.FAILED)
    effect = make_effect(job=job)

    answer = post(api, f"{V1}{effect.pk}/decide/", {"happened": happened, "reason": "asked Ann", "retry": True}).json()

    assert (answer["state"], answer["decided_by"], answer["decision_reason"]) == (state, "root", "asked Ann")
    assert answer["job_retried"]
    job.refresh_from_db()
    assert job.state == State.QUEUED
    entry = AuditEntry.objects.get(action="effect.decide")
    assert (entry.target, entry.detail["decided"]) == ("k", "happened" if happened else "not happened")


@pytest.mark.parametrize("state", ["intended", "done", "failed"])
def test_there_is_nothing_to_decide_about_what_is_known(api: Client, state: str) -> None:
    effect = make_effect(state=state)

    assert effect.state in problem(post(api, f"{V1}{effect.pk}/decide/", {"happened": True}), 409)["detail"]
    assert not AuditEntry.objects.filter(action="effect.decide").exists()


def test_deciding_about_what_is_done_offers_the_retry_of_a_failed_job(api: Client) -> None:
    job = make_job(State.FAILED)
    effect = make_effect(state="done", job=job)

    said = problem(post(api, f"{V1}{effect.pk}/decide/", {"happened": True}), 409)["detail"]

    assert "known to have happened at " in said
    assert f"manage.py jobs retry {job.pk}" in said


def test_who_loses_the_race_to_decide_is_told_the_state_that_won(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    effect = make_effect()

    def another_was_first(*args: Any, **kwargs: Any) -> bool:
        Effect.objects.update(state="failed")
        return False

    monkeypatch.setattr("jobs.ledger.effects.decide", another_was_first)
    said = problem(post(api, f"{V1}{effect.pk}/decide/", {"happened": True}), 409)["detail"]

    assert "is failed: it did not happen" in said


def test_a_try_is_decided_about_only_after_its_deadline(api: Client) -> None:
    effect = make_effect(state="tried")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_effect SET deadline_at = clock_timestamp() + interval '1 hour'")
    problem(post(api, f"{V1}{effect.pk}/decide/", {"happened": True}), 409)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_effect SET deadline_at = clock_timestamp() - interval '1 hour'")

    assert post(api, f"{V1}{effect.pk}/decide/", {"happened": True}).json()["state"] == "done"


@pytest.mark.parametrize("body", [{}, {"happened": 1}, {"happened": "true"}, {"happened": True, "why": ""}, []])
def test_a_body_that_decides_nothing_is_refused(api: Client, body: Any) -> None:
    effect = make_effect()

    problem(post(api, f"{V1}{effect.pk}/decide/", body), 400)


def test_seeing_and_deciding_need_their_permissions() -> None:
    effect = make_effect(job=make_job(State.FAILED))
    nobody, viewer = caller(person("nobody")), caller(person("viewer", "jobs.view_effect"))
    decider = caller(person("decider", "jobs.decide_effect"))

    problem(nobody.get(V1), 403)
    problem(nobody.get(f"{V1}{effect.pk}/"), 403)
    assert viewer.get(V1).status_code == 200
    problem(post(viewer, f"{V1}{effect.pk}/decide/", {"happened": True}), 403)
    problem(post(decider, f"{V1}{effect.pk}/decide/", {"happened": True, "retry": True}), 403)
    assert Effect.objects.get().state == EffectState.UNCERTAIN
    assert post(decider, f"{V1}{effect.pk}/decide/", {"happened": True}).status_code == 200


# --- The command -----------------------------------------------------------------------------------------------------


def command(*args: Any) -> str:
    out = StringIO()
    call_command("effects", *args, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_command_lists_the_uncertain_first_and_decides() -> None:
    job = make_job(State.FAILED)
    effect = make_effect("old and uncertain", job=job)
    make_effect("new and done", "done")

    rows = json.loads(command("list", "--json"))
    assert [row["key"] for row in rows] == ["old and uncertain", "new and done"]
    assert "old and uncertain" in command("list", "--state", "uncertain", "--kind", "mail", "--job", job.pk)
    assert json.loads(command("show", str(effect.pk), "--json"))["state"] == "uncertain"
    assert "is failed; its job is retried" in command("decide", str(effect.pk), "not-happened", "--retry")
    with pytest.raises(CommandError, match="only an uncertain one is decided") as refused:
        command("decide", str(effect.pk), "happened")
    assert refused.value.returncode == 1
    with pytest.raises(CommandError, match="no effect") as unknown:
        command("show", "0")
    assert unknown.value.returncode == 2


# --- The admin -------------------------------------------------------------------------------------------------------


def test_the_admins_list_begins_with_the_uncertain() -> None:
    make_effect("uncertain one")
    make_effect("done one", "done")
    client = client_with("jobs.view_effect")

    page = client.get(LIST).content.decode()
    assert page.index("uncertain one") < page.index("done one")
    assert "1 uncertain, which wait for a person" in page
    assert "done one" not in client.get(f"{LIST}?state=uncertain").content.decode()
    assert "done one" not in client.get(f"{LIST}?q=uncertain").content.decode()
    assert "done one" not in client.get(f"{LIST}?copies=doubled").content.decode()
    assert client_with("jobs.view_job", name="bob").get(LIST).status_code == 403


@pytest.mark.parametrize("number", ["0", "x", "9" * 30])
def test_a_page_of_an_unknown_effect_leads_to_the_list(number: str) -> None:
    assert client_with("jobs.view_effect").get(f"{LIST}{number}/change/").status_code == 302


def test_an_effect_is_decided_on_its_page() -> None:
    job = make_job(State.FAILED)
    effect = make_effect(job=job)
    client = client_with("jobs.view_effect", "jobs.decide_effect", "jobs.retry_job")
    url = page_of("jobs_effect", "decide", effect.pk)
    assert url in client.get(page_of("jobs_effect", "change", effect.pk)).content.decode()
    assert "Did it happen?" in client.get(url).content.decode()

    response = client.post(url, {"answer": "happened", "reason": "seen", "retry": "yes"})

    assert said(response) == "1 decided, 1 job retried."
    effect.refresh_from_db()
    assert (effect.state, effect.decided_by) == (EffectState.DONE, "ann")


def test_several_are_decided_from_the_list() -> None:
    effects = [make_effect(f"k{number}") for number in range(2)]
    known = make_effect("known", "done")
    client = client_with("jobs.view_effect", "jobs.decide_effect")
    chosen = {"action": "decide_selected", "_selected_action": [effect.pk for effect in [*effects, known]]}
    assert "Did these 3 happen?" in client.post(LIST, chosen).content.decode()

    response = client.post(LIST, {**chosen, "answer": "not-happened"})

    assert said(response).startswith("2 decided, 0 jobs retried; 1 not: effect")
    assert Effect.objects.filter(state=EffectState.FAILED).count() == 2


def test_deciding_in_the_admin_needs_its_permission() -> None:
    effect = make_effect()
    client = client_with("jobs.view_effect")

    assert "Decide" not in client.get(page_of("jobs_effect", "change", effect.pk)).content.decode()
    assert client.post(page_of("jobs_effect", "decide", effect.pk), {"answer": "happened"}).status_code == 403
    assert Effect.objects.get().state == EffectState.UNCERTAIN


def test_a_jobs_page_lists_its_effects_for_those_who_may_see_them() -> None:
    job = make_job(State.FAILED)
    make_effect("k", job=job, target="ann@example.org", error="TimeoutError: no answer")

    shown = client_with("jobs.view_job", "jobs.view_effect").get(job_page_url(job)).content.decode()
    hidden = client_with("jobs.view_job", name="bob").get(job_page_url(job)).content.decode()

    assert "Outside effects" in shown
    assert "TimeoutError: no answer" in shown
    assert "Outside effects" not in hidden


def test_what_is_known_of_an_effect_goes_when_its_job_has_gone() -> None:
    job = make_job(State.SUCCEEDED)
    make_effect("of a job that is there", "done", job)
    make_effect("uncertain")
    make_effect("of no job", "done")
    make_effect("young", "done")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_effect SET created_at = created_at - interval '91 days' WHERE key <> 'young'")

    assert retention.clean_up()["effects"] == 1

    assert not Effect.objects.filter(key="of no job").exists()


def test_the_control_room_counts_the_uncertain_while_there_are_any() -> None:
    client = client_with("jobs.view_effect")
    assert "uncertain effects" not in client.get("/admin/").content.decode()

    make_effect()

    page = client.get("/admin/").content.decode()
    assert "<strong>1</strong><span>uncertain effects</span>" in page
    assert "/admin/jobs/effect/?state=uncertain" in page
