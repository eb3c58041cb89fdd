"""How we are known at GitHub: apps and tokens, where they are installed, and what was given to them for an hour."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from jobs.secrets import SecretField

PUBLIC_API = "https://api.github.com"


class AccessKind(models.TextChoices):
    APP = "app", "GitHub App"
    TOKEN = "token", "personal token"


class GitHubAccess(models.Model):
    """An App, or a token of one account, at github.com or at a GitHub Enterprise server."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=5, choices=AccessKind, default=AccessKind.APP)
    api_url = models.URLField(
        default=PUBLIC_API, help_text="https://api.github.com, or https://HOST/api/v3 of GitHub Enterprise."
    )
    client_id = models.CharField(max_length=64, blank=True, default="", help_text="Of an App: its client id.")
    app_id = models.BigIntegerField(null=True, blank=True, help_text="Of an App: its number, told by GitHub.")
    app_slug = models.CharField(max_length=100, blank=True, default="", help_text="Of an App: its name in mentions.")
    account_login = models.CharField(max_length=100, blank=True, default="", help_text="Who posts; told by GitHub.")
    private_key = SecretField(help_text="Of an App: the PEM file that GitHub made.")
    token = SecretField(help_text="Of a personal token: it reads contents and writes pull requests and issues.")
    webhook_secret = SecretField(help_text="What is entered at GitHub as the webhook's secret.")
    enabled = models.BooleanField(default=True)
    checked_at = models.DateTimeField(null=True, blank=True, help_text="When GitHub last answered to it.")
    error = models.TextField(blank=True, default="", help_text="What GitHub said when it was last refused.")
    swept_delivery_id = models.BigIntegerField(
        null=True, blank=True, help_text="Of an App: the newest delivery that the sweeper has looked at."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "GitHub access"
        verbose_name_plural = "GitHub access"
        constraints = [
            models.CheckConstraint(name="access_kind_known", condition=Q(kind__in=AccessKind.values)),
            models.UniqueConstraint(
                name="access_app_once", fields=["api_url", "client_id"], condition=Q(kind=AccessKind.APP)
            ),
        ]

    def __str__(self) -> str:
        return self.name


def server_of(access: GitHubAccess | None) -> str:
    """The API that an access speaks to, always written alike; None: the environment's."""
    url = access.api_url if access is not None else settings.GITHUB["API_URL"]
    return str(url).rstrip("/").lower()


class Installation(models.Model):
    """An App on an account. GitHub's id is unique at one server."""

    access = models.ForeignKey(GitHubAccess, on_delete=models.CASCADE, related_name="installations")
    github_id = models.BigIntegerField()
    account_login = models.CharField(max_length=100)
    account_type = models.CharField(max_length=32, blank=True, default="")
    permissions = models.JSONField(default=dict, blank=True)
    suspended_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    token = SecretField(help_text="Given for an hour, and asked for anew before it ends.")
    token_expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(name="installation_once", fields=["access", "github_id"])]

    def __str__(self) -> str:
        return f"{self.account_login} ({self.access})"


class OutsideLimit(models.Model):
    """What of a far side's allowance is used, for all workers together; see `services/throttle.py`.

    key: such as `github:12:write-minute`, or `llm:anthropic:requests`. full_at: theoretical arrival time (GCRA): the
    allowance is whole again then. closed_until: the far side asked to be left alone until then.
    """

    key = models.CharField(max_length=200, primary_key=True)
    full_at = models.DateTimeField(null=True, blank=True)
    closed_until = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.key
