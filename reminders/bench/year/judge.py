"""Compares what a mail server took with what the model expects."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from reminders.bench.year.model import Sent

#: A digest takes along what would follow within minutes.
EARLY = timedelta(minutes=10)
SCAN = timedelta(minutes=1)
_SENT = """
    SELECT delivery.message_id, delivery.layout, delivery.state, todo.title, todo.occurrence,
           reminder.recipient_id - %s, reminder.fire_at, users.email
    FROM reminders_deliveredreminder item
    JOIN reminders_reminderdelivery delivery ON delivery.id = item.delivery_id
    JOIN reminders_reminder reminder ON reminder.id = item.reminder_id
    JOIN reminders_todo todo ON todo.id = reminder.todo_id
    JOIN auth_user users ON users.id = reminder.recipient_id
    ORDER BY item.id
"""
Key = tuple[tuple[int, int], int, datetime]


@dataclass
class Verdict:
    """Counts of reminders, and of messages. examples: a few of each kind of fault.

    early: sent along with a digest before their time, as is meant. second_copies: of one Message-ID.
    """

    expected: int = 0
    missing: int = 0
    extra: int = 0
    doubled: int = 0
    at_another_time: int = 0
    untold: int = 0
    misdirected: int = 0
    early: int = 0
    messages: int = 0
    second_copies: int = 0
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def faults(self) -> int:
        return self.missing + self.extra + self.doubled + self.at_another_time + self.untold + self.misdirected

    def blame(self, kind: str, what: object) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples[kind]) < 5:
            self.examples[kind].append(str(what))

    def as_json(self) -> dict[str, Any]:
        counts = {name: value for name, value in vars(self).items() if name != "examples"}
        return counts | {"examples": dict(self.examples)}


def judge(expected: Iterable[Sent], taken: Path, connection: "psycopg.Connection[Any]", people_from: int) -> Verdict:
    """taken: the mail server's own file, a message a line."""
    verdict = Verdict()
    wanted: dict[Key, datetime] = {(one.key, one.person, one.at): one.sent for one in expected}
    verdict.expected = len(wanted)
    lines = taken.read_text(encoding="utf-8").splitlines() if taken.exists() else []
    copies: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        row = json.loads(line)
        copies[row["message_id"]].append(row)
    verdict.messages, verdict.second_copies = len(copies), len(lines) - len(copies)
    told: Counter[Key] = Counter()
    known = set()
    for message_id, layout, _, title, occurrence, person, fire_at, email in connection.execute(_SENT, [people_from]):
        known.add(message_id)
        if message_id not in copies:
            continue
        key = ((int(title.split()[1]), occurrence), person, fire_at)
        told[key] += 1
        if key not in wanted:
            verdict.blame("extra", (key, layout, copies[message_id][0]["clock"]))
            continue
        _look(verdict, key, wanted[key], copies[message_id][0], layout=layout, title=title, email=email)
    for key, sent in wanted.items():
        if key not in told:
            verdict.blame("missing", (key, sent))
    for key, times in told.items():
        if times > 1:
            verdict.blame("doubled", key)
    for message_id in copies.keys() - known:
        verdict.blame("extra", copies[message_id][0])
    return verdict


def _look(
    verdict: Verdict, key: Key, sent: datetime, message: dict[str, Any], *, layout: str, title: str, email: str
) -> None:
    clock = datetime.fromisoformat(message["clock"])
    if message["to"] != [email]:
        verdict.blame("misdirected", (key, message["to"]))
    if title not in message["subject"] + message["text"]:
        verdict.blame("untold", (key, message["text"]))
    if sent <= clock <= sent + SCAN:
        return
    if layout == "digest" and key[2] - EARLY <= clock < key[2]:
        verdict.early += 1
    else:
        verdict.blame("at_another_time", (key, "expected", sent, "sent", clock, layout))
