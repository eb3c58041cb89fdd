"""Repositories at GitHub, what is set for each, and what GitHub delivered."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from reviews.models.access import GitHubAccess, Installation, server_of


class Severity(models.TextChoices):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


def _texts(help_text: str) -> "ArrayField[list[str], list[str]]":
    return ArrayField(models.CharField(max_length=255), default=list, blank=True, help_text=help_text)


class Repository(models.Model):
    """A repository at GitHub, made by its first delivery. Its id at its server stays when it is renamed.

    What is set here are defaults: `.switchyard.yml` on the base branch overrides them, within `providers_allowed` and
    the caps. One without GitHub's id and access is known by name alone (issues that came by the API).
    """

    github_id = models.BigIntegerField(null=True, blank=True)
    api_url = models.CharField(
        max_length=200, blank=True, default="", editable=False, help_text="The server at which it has that id."
    )
    full_name = models.CharField(max_length=255, db_index=True, help_text="owner/name")
    access = models.ForeignKey(
        GitHubAccess, null=True, blank=True, on_delete=models.SET_NULL, related_name="repositories",
        help_text="Empty: the token and address of the environment (GITHUB_TOKEN, GITHUB_API_URL).",
    )  # fmt: skip
    installation = models.ForeignKey(
        Installation, null=True, blank=True, on_delete=models.SET_NULL, related_name="repositories"
    )
    private = models.BooleanField(default=False)
    default_branch = models.CharField(max_length=255, blank=True, default="")
    removed_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it is deleted at GitHub, or the App is gone from it."
    )

    enabled = models.BooleanField(default=True, help_text="Whether its pull requests are reviewed.")
    provider = models.CharField(max_length=64, default="embedded", help_text="Who reviews.")
    providers_allowed = _texts("What `.switchyard.yml` may choose beside that one; empty: nothing else.")
    large_files = models.PositiveIntegerField(
        default=50, help_text="A pull request that changes more files than this is reviewed on the slow lane."
    )
    large_lines = models.PositiveIntegerField(default=2000, help_text="The same for added and deleted lines together.")
    severity_floor = models.CharField(
        max_length=6, choices=Severity, default=Severity.LOW, help_text="Less severe findings are not posted."
    )
    finding_budget = models.PositiveSmallIntegerField(default=10, help_text="Findings posted on a change, at most.")
    review_drafts = models.BooleanField(default=False)
    review_bots = models.BooleanField(default=False, help_text="Pull requests that bots open.")
    excluded_labels = _texts("A pull request with one of these labels is not reviewed.")
    excluded_titles = _texts("Nor one whose title contains one of these, such as [wip]; case does not matter.")
    excluded_authors = _texts("Nor one by one of these accounts.")
    excluded_paths = _texts("Files that are not read, as in .gitignore: vendor/, *.min.js")
    path_instructions = models.JSONField(
        default=list, blank=True, help_text='For the LLM, by path: [{"path": "api/**", "instructions": "…"}]'
    )
    instructions = models.TextField(blank=True, default="", help_text="For the LLM, for every file.")
    language = models.CharField(max_length=32, default="English", help_text="In which the LLM writes.")
    daily_cap_usd = models.DecimalField(
        max_digits=8, decimal_places=2, null=True, blank=True, help_text="LLM cost a day; empty: the provider's cap."
    )
    change_cap_usd = models.DecimalField(
        max_digits=8, decimal_places=2, null=True, blank=True, help_text="LLM cost a change; empty: the provider's cap."
    )

    file_settings = models.JSONField(
        default=dict, blank=True, help_text="What `.switchyard.yml` on the default branch said when it was last read."
    )

    index_enabled = models.BooleanField(default=True, help_text="Whether its code is indexed, as context of reviews.")
    issues_enabled = models.BooleanField(default=True, help_text="Whether its issues are enriched.")
    issue_provider = models.CharField(max_length=64, default="offline", help_text="Who enriches its issues.")
    issue_labels = _texts("Labels that its issues may get; empty: those that GitHub has for it.")
    apply_labels = models.BooleanField(
        default=False, help_text="Whether labels that its issues get here are added to them at GitHub, too."
    )
    github_labels = models.JSONField(
        default=list, blank=True, help_text='The labels that GitHub has for it: [{"name": "bug", "description": "…"}]'
    )
    labels_fetched_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "repositories"
        permissions = [("index_repository", "Can have the code of a repository indexed")]
        constraints = [
            models.CheckConstraint(name="repository_severity_known", condition=Q(severity_floor__in=Severity.values)),
            models.CheckConstraint(name="repository_budget", condition=Q(finding_budget__range=(1, 50))),
            models.UniqueConstraint(name="repository_once_at_server", fields=["github_id", "api_url"]),
        ]

    def __str__(self) -> str:
        return self.full_name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.github_id is not None and not self.api_url:
            self.api_url = server_of(self.access)
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], "api_url"}
        super().save(*args, **kwargs)

    def is_large(self, changed_files: int, changed_lines: int) -> bool:
        return changed_files > self.large_files or changed_lines > self.large_lines


class Delivery(models.Model):
    """One webhook delivery of GitHub and what came of it. A redelivery has the guid of the first."""

    guid = models.CharField(max_length=64, unique=True)
    access = models.ForeignKey(GitHubAccess, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    event = models.CharField(max_length=64)
    action = models.CharField(max_length=64, blank=True, default="")
    repository = models.ForeignKey(Repository, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    payload = models.JSONField(help_text="Of a large payload only the outline.")
    outcome = models.TextField(help_text="“job …”, or “ignored, because …”.")
    job_id = models.CharField(max_length=255, blank=True, default="")
    received_at = models.DateTimeField(auto_now_add=True)
    repeats = models.PositiveIntegerField(default=0, help_text="How often GitHub delivered it again.")
    asked_again_at = models.DateTimeField(
        null=True, blank=True, help_text="GitHub was asked to send it again, and the next one of it is handled."
    )

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "deliveries"
        permissions = [("redeliver_delivery", "Can have a delivery handled, or sent, again")]
        indexes = [
            models.Index(F("received_at").desc(), name="delivery_newest"),
            models.Index(F("repository"), F("received_at").desc(), name="delivery_of_repository"),
            models.Index(F("event"), F("received_at").desc(), name="delivery_of_event"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.guid}"


class MissedDelivery(models.Model):
    """What GitHub delivered and we never stored: it is asked for again, less often each time, until it arrives.

    A row goes away when the delivery is stored, or when GitHub does not keep it any more. github_id: of the attempt
    that GitHub is asked to repeat. status_code: what our answer was, 0 if there was none.
    """

    access = models.ForeignKey(GitHubAccess, on_delete=models.CASCADE, related_name="missed_deliveries")
    guid = models.CharField(max_length=64)
    github_id = models.BigIntegerField()
    event = models.CharField(max_length=64)
    action = models.CharField(max_length=64, blank=True, default="")
    status_code = models.PositiveIntegerField(default=0)
    delivered_at = models.DateTimeField()
    asked = models.PositiveSmallIntegerField(default=0, help_text="How often GitHub was asked to send it again.")
    ask_at = models.DateTimeField(db_default=Now(), help_text="When it is asked for next.")
    error = models.CharField(max_length=300, blank=True, default="", help_text="What GitHub said to that.")

    class Meta:
        verbose_name_plural = "missed deliveries"
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(name="missed_delivery_once", fields=["access", "guid"])]
        indexes = [models.Index("ask_at", name="missed_delivery_due")]

    def __str__(self) -> str:
        return f"{self.event} {self.guid}"
