"""Language models that may review, and what every call of one cost."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.secrets import SecretField
from reviews.models.repository import Repository


class LlmKind(models.TextChoices):
    ANTHROPIC = "anthropic", "Anthropic"
    OPENAI = "openai", "OpenAI, or what is compatible with it"


class LlmProvider(models.Model):
    """A language model under a name that repositories choose. Its key is of the environment where none is entered."""

    name = models.SlugField(max_length=64, unique=True)
    kind = models.CharField(max_length=9, choices=LlmKind)
    model = models.CharField(max_length=100, help_text="As the provider names it.")
    base_url = models.URLField(blank=True, default="", help_text="Empty: the provider's own.")
    api_key = SecretField(help_text="Empty: ANTHROPIC_API_KEY or OPENAI_API_KEY of the environment.")
    enabled = models.BooleanField(default=True)
    context_tokens = models.PositiveIntegerField(default=32_000, help_text="Of one request, at most.")
    output_tokens = models.PositiveIntegerField(
        default=16_000, help_text="Of one answer, at most; what a model thinks before it answers counts."
    )
    max_requests = models.PositiveSmallIntegerField(default=8, help_text="For one change, at most.")
    input_usd_per_million = models.DecimalField(max_digits=10, decimal_places=4, default=0)
    cached_usd_per_million = models.DecimalField(
        max_digits=10, decimal_places=4, default=0, help_text="Of input that the provider had in its cache."
    )
    output_usd_per_million = models.DecimalField(max_digits=10, decimal_places=4, default=0)
    change_cap_usd = models.DecimalField(max_digits=8, decimal_places=2, default=1)
    daily_cap_usd = models.DecimalField(max_digits=8, decimal_places=2, default=20)
    requests_per_minute = models.PositiveIntegerField(default=50)
    min_confidence = models.FloatField(
        default=0.6, help_text="Findings of which the model is less sure are left out; 0 to 1."
    )
    checked_at = models.DateTimeField(null=True, blank=True, help_text="When key and model were last tried.")
    error = models.TextField(blank=True, default="", help_text="What was wrong then; empty: nothing.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "LLM provider"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(name="llm_kind_known", condition=Q(kind__in=LlmKind.values)),
            models.CheckConstraint(name="llm_confidence_range", condition=Q(min_confidence__range=(0, 1))),
        ]

    def __str__(self) -> str:
        return self.name


class LlmCall(models.Model):
    """One request to a language model, also one that failed or was cut off. Its cost is reserved before it is made.

    cost_usd: what it cost, or, until that is known, the most that it may. answer: kept for the job's further attempts,
    which do not ask, and pay, again for what was answered; request_digest tells that it is the same request.
    """

    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=100)
    purpose = models.CharField(max_length=16, help_text="review, repair, reply, issue or check.")
    repository = models.ForeignKey(Repository, null=True, on_delete=models.SET_NULL, related_name="+")
    number = models.PositiveIntegerField(null=True, blank=True, help_text="Of the pull request or issue.")
    review = models.ForeignKey(
        "reviews.PullRequestReview", null=True, blank=True, on_delete=models.SET_NULL, related_name="llm_calls"
    )
    job_id = models.CharField(max_length=255, blank=True, default="")
    input_tokens = models.PositiveIntegerField(null=True, blank=True, help_text="All of them.")
    cached_tokens = models.PositiveIntegerField(null=True, blank=True, help_text="Of these, read from its cache.")
    written_tokens = models.PositiveIntegerField(null=True, blank=True, help_text="Of these, written to its cache.")
    output_tokens = models.PositiveIntegerField(null=True, blank=True)
    estimated_tokens = models.PositiveIntegerField(default=0, help_text="Of its input, before it was sent.")
    cost_usd = models.DecimalField(max_digits=10, decimal_places=6, default=0)
    seconds = models.FloatField(null=True, blank=True)
    error = models.TextField(blank=True, default="")
    request_digest = models.CharField(max_length=64, blank=True, default="")
    answer = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True, help_text="Empty: under way, its cost reserved.")

    class Meta:
        default_permissions = ("view",)
        verbose_name = "LLM call"
        indexes = [
            models.Index(F("created_at").desc(), name="llm_call_newest"),
            models.Index(F("provider"), F("created_at"), name="llm_call_of_day"),
            models.Index(F("created_at"), name="llm_call_under_way", condition=Q(finished_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.purpose} {self.created_at:%Y-%m-%d %H:%M}"
