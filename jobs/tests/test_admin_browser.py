"""The admin in a real Chromium, with a real worker: enqueue, watch, fail, retry; and no page breaks the policy."""

from django.contrib.auth.models import User
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from django_celery_results.models import TaskResult

from jobs.models import Alert, Job, State
from jobs.operators.actors import command_actor
from jobs.operators.limits import pause
from jobs.tests.admin_helpers import job_page_url, page_of
from jobs.tests.chromium import HOSTILE, IN_CHROMIUM, Watched, browser, watched
from jobs.tests.factories import make_attempt, make_job
from jobs.tests.live import LiveWorkers
from jobs.tests.test_effects_operators import make_effect

pytestmark = IN_CHROMIUM
__all__ = ["browser", "watched"]


def test_a_job_is_enqueued_watched_failed_and_retried(watched: Watched, live_worker: LiveWorkers) -> None:
    live_worker("default")
    page = watched.page

    watched.open("/admin/jobs/job/enqueue/?task=selftest.echo")
    page.fill("[name=parameter_value]", '"hello"')
    page.click("button:text-is('Enqueue')")
    # The page follows the job by itself.
    page.wait_for_selector("#job-status[data-state=succeeded]")
    page.wait_for_selector("pre:has-text('hello')")

    watched.open("/admin/jobs/job/enqueue/?task=selftest.fail")
    page.fill("[name=parameter_message]", HOSTILE)
    page.fill("[name=parameter_times]", "4")
    page.click("button:text-is('Enqueue')")
    page.wait_for_selector("#job-status[data-state=failed]")
    page.click("summary:has-text('Traceback of attempt 4')")
    page.wait_for_selector("pre:has-text('Traceback')")

    page.click("a:text-is('Retry')")
    page.click("button:text-is('Retry')")
    page.wait_for_selector("text=1 job retried.")
    page.wait_for_selector("#job-status[data-state=succeeded]")
    page.wait_for_selector("pre:has-text('succeeded at attempt 5')")
    assert watched.problems == []


def test_chosen_rows_are_retried_from_the_list(watched: Watched) -> None:
    failed = [make_job(State.FAILED, error="boom") for _ in range(2)]
    page = watched.page

    watched.open("/admin/jobs/job/?state=failed")
    for box in page.query_selector_all("input.action-select"):
        box.check()
    page.select_option("select[name=action]", "retry_selected")
    page.click("button[name=index]")
    page.click("button:has-text('Retry 2 jobs')")

    page.wait_for_selector("text=2 jobs retried.")
    assert not Job.objects.filter(pk__in=[job.pk for job in failed], state=State.FAILED).exists()
    assert watched.problems == []


def test_no_page_breaks_the_policy_or_runs_what_came_from_outside(watched: Watched) -> None:
    job = make_job(State.FAILED, args=[HOSTILE], kwargs={HOSTILE: HOSTILE}, error=HOSTILE, worker=HOSTILE)
    make_attempt(job, message=HOSTILE, traceback=HOSTILE, worker=HOSTILE)
    pause(command_actor(), "queue", "default", reason=HOSTILE)
    running = make_job(State.RUNNING, progress=0.3, progress_note=HOSTILE)
    result = TaskResult.objects.create(task_id=job.pk, task_name=HOSTILE, status="SUCCESS", result=HOSTILE)
    every = IntervalSchedule.objects.create(every=1, period="hours")
    schedule = PeriodicTask.objects.create(name=HOSTILE, task="selftest.echo", args="[1]", interval=every)
    beat, results = "django_celery_beat_periodictask", "django_celery_results_taskresult"

    pages = ["/admin/", "/admin/jobs/job/", "/admin/jobs/job/?q=x:1", "/admin/jobs/job/enqueue/"]
    pages += [job_page_url(job, page) for page in ("change", "retry", "edit", "discard")]
    pages += [job_page_url(running), job_page_url(running, "cancel"), "/admin/jobs/job/enqueue/?task=selftest.effect"]
    pages += [page_of(beat), page_of(beat, "add"), page_of(beat, "change", schedule.pk)]
    pages += [page_of(beat, "delete", schedule.pk), page_of("django_celery_beat_crontabschedule")]
    pages += [page_of(results), page_of(results, "change", result.pk), page_of("jobs_worker")]
    pages += [page_of("jobs_limit"), "/admin/jobs/limit/scope/?scope=queue&name=default"]
    pages += [page_of("jobs_auditentry"), page_of("jobs_apitoken"), page_of("jobs_apitoken", "add")]
    pages += [page_of("auth_user"), page_of("auth_user", "add"), page_of("auth_user", "change", User.objects.get().pk)]
    pages += [page_of("auth_group", "add"), "/admin/password_change/"]
    effect = make_effect(HOSTILE, kind=HOSTILE[:60], target=HOSTILE, error=HOSTILE, receipt=HOSTILE, job=job)
    pages += [page_of("jobs_effect"), *(page_of("jobs_effect", page, effect.pk) for page in ("change", "decide"))]
    now = timezone.now()
    alert = Alert.objects.create(
        name=HOSTILE[:100], kind="failed", threshold=1, webhook_url="https://x.example/", changed_by=HOSTILE,
        breached_since=now, fired_at=now, firing_since=now,
    )  # fmt: skip
    alert.events.create(kind="fired", text=HOSTILE).deliveries.create(channel="webhook", error=HOSTILE)
    pages += [page_of("jobs_alert"), page_of("jobs_alert", "add"), "/admin/"]
    pages += [page_of("jobs_alert", page, alert.pk) for page in ("change", "edit", "remove")]
    for path in pages:
        watched.open(path)

    assert watched.problems == []


def test_a_schedule_shows_only_the_fields_of_its_kind(watched: Watched) -> None:
    watched.open(page_of("django_celery_beat_periodictask", "add"))
    page = watched.page
    page.select_option("#id_kind", "crontab")
    assert page.is_visible("#id_cron")
    assert not page.is_visible("#id_every")
    page.fill("#id_name", "Nightly echo")
    page.select_option("#id_task", "selftest.echo")
    page.fill("#id_args", "[1]")
    page.fill("#id_cron", "30 2 * * *")
    page.click("button[name=_save]")

    page.wait_for_selector("td:has-text('at 02:30 daily')")
    page.click("summary")
    assert page.locator("details li").count() >= 5
    assert watched.problems == []
