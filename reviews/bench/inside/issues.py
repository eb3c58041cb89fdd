"""What issues are posted by and to."""

from django.contrib.auth import get_user_model

from jobs.operators.actors import command_actor
from jobs.operators.tokens import create_token
from reviews.models import Repository


def prepare(labels: list[str]) -> str:
    """Make a repository with these labels, and somebody who may do everything. Returns a token of theirs."""
    Repository.objects.create(full_name="acme/shop", issue_labels=labels)
    user = get_user_model().objects.create_superuser("bench")
    return str(create_token(command_actor(), user, "bench", None)[1])
