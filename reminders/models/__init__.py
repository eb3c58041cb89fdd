"""Tasks of people, the rules of their reminders, what fired and was sent, and attached files."""

from reminders.models.attachment import Attachment, Blob, ScanState, ThumbnailState
from reminders.models.confirmation import ConfirmationMail
from reminders.models.people import CalendarFeed, Channel, ChannelKind, Preferences, Suppression
from reminders.models.reminder import (
    WAITING,
    DeliveredReminder,
    DeliveryState,
    Layout,
    Reminder,
    ReminderDelivery,
    ReminderState,
    ScanRecord,
)
from reminders.models.rule import Anchor, Audience, DefaultRule, PlannedReminder, ReminderRule
from reminders.models.todo import Priority, Project, RepeatFrom, Todo

__all__ = [
    "WAITING",
    "Anchor",
    "Attachment",
    "Audience",
    "Blob",
    "CalendarFeed",
    "Channel",
    "ChannelKind",
    "ConfirmationMail",
    "DefaultRule",
    "DeliveredReminder",
    "DeliveryState",
    "Layout",
    "PlannedReminder",
    "Preferences",
    "Priority",
    "Project",
    "Reminder",
    "ReminderDelivery",
    "ReminderRule",
    "ReminderState",
    "RepeatFrom",
    "ScanRecord",
    "ScanState",
    "Suppression",
    "ThumbnailState",
    "Todo",
]
