"""What the views of reviews share: their pages, and what services' errors mean."""

from jobs.api.problems import add_meaning
from jobs.api.rows import NewestRowsFirst, NumberedLast
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.services.throttle import Throttled

add_meaning(GitHubRefused, 409, "github-refused")
add_meaning(GitHubError, 502, "github-failed")
add_meaning(Throttled, 503, "github-throttled")


class NewestReceivedFirst(NewestRowsFirst):
    ordering = ("-received_at", "-id")


class NewestDeliveredFirst(NewestRowsFirst):
    ordering = ("-delivered_at", "-id")


class ByFullName(NumberedLast):
    ordering = ("full_name", "id")
