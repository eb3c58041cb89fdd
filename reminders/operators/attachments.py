"""Attached files as people and operators see them: whoever sees a task sees its files, whoever changes it adds some."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere, find
from jobs.operators.search import is_storable
from reminders.files import storing
from reminders.files.receiving import Received, received_upload
from reminders.models import Attachment, Blob, Todo
from reminders.operators import access
from reminders.services import attachments as services
from reminders.services import file_scanning


def attachments(
    actor: Actor, *, todo: int | None = None, state: list[str] | None = None, kind: str = "", name: str = ""
) -> "QuerySet[Attachment]":
    """Of the tasks that the actor may see, in no order; of all with reminders.view_attachment.

    Each with `access.title_of` its task. state: of the scan, one of several. kind: a content type. name: the beginning
    of a file's name.
    """
    rows = Attachment.objects.select_related("blob", "todo", "uploaded_by").defer("todo__search")
    rows = access.titled(actor, rows)
    if not is_storable(kind + name):
        return rows.none()
    if not (access.sees_all_todos(actor) or actor.may("reminders.view_attachment")):
        rows = rows.filter(todo__in=access.visible_todos(actor).values("pk"))
    if todo is not None:
        rows = rows.filter(todo=todo)
    if state:
        rows = rows.filter(blob__scan_state__in=state)
    if kind:
        rows = rows.filter(blob__content_type=kind)
    return rows.filter(name__startswith=name) if name else rows


def attachments_of(actor: Actor, todo_id: int) -> "QuerySet[Attachment]":
    """Of one task. Raises NotHere."""
    return attachments(actor, todo=access.require_todo(actor, todo_id, "view").pk)


def find_attachment(actor: Actor, attachment_id: int) -> Attachment:
    """Raises NotHere, also for one of a task that the actor may not see."""
    return find(attachments(actor), attachment_id, "attachment")


def add(actor: Actor, todo_id: int, received: Received) -> Attachment:
    """Attach a file from quarantine. Raises NotHere, PermissionDenied, FileRefused."""
    todo = access.require_todo(actor, todo_id, "change")
    return _add(actor, todo, received)


def upload(actor: Actor, todo_id: int, request: HttpRequest, name: str = "") -> Attachment:
    """Attach the file that a request brings, which nothing has read yet; see `received_upload`.

    Raises NotHere and PermissionDenied before it is read, FileRefused.
    """
    todo = access.require_todo(actor, todo_id, "change")
    with received_upload(request, name) as received:
        return _add(actor, todo, received)


def _add(actor: Actor, todo: Todo, received: Received) -> Attachment:
    with transaction.atomic():
        attachment = services.add(todo, received, actor.user)
        actor.record("attachment.add", attachment.pk, todo=todo.pk, name=attachment.name, sha256=received.sha256)
    return find_attachment_of(attachment.pk)


def find_attachment_of(attachment_id: int) -> Attachment:
    return Attachment.objects.select_related("blob", "todo", "uploaded_by").defer("todo__search").get(pk=attachment_id)


def delete(actor: Actor, attachment_id: int) -> None:
    """Its content is kept for a day. Raises NotHere, PermissionDenied."""
    attachment = find_attachment(actor, attachment_id)
    access.require_todo(actor, attachment.todo_id, "change")
    with transaction.atomic():
        try:
            services.delete(attachment.pk)
        except Attachment.DoesNotExist:
            raise NotHere(f"there is no attachment {attachment_id}") from None
        actor.record("attachment.delete", attachment_id, todo=attachment.todo_id, name=attachment.name)


def content(actor: Actor, attachment_id: int) -> tuple[Attachment, Any]:
    """An attachment, and its content open for reading. Raises NotHere, NotServed, StorageAway."""
    attachment = find_attachment(actor, attachment_id)
    services.require_served(attachment.blob)
    return attachment, storing.opened(attachment.blob.storage_key)


def thumbnail(actor: Actor, attachment_id: int) -> tuple[Attachment, Any]:
    """As `content`, a WebP picture."""
    attachment = find_attachment(actor, attachment_id)
    services.require_thumbnail(attachment.blob)
    return attachment, storing.opened(attachment.blob.thumbnail_key)


def rescan(actor: Actor, attachment_id: int) -> Blob:
    """Have a file scanned again, which is not served meanwhile.

    Raises PermissionDenied (reminders.scan_blob), NotHere, ScanNotPossible.
    """
    actor.require("reminders.scan_blob")
    attachment = find(Attachment.objects.select_related("blob"), attachment_id, "attachment")
    with transaction.atomic():
        file_scanning.rescan(attachment.blob)
        actor.record("attachment.rescan", attachment.pk, sha256=attachment.blob.sha256)
    return Blob.objects.get(pk=attachment.blob_id)
