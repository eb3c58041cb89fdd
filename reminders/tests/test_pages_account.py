"""Logging in and out for people who are not operators, and who sees what of the pages."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from reminders.tests.factories import person, todo

pytestmark = pytest.mark.django_db
PASSWORD = "secret-of-a-person"


def logged_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_a_person_logs_in_to_their_tasks_and_an_operator_to_the_control_room():
    person("anna")
    User.objects.create_user("boss", password=PASSWORD, is_staff=True)

    of_anna, of_boss = (Client().post("/login/", {"username": n, "password": PASSWORD}) for n in ("anna", "boss"))

    assert (of_anna.status_code, of_anna["Location"]) == (302, "/todos/")
    assert (of_boss.status_code, of_boss["Location"]) == (302, "/admin/")


def test_the_root_leads_each_to_where_they_are_at_home():
    boss = User.objects.create_user("boss", is_staff=True)

    assert Client().get("/")["Location"] == "/login/"
    assert logged_in(person()).get("/")["Location"] == "/todos/"
    assert logged_in(boss).get("/")["Location"] == "/admin/"


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("/todos/?when=today", "/todos/?when=today"),
        ("https://evil.example/", "/todos/"),
        ("//evil.example/", "/todos/"),
        ("javascript:alert(1)", "/todos/"),
        ("/admin/jobs/job/", "/todos/"),
    ],
)
def test_after_the_login_comes_the_page_that_asked_for_it_if_it_is_ours_and_open(wanted, reached):
    person("anna")

    response = Client().post(f"/login/?next={wanted}", {"username": "anna", "password": PASSWORD, "next": wanted})

    assert response["Location"] == reached


def test_wrong_passwords_are_slowed_down_here_as_in_the_admin():
    person("anna")
    wrong = {"username": "anna", "password": "wrong"}

    guesses = [Client().post("/login/", wrong).status_code for _ in range(5)]
    guesses += [Client().post("/admin/login/", wrong).status_code for _ in range(6)]

    assert guesses == [200] * 10 + [429]
    assert Client().post("/login/", {"username": "anna", "password": PASSWORD}).status_code == 429


def test_whoever_has_no_right_to_the_admin_finds_the_way_to_their_tasks():
    stuck = logged_in(person()).get("/admin/", follow=True)
    unknown = Client().get("/admin/", follow=True)

    assert 'href="/todos/"' in stuck.content.decode()
    assert 'href="/login/"' in unknown.content.decode()


def test_a_link_logs_nobody_out_and_a_press_of_the_button_does():
    client = logged_in(person())

    assert "Log out?" in client.get("/logout/").content.decode()
    assert client.get("/todos/").status_code == 200
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/todos/")["Location"] == "/login/?next=/todos/"


def test_the_password_is_changed_by_whoever_knows_the_former_one():
    user = person()
    client = logged_in(user)
    new = {"new_password1": "a-better-Secret-9", "new_password2": "a-better-Secret-9"}

    refused = client.post("/password/", {"old_password": "wrong", **new})
    changed = client.post("/password/", {"old_password": PASSWORD, **new})

    assert "old password was entered incorrectly" in refused.content.decode()
    assert changed["Location"] == "/preferences/"
    user.refresh_from_db()
    assert user.check_password("a-better-Secret-9")
    assert client.get("/todos/").status_code == 200


def test_an_operator_has_a_link_to_the_control_room_and_others_have_none():
    boss = User.objects.create_user("boss", is_staff=True)

    assert 'href="/admin/"' in logged_in(boss).get("/todos/").content.decode()
    assert 'href="/admin/"' not in logged_in(person()).get("/todos/").content.decode()


def paths(todo_id: int) -> list[str]:
    of_todo = ["todo", "edit", "delete", "complete", "cancel", "reopen", "snooze", "add_rule", "why"]
    plain = ["todos", "add", "new", "done", "preferences", "pause", "add_default_rule", "add_channel", "renew_feed"]
    found = [reverse(f"pages:{name}", args=[todo_id]) for name in of_todo]
    found += [reverse(f"pages:{name}") for name in [*plain, "revoke_feed", "password"]]
    return [
        *found,
        reverse("pages:delete_rule", args=[todo_id, 1]),
        reverse("pages:delete_default_rule", args=[1]),
        reverse("pages:channel", args=[0, "test"]),
    ]


def test_no_page_is_for_strangers():
    task = todo(person())

    for path in paths(task.pk):
        for response in (Client().get(path), Client().post(path)):
            assert response.status_code == 302, path
            assert response["Location"].startswith("/login/?next="), path


def test_a_task_of_others_is_not_there_whatever_is_done_to_it():
    theirs = todo(person(), title="Their secret plan")
    client = logged_in(person())

    for path in [path for path in paths(theirs.pk) if f"/{theirs.pk}/" in path]:
        for response in (client.get(path), client.post(path, {"for": "hour", "title": "x"})):
            assert response.status_code in (404, 405), path
            assert "secret plan" not in response.content.decode()
    theirs.refresh_from_db()
    assert (theirs.is_open, theirs.title) == (True, "Their secret plan")


def test_an_account_that_was_closed_is_out_at_once():
    user = person()
    client = logged_in(user)
    User.objects.filter(pk=user.pk).update(is_active=False)

    assert client.get("/todos/")["Location"].startswith("/login/")


def test_pages_are_strict_and_are_not_kept_by_browsers():
    user = person()
    task = todo(user, title='<script>alert(1)</script>" onload="x', notes="<img src=x onerror=alert(2)>")
    client = logged_in(user)

    for path in ("/todos/", "/todos/done/", f"/todos/{task.pk}/", f"/todos/{task.pk}/edit/", "/preferences/"):
        response = client.get(path)
        html = response.content.decode()
        assert "no-store" in response["Cache-Control"]
        assert "private" in response["Cache-Control"]
        assert "unsafe" not in response["Content-Security-Policy"]
        assert response["X-Content-Type-Options"] == "nosniff"
        for forbidden in ("<script", "<style", "style=", "onerror=alert(2)>", "javascript:"):
            assert forbidden not in html.replace("&lt;img src=x onerror=alert(2)&gt;", ""), path


def test_a_form_without_its_token_changes_nothing():
    user = person()
    task = todo(user)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)

    assert client.post(f"/todos/{task.pk}/complete/").status_code == 403
    task.refresh_from_db()
    assert task.is_open
