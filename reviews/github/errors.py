"""What GitHub does not do, and what to do about it. No message holds a secret."""

from datetime import datetime


class GitHubError(Exception):
    """GitHub did not do it. retry_after_seconds: the wait that GitHub asked for.

    said: GitHub's own words. answered_at: its clock when it said so.
    """

    said: str = ""
    answered_at: datetime | None = None

    def __init__(self, message: str, status: int = 0, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class GitHubRefused(GitHubError):
    """Asked again, GitHub would answer the same until somebody changes something: a token, a name, a permission."""


class AccessMissing(GitHubRefused):
    """Nothing is entered by which GitHub would know us, or it is switched off."""


class KeyRefused(GitHubRefused):
    """The App's private key cannot be read, or is not one of this App."""


class ClockWrong(GitHubRefused):
    """GitHub takes the time in our JWT for wrong."""


class AppUnknown(GitHubRefused):
    """GitHub has no App of that client id."""


class InstallationSuspended(GitHubRefused):
    """The account that the App is installed on has suspended it."""


class InstallationRemoved(GitHubRefused):
    """The App is not installed there any more."""
