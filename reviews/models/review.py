"""Pull requests, their reviews, and what these found."""

from django.db import models
from django.db.models import F, Q

from reviews.models.repository import Repository


class ReviewStatus(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    SUPERSEDED = "superseded"
    FAILED = "failed"


FINISHED = (ReviewStatus.DONE, ReviewStatus.SUPERSEDED, ReviewStatus.FAILED)


class PullRequest(models.Model):
    """What is known of a pull request between its reviews.

    reviewed_sha: the head of the newest review that was posted; the next one tells only what is new since then.
    paused_at: somebody said `pause`; pushes start no review until `resume`.
    """

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="pull_requests")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=500, blank=True, default="")
    author = models.CharField(max_length=100, blank=True, default="")
    author_is_bot = models.BooleanField(default=False)
    state = models.CharField(max_length=16, default="open", help_text="open, or closed; as GitHub says.")
    draft = models.BooleanField(default=False)
    labels = models.JSONField(default=list, blank=True)
    base_ref = models.CharField(max_length=255, blank=True, default="")
    base_sha = models.CharField(max_length=64, blank=True, default="")
    head_sha = models.CharField(max_length=64, blank=True, default="")
    changed_files = models.PositiveIntegerField(default=0)
    changed_lines = models.PositiveIntegerField(default=0)
    reviewed_sha = models.CharField(max_length=64, blank=True, default="")
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=100, blank=True, default="")
    config_error_sha = models.CharField(
        max_length=64, blank=True, default="", help_text="The .switchyard.yml (its blob) whose errors were told here."
    )
    changed_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When it was last changed at GitHub, as far as we know: events come out of order.",
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(name="pull_request_once", fields=["repository", "number"])]

    def __str__(self) -> str:
        return f"{self.repository}#{self.number}"


class Trigger(models.TextChoices):
    """What asked for a review."""

    OPENED = "opened"
    PUSHED = "pushed"
    COMMAND = "command", "a comment"
    RERUN = "rerun", "the Re-run button"
    OPERATOR = "operator"


class PullRequestReview(models.Model):
    """The review of one head of a pull request; posted to GitHub once a round.

    round: 1, and one more for each time that the same head is reviewed again because somebody asked. since_sha: the
    head that was reviewed before; empty for a full review.

    pending → running → done | superseded (the head moved on, or the pull request was closed) | failed.
    A failed one, and one that is waiting for its next attempt, goes back to running.
    """

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="reviews")
    pull_request = models.ForeignKey(PullRequest, null=True, on_delete=models.CASCADE, related_name="reviews")
    number = models.PositiveIntegerField(help_text="The pull request's number.")
    round = models.PositiveSmallIntegerField(default=1)
    trigger = models.CharField(max_length=8, choices=Trigger, default=Trigger.OPENED)
    since_sha = models.CharField(max_length=64, blank=True, default="")
    full = models.BooleanField(default=False, help_text="All of the change was asked for, not only what is new.")
    asked_by = models.CharField(
        max_length=150, blank=True, default="", help_text="Of a review that somebody asked for."
    )
    base_sha = models.CharField(max_length=64)
    head_sha = models.CharField(max_length=64)
    title = models.CharField(max_length=500, blank=True, default="")
    provider = models.CharField(max_length=64, default="embedded")
    status = models.CharField(max_length=10, choices=ReviewStatus, default=ReviewStatus.PENDING)
    job_id = models.CharField(max_length=255, blank=True, default="")
    github_review_id = models.BigIntegerField(null=True, blank=True, help_text="The posted review's id at GitHub.")
    finding_count = models.PositiveIntegerField(null=True, blank=True, help_text="Those left out included.")
    coverage = models.JSONField(default=dict, blank=True, help_text="What was read, and what was not and why.")
    error = models.TextField(blank=True, default="", help_text="Why it failed, or why it was superseded.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True, help_text="When the latest attempt began.")
    finished_at = models.DateTimeField(null=True, blank=True)
    lane = models.CharField(max_length=16, blank=True, default="")
    cost_usd = models.DecimalField(max_digits=10, decimal_places=6, default=0, help_text="Of its LLM calls.")
    fallback = models.TextField(blank=True, default="", help_text="Why the LLM did not review, where it should have.")
    config = models.JSONField(default=dict, blank=True, help_text="The settings that it was made with.")
    check_run_id = models.BigIntegerField(null=True, blank=True)
    error_comment_id = models.BigIntegerField(null=True, blank=True, help_text="The comment that told of its failure.")
    untold = models.TextField(
        blank=True, default="", help_text="What is yet to be told at GitHub of its failure; empty: nothing."
    )
    step_seconds = models.JSONField(default=dict, blank=True, help_text="Seconds spent in each step.")
    may_be_pending = models.BooleanField(
        default=False, help_text="It may stand at GitHub without having been submitted."
    )
    postings = models.PositiveSmallIntegerField(
        default=0, help_text="How often it was given up at GitHub before it was submitted."
    )

    class Meta:
        default_permissions = ("view",)
        verbose_name = "pull request review"
        permissions = [("request_review", "Can have a pull request reviewed")]
        constraints = [
            models.UniqueConstraint(name="review_once_per_head", fields=["repository", "number", "head_sha", "round"]),
            models.CheckConstraint(name="review_status_known", condition=Q(status__in=ReviewStatus.values)),
            models.CheckConstraint(
                name="review_finished_at_when_finished",
                condition=Q(status__in=FINISHED) ^ Q(finished_at__isnull=True),
            ),
        ]
        indexes = [
            models.Index(F("created_at").desc(), name="review_newest"),
            models.Index(F("repository"), F("created_at").desc(), name="review_of_repository"),
            models.Index(F("status"), F("created_at").desc(), name="review_of_status"),
            models.Index("id", name="review_may_be_pending", condition=Q(may_be_pending=True)),
            models.Index("id", name="review_untold", condition=~Q(untold="")),
        ]

    def __str__(self) -> str:
        return f"{self.repository}#{self.number} at {self.head_sha[:12]}"


class FindingState(models.TextChoices):
    """new → posted → resolved | dismissed; or known (told before), or left out (beyond the budget, below the floor)."""

    NEW = "new"
    POSTED = "posted"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"
    KNOWN = "known"
    LEFT_OUT = "left_out", "left out"


class Finding(models.Model):
    """One remark of a review, on lines of its head. line, end_line: from 1, both included."""

    review = models.ForeignKey(PullRequestReview, on_delete=models.CASCADE, related_name="findings")
    state = models.CharField(max_length=9, choices=FindingState, default=FindingState.NEW)
    provider = models.CharField(max_length=64, default="embedded", help_text="Who found it.")
    path = models.TextField()
    line = models.PositiveIntegerField()
    end_line = models.PositiveIntegerField()
    rule = models.CharField(max_length=64)
    message = models.TextField()
    severity = models.CharField(max_length=8)
    category = models.CharField(max_length=32, blank=True, default="")
    source_line = models.TextField(blank=True)
    symbol = models.TextField(blank=True, default="")
    hunk = models.TextField(blank=True, default="", help_text="The lines around it, as a diff, to show beside it.")
    suggestion = models.TextField(blank=True, default="", help_text="What would stand in place of line to end_line.")
    fingerprint = models.CharField(max_length=64, help_text="Of rule, source line and enclosing symbol.")
    anchored = models.BooleanField(help_text="Posted on its line; else in the review's text.")
    comment_id = models.BigIntegerField(null=True, blank=True, help_text="Of its comment at GitHub.")
    closed_by = models.CharField(max_length=150, blank=True, default="", help_text="Who resolved or dismissed it.")

    class Meta:
        default_permissions = ("view",)
        permissions = [("dismiss_finding", "Can dismiss a finding, so that it is not told again")]
        ordering = ["path", "line"]
        constraints = [
            models.CheckConstraint(name="finding_lines_in_order", condition=Q(line__gte=1, end_line__gte=F("line")))
        ]
        indexes = [
            models.Index("comment_id", name="finding_of_comment", condition=Q(comment_id__isnull=False)),
            models.Index("fingerprint", name="finding_of_fingerprint"),
        ]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}"


class Told(models.Model):
    """A finding that a pull request's people know of: it is not told again, whatever lines move.

    dismissed_at: somebody said that it is none; without, it was posted.
    """

    pull_request = models.ForeignKey(PullRequest, on_delete=models.CASCADE, related_name="told")
    path = models.TextField(help_text="At the time; a renamed file's findings are known by their old path.")
    fingerprint = models.CharField(max_length=64)
    review = models.ForeignKey(PullRequestReview, null=True, on_delete=models.SET_NULL, related_name="+")
    told_at = models.DateTimeField(auto_now_add=True)
    dismissed_at = models.DateTimeField(null=True, blank=True)
    dismissed_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="told_once", fields=["pull_request", "path", "fingerprint"])]

    def __str__(self) -> str:
        return f"{self.path}: {self.fingerprint}"
