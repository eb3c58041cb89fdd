"""The operators' pages in a real Chromium, with a worker and a mail server: from a task to the mail that it led to."""

from collections.abc import Callable
from datetime import date, time
from typing import Any

import pytest

from jobs.tests.admin_helpers import page_of
from jobs.tests.chromium import HOSTILE, IN_CHROMIUM, Watched, browser, watched
from jobs.tests.live import LiveWorkers
from reminders.models import Channel, ReminderDelivery, ReminderRule, Todo
from reminders.services import scanning
from reminders.tests.factories import at, person, todo
from reminders.tests.post_office import PostOffice

__all__ = ["browser", "watched"]

pytestmark = [
    *IN_CHROMIUM,
    pytest.mark.timeout(900),  # a worker's start, a browser's, and a scan and a mail that are waited for
]


def url(model: str, page: str = "changelist", *args: Any) -> str:
    return page_of(f"reminders_{model}", page, *args)


def reloaded_until(page: Any, selector: str) -> None:
    """A worker does it meanwhile."""
    for _ in range(120):
        if page.query_selector(selector) is not None:
            return
        page.wait_for_timeout(500)
        page.reload()
    raise AssertionError(f"{page.url} never showed {selector}: {page.inner_text('main')[:1000]}")


def add_default_rule(watched: Watched) -> None:
    page: Any = watched.page
    watched.open(url("defaultrule"))
    page.click(f"a[href='{url('defaultrule', 'add')}']")
    page.fill("[name=person]", "anna")
    page.fill("[name=offset]", "soon")
    page.click("button:text-is('Save')")
    page.wait_for_selector("text='soon' is no duration")
    page.fill("[name=offset]", "-P1D")
    page.click("button:text-is('Save')")
    page.wait_for_selector("text=It is added; the tasks of anna are planned anew.")
    page.wait_for_selector("h2:has-text('anna, 1 day before it is due')")


def add_webhook(watched: Watched) -> None:
    """And switch it off, as nobody is there."""
    page: Any = watched.page
    watched.open(url("channel"))
    page.click(f"a[href='{url('channel', 'add')}']")
    page.fill("[name=person]", "anna")
    page.select_option("[name=kind]", "webhook")
    page.fill("[name=address]", "https://hooks.example.org/secret-path")
    page.fill("[name=label]", "on call")
    page.click("button:text-is('Save')")
    secret = page.input_value("#secret-text")
    assert secret == Channel.objects.get().secret.reveal()
    page.click("a:text-is('I have copied it')")
    page.wait_for_selector("h2:has-text('webhook to anna')")
    assert secret not in page.content()
    assert "secret-path" not in page.content()
    page.click("a:text-is('Switch off')")
    page.click("button:text-is('Switch off')")
    page.wait_for_selector("text=It is switched off.")


def add_task(watched: Watched) -> None:
    page: Any = watched.page
    watched.open(url("todo", "add"))
    values = {"title": "Water the plants", "creator": "anna", "assignees": "anna", "time_zone": "Europe/Berlin"}
    for name, value in {**values, "due_date": "2026-03-02", "due_time": "10:00"}.items():
        page.fill(f"[name={name}]", value)
    page.click("button:text-is('Save')")
    page.click("a:text-is('Add a rule')")
    page.fill("[name=offset]", "-PT1H")
    page.click("button:text-is('Save')")
    page.wait_for_selector("[aria-label=Rules] th:has-text('1 hour before it is due')")


def test_from_a_task_and_its_rule_to_the_mail_that_a_scan_led_to(
    watched: Watched, live_worker: LiveWorkers, clock: Callable[[str], Any], office: PostOffice, settings: Any
) -> None:
    person("anna", time_zone="Europe/Berlin")
    mail = {"EMAIL_URL": f"smtp://127.0.0.1:{office.port}", "MAIL_FROM": settings.DEFAULT_FROM_EMAIL}
    live_worker("default", "deliveries", VIRTUAL_CLOCK=settings.VIRTUAL_CLOCK, **mail)
    page: Any = watched.page
    add_default_rule(watched)
    add_webhook(watched)
    add_task(watched)

    page.click("a:has-text('Why did or didn')")
    page.fill("[name=user]", "anna")
    page.click("button:text-is('Tell me')")
    page.wait_for_selector("li:has-text('It fires on 2026-03-02 09:00 Europe/Berlin (08:00 UTC).')")

    clock("2026-03-02 08:00")
    watched.open(url("reminder"))
    page.click("a:text-is('Scan now')")
    page.click("button:text-is('Scan now')")
    page.wait_for_selector("text=Scanned by the job")
    reloaded_until(page, "td:has-text('1 hour before it is due'), th:has-text('1 hour before it is due')")
    page.click("a:has-text('Water the plants')")
    reloaded_until(page, ".sy-pill-good:text-is('sent')")
    page.click("a:has-text('mail, delivery')")
    (sent,) = office.mails
    page.wait_for_selector(f"text={sent['Message-ID']}")

    assert sent["To"] == "anna@example.org"
    assert ReminderDelivery.objects.get().channel.kind == "mail"
    assert ReminderRule.objects.filter(todo=None).count() == 1
    assert Todo.objects.get().is_open
    assert watched.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_run_nothing_that_came_from_outside(watched: Watched, clock: Any, scheme: str) -> None:
    anna = person("anna")
    aside = {"set_aside_at": at("2026-03-01 00:00"), "set_aside_because": HOSTILE}
    rule = ReminderRule.objects.create(person=anna, offset="-P1DT2H15M", **aside)
    hook = Channel.objects.create(
        user=anna,
        kind="webhook",
        label=HOSTILE[:100],
        address="https://x.example/",
        secret="whsec_" + "A" * 32,
        **aside,
    )
    row = todo(anna, title=HOSTILE, notes=HOSTILE, due_date=date(2026, 3, 2), due_time=time(9))
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    ReminderDelivery.objects.update(state="failed", error=HOSTILE)
    reminder, delivery = row.reminders.get(), ReminderDelivery.objects.get()
    page: Any = watched.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 800})

    paths = [url(model) for model in ("defaultrule", "channel", "todo", "reminder", "reminderdelivery")]
    paths += [url("defaultrule", "add"), url("channel", "add"), url("todo", "change", row.pk)]
    paths += [url(model, name, one.pk) for name in ("change", "edit") for model, one in _edited(rule, hook)]
    paths += [url(model, "deed", one.pk, "delete") for model, one in _edited(rule, hook)]
    paths += [url("channel", "deed", hook.pk, "secret"), url("defaultrule", "deed", rule.pk, "enable")]
    paths += [url("reminder", "change", reminder.pk), url("reminderdelivery", "change", delivery.pk)]
    paths += [f"{url('todo', 'explain', row.pk)}?user=anna", url("reminder", "scan")]
    for path in paths:
        watched.open(path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        assert page.locator("h2, table, .sy-card").count() > 0, path
    assert watched.problems == []


def _edited(rule: ReminderRule, hook: Channel) -> list[tuple[str, Any]]:
    return [("defaultrule", rule), ("channel", hook)]
