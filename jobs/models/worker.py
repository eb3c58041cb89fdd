"""Worker processes, as they last reported themselves."""

from django.db import models


class Worker(models.Model):
    """One worker's main process, kept alive by its heartbeat (every 5 s, Postgres' clock)."""

    name = models.CharField(primary_key=True, max_length=255, help_text="Celery's node name.")
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    queues = models.JSONField(default=list)
    children = models.PositiveIntegerField()
    memory_bytes = models.BigIntegerField(null=True, help_text="Proportional set size with its children.")
    version = models.CharField(max_length=64, blank=True, default="")
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True, help_text="Set when it ended in order.")

    class Meta:
        default_permissions = ("view",)
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
