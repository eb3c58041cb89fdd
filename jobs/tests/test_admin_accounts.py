"""Accounts in the admin: deleted while nothing hangs on them, else closed."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client

from jobs.models import AuditEntry
from jobs.operators.accounts import ties_of
from jobs.operators.actors import Actor, command_actor
from jobs.operators.tokens import create_token
from jobs.tests.admin_helpers import client_with, page_of, said

pytestmark = pytest.mark.django_db

REMEDY = "bob is not deleted, for it has api tokens; close the account instead: untick “Active” on its page"


@pytest.fixture
def bob() -> User:
    user = User.objects.create_user("bob", password="first-Secret-9")
    user.groups.add(Group.objects.create(name="operators"))
    return user


def delete_link(bob: User) -> str:
    return f'href="{page_of("auth_user", "delete", bob.pk)}'


def test_an_account_that_was_never_used_is_deleted_with_an_entry_in_the_audit_log(
    admin_client: Client, bob: User
) -> None:
    delete = page_of("auth_user", "delete", bob.pk)
    assert delete_link(bob) in admin_client.get(page_of("auth_user", "change", bob.pk)).content.decode()
    assert "Are you sure" in admin_client.get(delete).content.decode()
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=bob.pk).exists()
    assert AuditEntry.objects.get(action="user.delete").detail["name"] == "bob"


def test_an_account_with_history_has_no_button_and_its_delete_page_tells_to_close_it(
    admin_client: Client, bob: User
) -> None:
    create_token(command_actor(), bob, "dashboard")
    delete, change = (page_of("auth_user", page, bob.pk) for page in ("delete", "change"))
    assert delete_link(bob) not in admin_client.get(change).content.decode()
    for answer in (admin_client.get(delete), admin_client.post(delete, {"post": "yes"})):
        assert (answer.status_code, answer["Location"]) == (302, change)
    assert REMEDY in said(answer)
    assert User.objects.filter(pk=bob.pk).exists()


def test_ticked_accounts_are_not_deleted_while_one_has_history(admin_client: Client, bob: User) -> None:
    create_token(command_actor(), bob, "dashboard")
    cat = User.objects.create_user("cat")
    ticked = {"action": "delete_selected", "_selected_action": [bob.pk, cat.pk]}
    for more in ({}, {"post": "yes"}):
        assert REMEDY in admin_client.post(page_of("auth_user"), ticked | more).content.decode()
    assert User.objects.filter(pk__in=[bob.pk, cat.pk]).count() == 2
    admin_client.post(page_of("auth_user"), ticked | {"_selected_action": [cat.pk], "post": "yes"})
    assert not User.objects.filter(pk=cat.pk).exists()


def test_whoever_may_not_delete_accounts_is_told_nothing_of_them(bob: User) -> None:
    create_token(command_actor(), bob, "dashboard")
    client = client_with("auth.view_user", "auth.change_user")
    answer = client.get(page_of("auth_user", "delete", bob.pk))
    assert (answer.status_code, said(answer)) == (403, "")
    deleting = client_with("auth.view_user", "auth.delete_user", name="cat")
    assert REMEDY in said(deleting.get(page_of("auth_user", "delete", bob.pk)))


def test_whatever_leads_to_an_account_ties_it_but_for_its_groups_and_permissions(bob: User) -> None:
    assert ties_of(bob) == []
    Actor.of_user(bob, "admin").record("job.retry", "j1")
    LogEntry.objects.create(user=bob, action_flag=1, object_repr="x")
    assert ties_of(bob) == ["audit entries", "log entries"]
