"""Worker processes, as they last reported themselves."""

from django.db import models


class Worker(models.Model):
    """One worker's main process, kept alive by its heartbeat (every 3 s, Postgres' clock)."""

    name = models.CharField(primary_key=True, max_length=255, help_text="Celery's node name.")
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    queues = models.JSONField(default=list)
    children = models.PositiveIntegerField()
    memory_bytes = models.BigIntegerField(null=True, help_text="Proportional set size with its children.")
    version = models.CharField(max_length=64, blank=True, default="")
    running = models.JSONField(default=list, db_default=[], help_text="Ids of the jobs that its children run.")
    fetched = models.JSONField(
        default=list, db_default=[], help_text="Ids of the messages that wait in it for a free child."
    )
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True, help_text="Set when it ended in order.")

    class Meta:
        default_permissions = ("view",)
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Sweep(models.Model):
    """A periodic look of all dispatchers together: whoever moves `due_at` on does it."""

    name = models.CharField(primary_key=True, max_length=32)
    due_at = models.DateTimeField()
    last_at = models.DateTimeField(help_text="When it was done last; a gap tells that Postgres was away.")
    calm_since = models.DateTimeField(help_text="Since when it has been done without a gap.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class BrokerState(models.Model):
    """What the broker was last known by; another epoch or run id tells that it lost what it held."""

    name = models.CharField(primary_key=True, max_length=32)
    epoch = models.CharField(max_length=64)
    run_id = models.CharField(max_length=64, blank=True, default="")
    changed_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} {self.epoch}"
