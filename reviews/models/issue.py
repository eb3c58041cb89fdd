"""Issues, and what was added to them: a summary, labels, and others that resemble them."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from reviews.models.repository import Repository


class EnrichmentState(models.TextChoices):
    """waiting (its minutes of grace, or switched off) → queued → running → done | failed."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Issue(models.Model):
    """An issue, by GitHub or by the API. number: at GitHub; without it, it is ours alone.

    content_hash: of title and body as they are; enriched_hash: of what `ai_summary` and the tags were made from.
    enrichment_round: grows with each edit and each wish to have it done again, so that the result of an older run is
    known when it comes late. terms: the words of its cleaned text, as often as they stand there.
    """

    repository = models.ForeignKey(Repository, null=True, blank=True, on_delete=models.CASCADE, related_name="issues")
    github_id = models.BigIntegerField(null=True, blank=True)
    number = models.PositiveIntegerField(null=True, blank=True)
    title = models.CharField(max_length=1000)
    body = models.TextField(blank=True, default="")
    author = models.CharField(max_length=100, blank=True, default="")
    state = models.CharField(max_length=16, default="open")
    url = models.URLField(max_length=500, blank=True, default="")
    language = models.CharField(max_length=8, blank=True, default="", help_text="Of its text, such as en.")

    ai_summary = models.TextField(blank=True, default="")
    summary_source = models.CharField(max_length=64, blank=True, default="", help_text="Who wrote the summary.")
    similar = models.JSONField(
        default=list, blank=True, help_text="[{issue, score, reason}]; shown, and nothing is done about them."
    )
    enrichment_state = models.CharField(max_length=7, choices=EnrichmentState, default=EnrichmentState.QUEUED)
    enrichment_error = models.TextField(blank=True, default="", help_text="Why it failed, or what was left out.")
    content_hash = models.CharField(max_length=64, blank=True, default="")
    enriched_hash = models.CharField(max_length=64, blank=True, default="")
    enrichment_round = models.PositiveIntegerField(default=0)
    terms: "ArrayField[list[str], list[str]]" = ArrayField(models.TextField(), default=list, blank=True)
    job_id = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    github_updated_at = models.DateTimeField(
        null=True, blank=True, help_text="Of the newest event, by GitHub's clock; older ones change nothing."
    )
    enriched_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        permissions = [("enrich_issue", "Can have an issue enriched")]
        constraints = [
            models.UniqueConstraint(
                name="issue_once", fields=["repository", "number"], condition=Q(number__isnull=False)
            ),
            models.CheckConstraint(
                name="issue_enrichment_known", condition=Q(enrichment_state__in=EnrichmentState.values)
            ),
        ]
        indexes = [
            models.Index(F("created_at").desc(), name="issue_newest"),
            models.Index(F("repository"), F("created_at").desc(), name="issue_of_repository"),
            models.Index(F("enrichment_state"), F("created_at").desc(), name="issue_of_enrichment"),
            models.Index(F("repository"), F("enriched_at").desc(), name="issue_enriched"),
        ]

    def __str__(self) -> str:
        return f"{self.repository or 'issue'}#{self.number or self.pk}"

    @property
    def tags(self) -> list[str]:
        """The labels that it has, by whomever; those that a human took off are not among them."""
        return [tag.name for tag in self.tag_rows.all() if not tag.removed]


class GoneIssue(models.Model):
    """An issue that was deleted at GitHub, or transferred from there: late events of it are not heeded.

    Kept for as long as deliveries are; numbers are not given twice.
    """

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="+", db_index=False)
    number = models.PositiveIntegerField()
    gone_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="gone_issue_once", fields=["repository", "number"])]

    def __str__(self) -> str:
        return f"{self.repository_id}#{self.number}"


class TagSource(models.TextChoices):
    HUMAN = "human"
    AI = "ai"
    RULE = "rule"


class IssueTag(models.Model):
    """A label of an issue. removed: a human took it off, and nothing puts it back."""

    issue = models.ForeignKey(Issue, on_delete=models.CASCADE, related_name="tag_rows")
    name = models.CharField(max_length=255)
    source = models.CharField(max_length=5, choices=TagSource)
    by = models.CharField(max_length=150, blank=True, default="", help_text="The person, model or rule.")
    confidence = models.FloatField(null=True, blank=True, help_text="0 to 1, of an AI's or a rule's.")
    reason = models.CharField(max_length=500, blank=True, default="")
    removed = models.BooleanField(default=False)
    at_github = models.BooleanField(default=False, help_text="Whether the issue has it at GitHub.")

    class Meta:
        default_permissions = ()
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(name="issue_tag_once", fields=["issue", "name"]),
            models.CheckConstraint(name="issue_tag_source_known", condition=Q(source__in=TagSource.values)),
        ]

    def __str__(self) -> str:
        return self.name


class IssueClassifier(models.Model):
    """What was learned of a repository's labels from its own labelled issues.

    weights: a NumPy archive (.npz) without pickled objects; see `enrichment/classifier.py`. labels: name → {examples,
    precision, coverage}, measured on issues that were held back; precision is null where nothing was sure enough.
    """

    repository = models.OneToOneField(Repository, on_delete=models.CASCADE, related_name="issue_classifier")
    weights = models.BinaryField(default=b"")
    labels = models.JSONField(default=dict, blank=True)
    examples = models.PositiveIntegerField(default=0, help_text="Labelled issues that it was trained on.")
    note = models.TextField(blank=True, default="", help_text="Why nothing was learned.")
    seconds = models.FloatField(null=True, blank=True)
    trained_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"labels of {self.repository}"
