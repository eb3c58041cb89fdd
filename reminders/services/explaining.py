"""Why somebody was, was not, or will be reminded of a task: every rule, in one plain sentence each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reminders.models import Anchor, Audience, ReminderRule, ScanRecord, Todo
from reminders.schedule import OVERDUE_STEPS, Person, schedule
from reminders.services import reach
from reminders.services.explaining_lines import Facts, Line, line_of
from reminders.wording import audience_words, kind_words, rule_words

_STEPS = ("Overdue: when it is due", "Overdue: a day later", "Overdue: three days later")


@dataclass
class Explanation:
    """notes: what concerns all of them, such as a pause. rules: in the order in which they count."""

    todo: Todo
    user: Any
    zone: str
    asked_at: datetime
    summary: str
    notes: list[str]
    rules: list[Line]
    scanned_at: datetime | None


def explain(todo: Todo, user: Any) -> Explanation:
    """All that decides about one person's reminders of a task. In some dozen statements; nothing is changed."""
    facts = Facts(todo, user)
    lines = [*_own(facts), *_defaults(facts), *_overdue(facts), *_others(facts)]
    scan = ScanRecord.objects.filter(pk=1).first()
    return Explanation(
        todo=todo,
        user=user,
        zone=facts.zone,
        asked_at=facts.now,
        summary=_summary(facts, lines),
        notes=_notes(facts, scan),
        rules=lines,
        scanned_at=scan.last_success_at if scan is not None else None,
    )


# --- The rules --------------------------------------------------------------------------------------------------------


def _own(facts: Facts) -> list[Line]:
    lines = []
    for rule in facts.own:
        what = f"Rule of the task: {rule_words(rule)}, for {audience_words(rule)}"
        if facts.user.pk in facts.people(rule):
            lines.append(_of_rule(facts, rule, what, [rule], None))
        else:
            why = f"It is not for {facts.name}"
            if rule.person_id == facts.user.pk:
                why = f"{facts.name} has no part in the task any more"
            lines.append(line_of(facts, f"rule:{rule.pk}", what, False, f"{why}, so it does not count."))
    return lines


def _defaults(facts: Facts) -> list[Line]:
    lines = []
    covered = any(rule.set_aside_at is None and facts.user.pk in facts.people(rule) for rule in facts.own)
    for rule in facts.defaults:
        what = f"Default rule of {facts.name}: {rule_words(rule)}"
        kind = f"rule:{rule.pk}"
        if facts.user.pk not in facts.audience(Audience.ASSIGNEES):
            why = f"Default rules count for tasks that are assigned to {facts.name}, and this one is not."
            lines.append(line_of(facts, kind, what, False, why))
        elif covered:
            why = f"The task has rules of its own for {facts.name}, so default rules do not count."
            lines.append(line_of(facts, kind, what, False, why))
        else:
            lines.append(_of_rule(facts, rule, what, [], rule))
    return lines


def _of_rule(
    facts: Facts, rule: ReminderRule, what: str, own: Sequence[ReminderRule], default: ReminderRule | None
) -> Line:
    kind = f"rule:{rule.pk}"
    if rule.set_aside_at is not None:
        why = f"It failed {rule.failures} times and was set aside on {facts.at(rule.set_aside_at)}: "
        return line_of(facts, kind, what, False, f"{why}{rule.set_aside_because.rstrip('.')}.")
    if not rule.at_date and _day(facts.todo, rule.anchor) is None:
        lacks = "due date" if rule.anchor == Anchor.DUE else "start date"
        return line_of(facts, kind, what, True, f"The task has no {lacks} to count from.")
    return line_of(facts, kind, what, True, "", _moment(facts, kind, own, default))


def _overdue(facts: Facts) -> list[Line]:
    lines = []
    for step, (_, audience) in enumerate(OVERDUE_STEPS):
        kind, what = f"overdue:{step}", _STEPS[step]
        if not facts.todo.overdue_reminders:
            lines.append(line_of(facts, kind, what, False, "Overdue reminders are switched off for this task."))
        elif facts.todo.due_date is None:
            lines.append(line_of(facts, kind, what, False, "The task has no due date."))
        elif facts.user.pk not in facts.audience(audience):
            who = "whoever is responsible" if audience == Audience.ASSIGNEES else "those who watch the task"
            lines.append(line_of(facts, kind, what, False, f"It is for {who}, which {facts.name} is not."))
        else:
            lines.append(line_of(facts, kind, what, True, "", _moment(facts, kind, [], None)))
    return lines


def _others(facts: Facts) -> list[Line]:
    """Snoozes, and rules that were deleted after they had fired."""
    kinds = [kind for kind in (*facts.planned, *facts.fired) if kind not in facts.told]
    lines = []
    for kind in dict.fromkeys(kinds):
        is_snooze = kind.startswith("snooze:")
        what = "Snoozed" if is_snooze else f"A rule that is gone: {kind_words(kind, None)}"
        lines.append(line_of(facts, kind, what, is_snooze or kind in facts.planned, ""))
    return lines


def _day(todo: Todo, anchor: str) -> Any:
    return todo.due_date if anchor == Anchor.DUE else todo.start_date


def _moment(
    facts: Facts, kind: str, own: Sequence[ReminderRule], default: ReminderRule | None
) -> datetime | str | None:
    """When a rule fires by itself; or why that cannot be worked out. None: the account is gone."""
    if facts.person is None:
        return None
    one = Person(
        facts.person.id, facts.person.time_zone, facts.person.anchor_time, (default,) if default is not None else ()
    )
    found = schedule(facts.todo, own, {one.id: one}, facts.assignees, facts.watchers)
    if found.failed:
        return next(iter(found.failed.values()))
    return next((row.fire_at for row in found.moments if row.kind == kind and row.recipient == one.id), None)


# --- All of it --------------------------------------------------------------------------------------------------------


def _notes(facts: Facts, scan: ScanRecord | None) -> list[str]:
    todo, kept, notes = facts.todo, facts.way.preferences, []
    concerned = {todo.creator_id, *facts.assignees, *facts.watchers, *(rule.person_id for rule in facts.own)}
    if not facts.user.is_active:
        notes.append("The account is closed, so nothing is sent.")
    if not facts.has_part:
        why = "did not make this task, is not assigned, does not watch it and is no member of its project"
        notes.append(f"{facts.name} {why}, so nothing of it is sent to them.")
    elif facts.user.pk not in concerned:
        notes.append(f"{facts.name} did not make this task, is not assigned and does not watch it.")
    elif facts.user.pk not in facts.assignees and facts.assignees and facts.user.pk not in facts.watchers:
        notes.append(f"{facts.name} made this task, and others are assigned, who are reminded in their place.")
    if not todo.is_open:
        notes.append(f"The task was {facts.closed}; nobody is reminded any more.")
    if kept.paused_until is not None and kept.paused_until > facts.now:
        notes.append(f"Reminders of {facts.name} are paused until {facts.at(kept.paused_until)}.")
    if kept.quiet_from is not None and kept.quiet_until is not None:
        passes = ", which urgent tasks pass" if kept.urgent_bypasses_quiet else ""
        notes.append(f"Quiet hours are from {kept.quiet_from:%H:%M} to {kept.quiet_until:%H:%M}{passes}.")
    ways = [reach.channel_words(channel, facts.user) for channel in reach.channels_of(facts.user)]
    notes += ways or ["The account has no mail address, and no other way to be reached."]
    notes.append(_scan_words(facts, scan))
    return notes


def _scan_words(facts: Facts, scan: ScanRecord | None) -> str:
    if scan is None or scan.last_success_at is None:
        return "No scan for due reminders has succeeded yet; see that the scheduler and a worker run."
    return f"The last scan for due reminders succeeded on {facts.at(scan.last_success_at)}."


def _summary(facts: Facts, lines: Sequence[Line]) -> str:
    ahead = [line for line in lines if line.next_at is not None]
    if ahead:
        first = min(ahead, key=lambda line: line.next_at or facts.now)
        return f"The next reminder of {facts.name} is planned: {first.what}. {first.words}"
    held = next((line for line in lines if line.held_until is not None), None)
    if held is not None:
        return f"Nothing more is planned for {facts.name}; what fired is held: {held.what}. {held.words}"
    sent = [one for line in lines for one in line.sent if one.state == "sent"]
    if sent:
        last = max(sent, key=lambda one: one.at)
        return f"Nothing more is planned for {facts.name}; the last reminder was sent. {last.words}"
    return f"Nothing is planned for {facts.name}, and nothing was sent."
