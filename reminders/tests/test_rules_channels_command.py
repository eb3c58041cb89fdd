"""manage.py reminders: default rules and channels; addresses and secrets come from files, and are told once."""

import io
import json
import sys
from datetime import date, time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobs.models import AuditEntry, Job
from reminders.models import Channel, ReminderRule
from reminders.tests import commanding
from reminders.tests.factories import at, person, todo

pytestmark = pytest.mark.django_db

URL = "https://hooks.example.org/secret-path"
ASIDE = {"set_aside_at": at("2026-03-01 00:00"), "set_aside_because": "It failed."}
run = partial(commanding.run, "reminders")
data = partial(commanding.data, "reminders")
refused = partial(commanding.refused, "reminders")


def test_default_rules_from_beginning_to_end(clock: Any) -> None:
    person("anna")
    ReminderRule.objects.create(person=person("bob"), offset="PT0S")
    made = data("add-rule", "anna", "offset=-PT30M", "anchor=start")
    number = str(made["id"])
    assert (made["person"], made["words"], made["todo"]) == ("anna", "30 minutes before it starts", None)
    assert Job.objects.filter(task="reminders.replan_person").count() == 1
    assert [row["offset"] for row in data("rules")] == ["-PT30M", "PT0S"]
    assert [row["id"] for row in data("rules", "--user", "anna")] == [made["id"]]
    assert [row["person"] for row in data("rules", "--search", "bo")] == ["bob"]
    assert run("rules", "--user", "anna").splitlines()[1].startswith(f"{number}\tanna\t30 minutes before it starts")

    assert data("change-rule", number, "offset=-P1D")["offset"] == "-P1D"
    assert data("show-rule", number)["anchor"] == "start"
    ReminderRule.objects.filter(pk=made["id"]).update(**ASIDE)
    assert data("enable-rule", number)["set_aside_at"] is None
    assert run("delete-rule", number) == f"rule {number} is deleted\n"
    actions = set(AuditEntry.objects.filter(via="command").values_list("action", flat=True))
    assert actions == {"rule.create", "rule.change", "rule.enable", "rule.delete"}


def test_a_rule_of_a_task_is_changed_by_its_number(clock: Any) -> None:
    anna = person("anna")
    todo(anna, ReminderRule(offset="-PT1H"), due_date=date(2026, 3, 2), due_time=time(9))
    number = str(ReminderRule.objects.get().pk)
    changed = data("change-rule", number, "at=2026-03-01T18:00", "audience=watchers")
    assert (changed["offset"], changed["at_date"], changed["audience"]) == ("", "2026-03-01", "watchers")
    assert data("rules") == []


def test_rules_refuse_bad_use_and_say_what_to_do(clock: Any) -> None:
    person("anna")
    number = str(data("add-rule", "anna", "offset=-PT1H")["id"])
    for words, said in (
        (("add-rule", "anna", "offset=soon"), "'soon' is no duration; write one such as -PT15M"),
        (("add-rule", "anna", "offset=5"), "offset: is 5; it takes a text"),
        (("add-rule", "anna", "anchor=due"), "offset: is missing"),
        (("add-rule", "anna", "offset=-PT1H"), "there is a default rule of -PT1H already"),
        (("add-rule", "anna", "offset=-P1D", "audience=watchers"), "audience: unknown setting; choose from: anchor"),
        (("add-rule", "nobody", "offset=-PT2H"), "there is no open account 'nobody'"),
        (("rules", "--user", "nobody"), "there is no open account 'nobody'"),
        (("rules", "--user", "anna", "--search", "a"), "give one"),
        (("rules", "--limit", "0"), "it takes 1 to 200"),
        (("change-rule", number), "nothing to change"),
        (("change-rule", number, "offset"), "write NAME=VALUE"),
        (("change-rule", "999999", "offset=PT0S"), "there is no reminder rule 999999"),
        (("delete-rule", "99999999999999999999"), "there is no reminder rule"),
    ):
        code, text = refused(*words)
        assert (code, said in text) == (2, True), (words, text)
    assert ReminderRule.objects.count() == 1


def test_channels_from_beginning_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person("anna")
    address = tmp_path / "url.txt"
    address.write_text(f"{URL}\n")
    made = data("add-channel", "anna", "webhook", "label=on call", "--address-file", str(address))
    row, number = Channel.objects.get(), str(made["id"])
    assert (made["user"], made["label"], row.address.reveal()) == ("anna", "on call", URL)
    assert made["signing_secret"] == row.secret.reveal()

    shown = run("show-channel", number) + run("channels") + json.dumps(data("show-channel", number))
    kept = str(list(AuditEntry.objects.values("detail")))
    for private in ("secret-path", made["signing_secret"]):
        assert private not in shown + kept
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{URL}/new\n"))
    changed = data("change-channel", number, "label=nights", "enabled=false", "--address-file", "-")
    row.refresh_from_db()
    assert (changed["label"], changed["enabled"], row.address.reveal()) == ("nights", False, f"{URL}/new")

    secret = data("new-secret", number)["signing_secret"]
    row.refresh_from_db()
    assert secret == row.secret.reveal() != made["signing_secret"]
    assert run("delete-channel", number) == f"channel {number} is deleted\n"
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", "via"))
    assert actions == [(f"channel.{deed}", "command") for deed in ("create", "change", "new_secret", "delete")]


def test_a_mail_channel_has_no_secret_and_is_not_deleted() -> None:
    person("anna")
    made = data("add-channel", "anna", "mail")
    assert (made["kind"], made["signing_secret"]) == ("mail", "")
    number = str(made["id"])
    assert refused("delete-channel", number)[0] == 1
    assert "disable it to get none" in refused("delete-channel", number)[1]
    assert "only a webhook signs" in refused("new-secret", number)[1]


def test_channels_refuse_bad_use_and_say_what_to_do(tmp_path: Path) -> None:
    person("anna")
    empty = tmp_path / "empty"
    empty.write_text("")
    number = str(data("add-channel", "anna", "mail")["id"])
    for words, said in (
        (("add-channel", "anna", "webhook", f"address={URL}"), "address is a secret"),
        (("add-channel", "anna", "webhook"), "address: the webhook's URL must begin with https://"),
        (("add-channel", "anna", "webhook", "--address-file", "/nowhere"), "address: /nowhere cannot be read"),
        (("add-channel", "anna", "webhook", "--address-file", "-", "--secret-file", "-"), "only one secret"),
        (("add-channel", "anna", "apprise", "--address-file", str(empty)), "address:"),
        (("add-channel", "anna", "mail"), "there is a channel for mail already"),
        (("add-channel", "nobody", "mail"), "there is no open account 'nobody'"),
        (("change-channel", number), "nothing to change"),
        (("change-channel", number, "kind=webhook"), "kind: it is mail, which stays"),
        (("change-channel", number, "enabled=maybe"), "enabled: is 'maybe'; it takes true or false"),
        (("show-channel", "999999"), "there is no channel 999999"),
    ):
        code, text = refused(*words)
        assert (code, said in text) == (2, True), (words, text)
        assert "secret-path" not in text
    assert Channel.objects.count() == 1
