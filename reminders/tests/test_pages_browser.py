"""Pages for people in a real Chromium: by keyboard alone, without JavaScript, on a phone, in light and dark."""

from collections.abc import Iterator
from datetime import date, time
from typing import Any

import pytest
from django.urls import reverse

from jobs.tests.chromium import IN_CHROMIUM, PATIENCE_MILLISECONDS, chromium
from reminders.models import Project, ReminderRule, Todo
from reminders.tests.factories import person, todo

PASSWORD = "secret-of-a-person"
pytestmark = IN_CHROMIUM

#: Of text against what is behind it, by WCAG 2; where it is less than AA asks for, the text is told.
CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.getClientRects().length || node.closest("option")) continue;
    const [one, two] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    if ((one + 0.05) / (two + 0.05) < 4.5) found.push(`${node.tagName} ${node.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""
#: Controls that a finger hits badly, apart from links within text.
SMALL = """() => [...document.querySelectorAll("button, select, input:not([type=hidden]), summary, nav a, .button")]
  .filter((node) => node.getClientRects().length && !["checkbox", "radio"].includes(node.type))
  .filter((node) => node.getBoundingClientRect().height < 44).map((node) => node.outerHTML.slice(0, 120))"""
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def logged_in(browser: Any, base: str, **options: Any) -> tuple[Any, list[str]]:
    """A page of anna's, logged in through the form, and what the browser complains of."""
    page = browser.new_context(base_url=base, **options).new_page()
    page.set_default_timeout(PATIENCE_MILLISECONDS)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.goto("/login/")
    page.fill("[name=username]", "anna")
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/todos/")
    return page, problems


def tasks_of(anna: Any) -> Todo:
    """Such as make a page ugly. Returns the one with the most on it."""
    ben, project = person("ben"), Project.objects.create(name="Garden and everything that grows in it " * 4)
    project.members.add(anna, ben)
    todo(anna, title="اتصل بالطبيب لحجز موعد", due_date=date(2020, 1, 1), priority=4, tags=["صحة"])
    todo(anna, title="Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 5, due_date=date(2030, 1, 1))
    return todo(
        anna,
        ReminderRule(offset="-PT1H"),
        ReminderRule(at_date=date(2030, 2, 1), at_time=time(9), time_zone="America/Argentina/Buenos_Aires"),
        title="🌵 " + "A long title " * 30,
        notes="https://example.org/" + "a" * 300,
        due_date=date(2030, 1, 2),
        due_time=time(9),
        tags=[f"tag-number-{number}-" + "x" * 30 for number in range(12)],
        project=project,
        assignees=[anna, ben],
        watchers=[ben],
        rrule="FREQ=WEEKLY;BYDAY=MO",
    )


def paths(task: Todo) -> list[str]:
    found = [reverse(f"pages:{name}") for name in ("todos", "new", "done", "preferences", "password", "logout")]
    found += [reverse(f"pages:{name}", args=[task.pk]) for name in ("todo", "edit", "delete", "why")]
    return [*found, "/todos/?when=upcoming&q=x", "/todos/999999/"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_it_and_all_is_readable_and_hit(browser, live_server, scheme) -> None:
    task = tasks_of(person("anna"))
    page, _ = logged_in(browser, live_server.url, viewport={"width": 360, "height": 740}, color_scheme=scheme)

    for path in paths(task):
        page.goto(path)
        for node in page.query_selector_all("details > summary"):
            node.click()
        assert page.evaluate(WIDER) <= 0, path
        assert page.evaluate(CONTRASTS) == [], path
        assert page.evaluate(SMALL) == [], path


def test_each_page_has_its_landmarks_one_heading_and_a_label_for_each_control(browser, live_server) -> None:
    task = tasks_of(person("anna"))
    page, problems = logged_in(browser, live_server.url)

    seen = set()
    for path in paths(task):
        page.goto(path)
        assert page.locator("h1").count() == 1, path
        assert [page.locator(part).count() for part in ("header", "main", "html[lang=en]")] == [1, 1, 1], path
        unnamed = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
            .filter((node) => !node.labels.length).map((node) => node.outerHTML)"""
        assert page.evaluate(unnamed) == [], path
        twice = """() => [...document.querySelectorAll("[id]")].map((node) => node.id)
            .filter((id, place, all) => all.indexOf(id) !== place)"""
        assert page.evaluate(twice) == [], path
        seen.add(page.title())
    assert len(seen) >= len(paths(task)) - 2
    assert [text for text in problems if "404" not in text] == []


def test_without_javascript_a_task_is_added_snoozed_and_done(browser, live_server) -> None:
    person("anna")
    page, _ = logged_in(browser, live_server.url, java_script_enabled=False)

    page.fill("[name=title]", "Buy milk")
    page.click("text=More…")
    page.fill("[name=due_date]", "2030-05-01")
    page.check("[name=remind][value='-P1D']")
    page.click("main button:text-is('Add')")
    page.click("text=Add a reminder")
    page.select_option("[name=rule-when]", "due -PT1H")
    page.click("button:text-is('Add it')")
    page.click("section button:has-text('1 hour')")
    page.wait_for_selector("text=You will be reminded on")
    page.click("button:text-is('Done')")
    page.wait_for_selector(".message:has-text('Done: Buy milk')")

    task = Todo.objects.get()
    assert not task.is_open
    assert sorted(task.rules.values_list("offset", flat=True)) == ["-P1D", "-PT1H"]


def test_by_keyboard_alone_a_task_is_added_and_done(browser, live_server) -> None:
    person("anna")
    page, problems = logged_in(browser, live_server.url)
    keys = page.keyboard

    keys.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    keys.press("Enter")
    page.wait_for_selector("#content:focus")
    keys.press("Tab")
    assert page.evaluate("document.activeElement.name") == "title"
    keys.type("Call mother")
    keys.press("Enter")
    page.wait_for_selector(".message:has-text('Added: Call mother')")
    page.wait_for_load_state()
    for _ in range(60):
        keys.press("Tab")
        if "Done: Call mother" in page.evaluate("document.activeElement.textContent"):
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    keys.press("Enter")
    page.wait_for_selector(".message:has-text('Done: Call mother')")
    page.wait_for_load_state()

    assert not Todo.objects.get().is_open
    assert problems == []
