"""Who did what to which job, schedule or token, and how."""

from django.conf import settings
from django.db import models
from django.db.models import F


class AuditEntry(models.Model):
    """One operator's action. Rows are only ever added."""

    at = models.DateTimeField(auto_now_add=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    actor = models.CharField(max_length=255, help_text="The user's name, or the system account for a command.")
    via = models.CharField(max_length=16, help_text="admin, api or command.")
    action = models.CharField(max_length=64, help_text="For example job.retry.")
    target = models.CharField(max_length=255, help_text="The id of what it was done to.")
    detail = models.JSONField(default=dict, help_text="What changed; arguments are not copied here.")

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(F("at").desc(), name="audit_newest"),
            models.Index("target", F("at").desc(), name="audit_by_target"),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target}"
