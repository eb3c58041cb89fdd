"""Comments at GitHub that speak to us, and what we answered."""

from django.db import models
from django.db.models import F, Q

from reviews.models.review import Finding, PullRequest


class ReplyStatus(models.TextChoices):
    """pending → running → done | ignored | failed."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    IGNORED = "ignored"
    FAILED = "failed"


class CommentKind(models.TextChoices):
    ISSUE = "issue", "on the pull request"
    REVIEW = "review", "on a line"


class Reply(models.Model):
    """One comment that addresses us. command: what it asks for, or empty for a question.

    thread_id: the first comment of a line's thread. answer_id: our answer at GitHub. result: what its command did,
    stored together with it (text to answer with, outcome, threads yet to fold); with one, it is not done again.
    """

    pull_request = models.ForeignKey(PullRequest, on_delete=models.CASCADE, related_name="replies")
    kind = models.CharField(max_length=6, choices=CommentKind)
    comment_id = models.BigIntegerField()
    thread_id = models.BigIntegerField(null=True, blank=True)
    finding = models.ForeignKey(Finding, null=True, blank=True, on_delete=models.SET_NULL, related_name="replies")
    author = models.CharField(max_length=100)
    body = models.TextField()
    command = models.CharField(max_length=16, blank=True, default="")
    status = models.CharField(max_length=7, choices=ReplyStatus, default=ReplyStatus.PENDING)
    outcome = models.TextField(blank=True, default="", help_text="What came of it, or why it was ignored.")
    result = models.JSONField(null=True, blank=True, editable=False)
    answer = models.TextField(blank=True, default="")
    answer_id = models.BigIntegerField(null=True, blank=True)
    job_id = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "replies"
        constraints = [
            models.UniqueConstraint(name="reply_once", fields=["pull_request", "kind", "comment_id"]),
            models.CheckConstraint(name="reply_status_known", condition=Q(status__in=ReplyStatus.values)),
        ]
        indexes = [models.Index(F("created_at").desc(), name="reply_newest")]

    def __str__(self) -> str:
        return f"{self.pull_request}: {self.author}"
