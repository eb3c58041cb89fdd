"""Files of tasks: each content is kept once, and served only when it is known to be safe."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from reminders.models.todo import Todo


class ScanState(models.TextChoices):
    """pending: waits for the scanner. not_scanned: there is no scanner; a setting decides whether it is served."""

    PENDING = "pending"
    CLEAN = "clean"
    INFECTED = "infected"
    NOT_SCANNED = "not_scanned"


class ThumbnailState(models.TextChoices):
    """none: there is none of this type."""

    NONE = "none"
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class Blob(models.Model):
    """One content, by its SHA-256; attachments refer to it, and a sweeper removes it when none has for a while.

    pending → clean | infected | not_scanned. `error` tells why a scan has not succeeded yet; it is tried again.
    """

    sha256 = models.CharField(max_length=64, unique=True)
    size = models.BigIntegerField(help_text="Bytes.")
    content_type = models.CharField(max_length=100, help_text="Found in the content, never taken from its name.")
    storage_key = models.CharField(max_length=255, help_text="In the storage `attachments`.")
    scan_state = models.CharField(max_length=11, choices=ScanState, default=ScanState.PENDING)
    scanned_at = models.DateTimeField(null=True, blank=True)
    verdict = models.CharField(max_length=255, blank=True, default="", help_text="The signature that was found.")
    error = models.TextField(blank=True, default="")
    thumbnail_state = models.CharField(max_length=7, choices=ThumbnailState, default=ThumbnailState.NONE)
    thumbnail_key = models.CharField(max_length=255, blank=True, default="")
    thumbnail_error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    unreferenced_at = models.DateTimeField(null=True, blank=True, help_text="Since when no attachment refers to it.")

    class Meta:
        default_permissions = ("view",)
        permissions = [("scan_blob", "Can have files scanned again")]
        constraints = [
            models.CheckConstraint(name="blob_scan_state_known", condition=Q(scan_state__in=ScanState.values)),
            models.CheckConstraint(
                name="blob_scanned_at_when_scanned",
                condition=Q(scan_state__in=(ScanState.CLEAN, ScanState.INFECTED)) ^ Q(scanned_at=None),
            ),
        ]
        indexes = [
            models.Index(
                name="blob_to_scan",
                fields=["id"],
                condition=Q(scan_state__in=(ScanState.PENDING, ScanState.NOT_SCANNED)),
            ),
            # How many wait for the scanner is asked at each scrape, also where no other file was ever scanned.
            models.Index(name="blob_pending", fields=["id"], condition=Q(scan_state=ScanState.PENDING)),
            models.Index(name="blob_to_show", fields=["id"], condition=Q(thumbnail_state=ThumbnailState.PENDING)),
            models.Index(
                name="blob_unreferenced", fields=["unreferenced_at"], condition=Q(unreferenced_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.content_type} {self.sha256[:12]} [{self.scan_state}]"


class Attachment(models.Model):
    """A file of a task, as somebody named it."""

    todo = models.ForeignKey(Todo, on_delete=models.CASCADE, related_name="attachments", db_index=False)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="attachments")
    name = models.CharField(max_length=255)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="attachment_name_of_todo", fields=["todo", "name"])]
        indexes = [models.Index(name="attachment_newest", fields=["-created_at", "-id"])]

    def __str__(self) -> str:
        return self.name
