"""A real Chromium for tests of pages: fixtures `browser` and `watched`, and what marks a test that needs it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
PASSWORD = "operator-of-switches"
#: A guard, not a measure.
PATIENCE_MILLISECONDS = 120_000
HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)>" x-init="alert(3)" javascript:alert(4)'

#: For `pytestmark` of a module, or as decorators: minutes on a busy machine.
IN_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: install it, or set CHROMIUM to its path"),
]


class Watched:
    """A page that remembers what went wrong on it."""

    def __init__(self, page: Any, base: str) -> None:
        self.page, self.base = page, base
        self.problems: list[str] = []
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", lambda m: m.type in ("error", "warning") and self._note(m.text))
        page.on("pageerror", lambda error: self._note(f"exception: {error}"))
        page.on("dialog", lambda dialog: (self._note(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("response", lambda r: r.status >= 400 and self._note(f"{r.status} {r.url}"))
        page.on("request", lambda r: r.url.startswith((base, "data:")) or self._note(f"other host: {r.url}"))

    def _note(self, text: str) -> None:
        self.problems.append(f"{self.page.url}: {text}")

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)
        self.page.wait_for_load_state("networkidle")


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser, of Playwright.

    Playwright runs its own event loop in this thread, which Django would take for asynchronous code. Inside it the
    thread has other connections to Postgres than outside: they are closed with it, lest a later test, which ends
    Postgres' sessions, leave them broken for the next one.
    """
    from playwright.sync_api import sync_playwright

    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, *as_root], timeout=PATIENCE_MILLISECONDS
        )
        try:
            yield running
            running.close()
        finally:
            connections.close_all()


@pytest.fixture
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def watched(browser: Any, live_server: Any) -> Watched:
    """A page, logged in through the form as a superuser."""
    User.objects.create_superuser("boss", password=PASSWORD)
    watched = Watched(browser.new_page(viewport={"width": 1400, "height": 900}), live_server.url)
    watched.open("/admin/login/")
    watched.page.fill("#id_username", "boss")
    watched.page.fill("#id_password", PASSWORD)
    watched.page.click("button[type=submit]")
    watched.page.wait_for_url("**/admin/")
    return watched
