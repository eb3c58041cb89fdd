"""The list of jobs and the page of one: what they show, find, count, and leave inert."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_results.models import TaskResult

from jobs.admin import paginator
from jobs.models import Job, State
from jobs.operators import search
from jobs.tests.admin_helpers import LIST, client_with, job_page_url
from jobs.tests.factories import make_attempt, make_job

pytestmark = pytest.mark.django_db
HOSTILE = '<script>alert(1)</script> javascript:alert(2) " x-init="alert(3)" \' {{ 7*7 }} <img src=x onerror=alert(4)>'


@pytest.fixture
def viewer(db):
    return client_with("jobs.view_job")


def found(response) -> set[str]:
    return {job.pk for job in response.context["cl"].result_list}


def test_the_list_needs_the_permission_to_view():
    assert client_with("jobs.retry_job").get(LIST).status_code == 403


@pytest.mark.parametrize("state", State.values)
def test_every_state_is_shown_in_words(viewer, state):
    job = make_job(state)

    html = viewer.get(LIST).content.decode()

    assert f'sy-pill-{state}">{state}</span>' in html
    assert job_page_url(job) in html
    assert viewer.get(job_page_url(job)).status_code == 200


def test_a_failed_row_shows_its_error_and_a_running_one_its_progress(viewer):
    make_job(State.FAILED, error="ValueError: no such repository\nsecond line")
    make_job(State.RUNNING, progress=0.4, progress_note="batch 3 of 8")

    html = viewer.get(LIST).content.decode()

    assert "ValueError: no such repository second line" in html
    assert 'value="40"' in html
    assert "batch 3 of 8" in html


@pytest.mark.parametrize(
    ("term", "args", "kwargs"),
    [
        ("user:7", [], {"user": 7}),
        ("user:ann", [], {"user": "ann"}),
        ('user:"7"', [], {"user": "7"}),
        ("7", [1, 7], {}),
        ("wanted", ["wanted"], {}),
        ("wanted", [], {"any": "wanted"}),
        ("true", [], {"any": True}),
    ],
)
def test_a_job_is_found_by_an_argument(viewer, term, args, kwargs):
    wanted = make_job(id="j-wanted", args=args, kwargs=kwargs)
    make_job(id="j-other", args=["not"], kwargs={"other": "this"})

    response = viewer.get(LIST, {"q": term})

    assert found(response) == {wanted.pk}
    assert "newest 100,000 jobs" in response.content.decode()


def test_a_job_is_found_by_the_beginning_of_its_id_and_by_its_task(viewer):
    by_id = make_job(id="abc-12345")
    by_task = make_job(id="xyz-9", task="selftest.fail")

    assert found(viewer.get(LIST, {"q": "abc-1234"})) == {by_id.pk}
    assert found(viewer.get(LIST, {"q": "selftest.fa"})) == {by_task.pk}
    assert found(viewer.get(LIST, {"q": "nowhere"})) == set()


@pytest.mark.parametrize("term", ["\x00", "%", "' OR 1=1 --", "a:{", ":", "a:", "[", "NaN", "9" * 5000, "\\", "💥"])
def test_odd_searches_find_nothing_and_break_nothing(viewer, term):
    make_job()
    response = viewer.get(LIST, {"q": term})
    assert response.status_code == 200
    assert "\x00" in term or found(response) == set()  # Django's own form refuses a NUL, saying so


def test_an_argument_search_looks_at_the_newest_jobs_only(viewer, monkeypatch):
    monkeypatch.setattr(search, "NEWEST", 5)
    long_ago = timezone.now() - timedelta(days=9)
    make_job(id="old", args=["wanted"], created_at=long_ago)
    for _ in range(6):
        make_job(args=["other"])
    new = make_job(id="new", args=["wanted"])

    assert found(viewer.get(LIST, {"q": "wanted"})) == {new.pk}


def test_filters_narrow_the_list(viewer):
    wanted = make_job(State.FAILED, queue="fast_lane", task="selftest.fail", worker="w1@h")
    make_job(State.SUCCEEDED)
    make_job(State.QUEUED, queue="fast_lane")

    for query in (
        {"state": "failed"},
        {"task": "selftest.fail"},
        {"queue": "fast_lane", "state": "failed"},
        {"worker": "w1@h"},
        {"finished": "24h", "state": "failed"},
    ):
        assert found(viewer.get(LIST, query)) == {wanted.pk}, query
    assert len(found(viewer.get(LIST, {"state": "unfinished"}))) == 1


def test_the_time_filter_takes_either_end(viewer):
    now = timezone.now()
    old = make_job(created_at=now - timedelta(days=3))
    new = make_job(created_at=now)
    day_ago = f"{now - timedelta(days=1):%Y-%m-%dT%H:%M}"

    assert found(viewer.get(LIST, {"created_after": day_ago})) == {new.pk}
    assert found(viewer.get(LIST, {"created_before": day_ago})) == {old.pk}


@pytest.mark.parametrize(
    "query",
    [
        {"state": "nonsense"},
        {"queue": "\x00"},
        {"worker": "\x00"},
        {"schedule": "'"},
        {"finished": "3y"},
        {"created_after": "tomorrow"},
        {"created_before": "2026-99-99T00:00"},
        {"created_after": "0001-01-01T00:00"},
        {"p": "0"},
        {"o": "1.2.3"},
    ],
)
def test_odd_filters_break_nothing(viewer, query):
    make_job()
    assert viewer.get(LIST, query, follow=True).status_code == 200


def test_a_lookup_that_no_filter_offers_is_refused(viewer):
    assert viewer.get(LIST, {"error__icontains": "x"}).status_code == 400


def test_a_big_list_is_counted_up_to_the_cap_and_no_further(viewer, monkeypatch):
    monkeypatch.setattr(paginator, "CAP", 2_000)
    now = timezone.now()
    Job.objects.bulk_create(
        Job(id=f"{number:05}", task="selftest.echo", queue="default", run_at=now, created_at=now)
        for number in range(3_000)
    )

    with CaptureQueriesContext(
        connection,
    ) as captured:
        html = viewer.get(LIST).content.decode()

    assert "2,000+ jobs" in html
    assert "3000" not in html
    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 2001" in sql for sql in counts), counts
    assert not [query["sql"] for query in captured if "DISTINCT" in query["sql"]]


def test_the_list_reads_neither_big_columns_nor_a_row_at_a_time(viewer):
    make_job()
    with CaptureQueriesContext(connection) as few:
        viewer.get(LIST)
    for _ in range(20):
        make_job(State.FAILED, error="x")
    with CaptureQueriesContext(connection) as many:
        viewer.get(LIST)

    assert len(many) == len(few)
    assert not [query["sql"] for query in many if '"embed"' in query["sql"]]


def test_outside_text_is_inert_wherever_it_is_shown(viewer):
    job = make_job(
        State.FAILED,
        args=[HOSTILE],
        kwargs={HOSTILE: HOSTILE},
        error=HOSTILE,
        worker=HOSTILE,
        reason=HOSTILE,
        origin_detail=HOSTILE[:200],
        unique_key=HOSTILE,
    )
    make_attempt(job, worker=HOSTILE, message=HOSTILE, traceback=HOSTILE, error_class=HOSTILE)
    TaskResult.objects.create(task_id=job.pk, task_name=HOSTILE, status="SUCCESS", result=f'"{HOSTILE}"')

    for url in (LIST, job_page_url(job)):
        html = viewer.get(url).content.decode()
        assert "alert(1)" in html
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert ' x-init="alert' not in html
        assert 'href="javascript:' not in html


def test_the_page_shows_attempts_arguments_result_and_relatives(viewer):
    parent = make_job(State.SUCCEEDED, id="the-parent")
    job = make_job(State.SUCCEEDED, id="a/b c", args=[1], kwargs={"name": "x"}, parent_id=parent.pk, root_id=parent.pk)
    child = make_job(id="the-child", parent_id=job.pk, root_id=parent.pk)
    make_attempt(job, 1, error_class="ValueError", message="first", traceback="Traceback: here", outcome="failed")
    make_attempt(job, 2, outcome="succeeded")
    TaskResult.objects.create(task_id=job.pk, status="SUCCESS", result='{"found": 3}')

    html = viewer.get(job_page_url(job)).content.decode()

    for text in ("ValueError", "Traceback: here", "&quot;found&quot;: 3", "&quot;name&quot;: &quot;x&quot;"):
        assert text in html
    for relative in (parent, child):
        assert job_page_url(relative) in html


def test_a_missing_job_is_told_and_not_an_error(viewer):
    for pk in ("no-such-job", "%00", "_2F"):
        response = viewer.get(f"{LIST}{pk}/change/", follow=True)
        assert response.status_code == 200
        assert "There is no job" in response.content.decode()


def test_the_status_tells_progress_while_the_job_runs(viewer):
    job = make_job(State.RUNNING, progress=0.25, progress_note="<b>quarter</b>")

    status = viewer.get(job_page_url(job, "status")).json()

    assert status == {
        "state": "running",
        "attempt": 1,
        "progress": 25,
        "note": "<b>quarter</b>",
        "cancelling": False,
        "finished": False,
    }


@pytest.mark.parametrize("page", ["add", "x/delete"])
def test_jobs_are_neither_added_nor_deleted_by_hand(page):
    staff = client_with("jobs.view_job", "jobs.add_job", "jobs.change_job", "jobs.delete_job")
    make_job(id="x")
    assert staff.get(f"{LIST}{page}/").status_code == 403


def test_the_first_page_leads_to_the_rows_that_it_counts(viewer):
    for _ in range(3):
        make_job(State.FAILED, error="boom")
    make_job(State.FAILED, finished_at=timezone.now() - timedelta(days=2))
    make_job(State.RUNNING)
    make_job(State.QUEUED, queue="fast_lane")

    response = viewer.get("/admin/")

    tiles = {tile["label"]: tile for tile in response.context["tiles"]}
    assert {label: tile["count"] for label, tile in tiles.items()} == {
        "running": 1,
        "queued": 1,
        "scheduled": 0,
        "failed in 24 hours": 3,
    }
    for tile in tiles.values():
        assert viewer.get(tile["url"]).context["cl"].result_count == tile["count"]
    links = re.findall(r'href="(/admin/jobs/job/\?[^"]*queue=fast_lane[^"]*)"', response.content.decode())
    assert viewer.get(links[0].replace("&amp;", "&")).context["cl"].result_count == 1


def test_the_first_page_says_where_jobs_wait_and_nobody_works(viewer):
    make_job(State.QUEUED, queue="embedding")
    response = viewer.get("/admin/")
    deserted = [queue["name"] for queue in response.context["queues"] if queue["deserted"]]
    assert deserted == ["embedding"]
    assert 'sy-pill-bad">none<' in response.content.decode()


def test_the_first_page_shows_nothing_that_the_user_may_not_see():
    make_job(State.FAILED, error="secret of others")
    html = client_with().get("/admin/").content.decode()
    assert "secret of others" not in html
    assert "Ask whoever manages users" in html
