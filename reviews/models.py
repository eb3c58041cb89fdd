"""What is known of GitHub's repositories, what GitHub delivered, and the reviews that came of it."""

from django.db import models
from django.db.models import F, Q


class Repository(models.Model):
    """A repository on GitHub, made by its first delivery. GitHub's id stays when the repository is renamed."""

    github_id = models.BigIntegerField(unique=True, null=True, blank=True)
    full_name = models.CharField(max_length=255, db_index=True, help_text="owner/name")
    enabled = models.BooleanField(default=True, help_text="Whether its pull requests are reviewed.")
    provider = models.CharField(max_length=32, default="embedded", help_text="Who reviews.")
    large_files = models.PositiveIntegerField(
        default=50, help_text="A pull request that changes more files than this is reviewed on the slow lane."
    )
    large_lines = models.PositiveIntegerField(default=2000, help_text="The same for added and deleted lines together.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "repositories"

    def __str__(self) -> str:
        return self.full_name

    def is_large(self, changed_files: int, changed_lines: int) -> bool:
        return changed_files > self.large_files or changed_lines > self.large_lines


class Delivery(models.Model):
    """One webhook delivery of GitHub and what came of it. A redelivery has the guid of the first."""

    guid = models.CharField(max_length=64, unique=True)
    event = models.CharField(max_length=64)
    action = models.CharField(max_length=64, blank=True, default="")
    repository = models.ForeignKey(Repository, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    payload = models.JSONField(help_text="Of a large payload only the outline.")
    outcome = models.TextField(help_text="“job …”, or “ignored, because …”.")
    job_id = models.CharField(max_length=255, blank=True, default="")
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "deliveries"
        indexes = [models.Index(F("received_at").desc(), name="delivery_newest")]

    def __str__(self) -> str:
        return f"{self.event} {self.guid}"


class ReviewStatus(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    SUPERSEDED = "superseded"
    FAILED = "failed"


FINISHED = (ReviewStatus.DONE, ReviewStatus.SUPERSEDED, ReviewStatus.FAILED)


class PullRequestReview(models.Model):
    """The review of one head of a pull request; posted to GitHub once.

    pending → running → done | superseded (the head moved on, or the pull request was closed) | failed.
    A failed one, and one that is waiting for its next attempt, goes back to running.
    """

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="reviews")
    number = models.PositiveIntegerField(help_text="The pull request's number.")
    base_sha = models.CharField(max_length=64)
    head_sha = models.CharField(max_length=64)
    title = models.CharField(max_length=500, blank=True, default="")
    provider = models.CharField(max_length=32, default="embedded")
    status = models.CharField(max_length=10, choices=ReviewStatus, default=ReviewStatus.PENDING)
    job_id = models.CharField(max_length=255, blank=True, default="")
    github_review_id = models.BigIntegerField(null=True, blank=True, help_text="The posted review's id at GitHub.")
    finding_count = models.PositiveIntegerField(null=True, blank=True, help_text="Those left out included.")
    coverage = models.JSONField(default=dict, blank=True, help_text="What was read, and what was not and why.")
    error = models.TextField(blank=True, default="", help_text="Why it failed, or why it was superseded.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True, help_text="When the latest attempt began.")
    finished_at = models.DateTimeField(null=True, blank=True)
    step_seconds = models.JSONField(default=dict, blank=True, help_text="Seconds spent in fetch, review and post.")

    class Meta:
        default_permissions = ("view",)
        verbose_name = "pull request review"
        constraints = [
            models.UniqueConstraint(name="review_once_per_head", fields=["repository", "number", "head_sha"]),
            models.CheckConstraint(name="review_status_known", condition=Q(status__in=ReviewStatus.values)),
            models.CheckConstraint(
                name="review_finished_at_when_finished",
                condition=Q(status__in=FINISHED) ^ Q(finished_at__isnull=True),
            ),
        ]
        indexes = [models.Index(F("created_at").desc(), name="review_newest")]

    def __str__(self) -> str:
        return f"{self.repository}#{self.number} at {self.head_sha[:12]}"


class Finding(models.Model):
    """One remark of a review, on lines of its head. line, end_line: from 1, both included."""

    review = models.ForeignKey(PullRequestReview, on_delete=models.CASCADE, related_name="findings")
    path = models.TextField()
    line = models.PositiveIntegerField()
    end_line = models.PositiveIntegerField()
    rule = models.CharField(max_length=64)
    message = models.TextField()
    severity = models.CharField(max_length=8)
    source_line = models.TextField(blank=True)
    fingerprint = models.CharField(max_length=64, help_text="Of rule, source line and enclosing symbol.")
    anchored = models.BooleanField(help_text="Posted on its line; else in the review's text.")

    class Meta:
        default_permissions = ("view",)
        ordering = ["path", "line"]
        constraints = [
            models.CheckConstraint(name="finding_lines_in_order", condition=Q(line__gte=1, end_line__gte=F("line")))
        ]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}"
