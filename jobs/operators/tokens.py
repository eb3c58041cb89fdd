"""Bearer tokens for programs. Only a token's SHA-256 is kept: 256 random bits need no salt and no slow hash."""

import hashlib
import re
import secrets
from datetime import datetime

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from jobs.models import ApiToken
from jobs.operators.actors import Actor

MARK = "swy_"
PREFIX_LENGTH = 12
_TOKEN = re.compile(r"swy_[A-Za-z0-9_-]{43}", re.ASCII)


class TokenRefused(ValueError):
    """No such token can be made; the message says what to change."""


def create_token(actor: Actor, user: User, name: str, expires_at: datetime | None = None) -> tuple[ApiToken, str]:
    """Make a token that acts as `user`. Returns its row and its text, which is never to be had again.

    Raises PermissionDenied (jobs.add_apitoken; only a superuser or a command may make one for somebody else), or
    TokenRefused for an empty or long name, an inactive user, or an expiry in the past.
    """
    actor.require("jobs.add_apitoken")
    _require_self_or_superuser(actor, user)
    name = name.replace("\x00", "").strip()
    if not 0 < len(name) <= 100:
        raise TokenRefused(f"the token's name has {len(name)} characters; it takes 1 to 100")
    if not user.is_active:
        raise TokenRefused(f"{user.get_username()} is not active; activate the account first")
    if expires_at is not None and expires_at <= timezone.now():
        raise TokenRefused(f"expires_at {expires_at.isoformat()} is in the past")
    text = MARK + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user, name=name, prefix=text[:PREFIX_LENGTH], digest=_digest(text), expires_at=expires_at
        )
        actor.record("token.create", token.pk, name=name, user=user.get_username())
    return token, text


def revoke_token(actor: Actor, token_id: int) -> ApiToken:
    """Refuse a token from now on; its row stays. Revoking again keeps the first time.

    Raises PermissionDenied (jobs.change_apitoken; only a superuser or a command for somebody else's), or
    ApiToken.DoesNotExist.
    """
    actor.require("jobs.change_apitoken")
    with transaction.atomic():
        token = ApiToken.objects.select_for_update(of=("self",)).select_related("user").get(pk=token_id)
        _require_self_or_superuser(actor, token.user)
        if token.revoked_at is None:
            token.revoked_at = timezone.now()
            token.save(update_fields=["revoked_at"])
            actor.record("token.revoke", token.pk, name=token.name, user=token.user.get_username())
    return token


def authenticate(text: str) -> ApiToken | None:
    """The token of this text with its user, unless it is unknown, revoked, expired, or its user is not active."""
    if not _TOKEN.fullmatch(text):
        return None
    # The digest is looked up, not the text, so the time that takes tells nothing about a token.
    token = ApiToken.objects.select_related("user").filter(digest=_digest(text)).first()
    now = timezone.now()
    if token is None or token.revoked_at is not None or not token.user.is_active:
        return None
    if token.expires_at is not None and token.expires_at <= now:
        return None
    _note_use(token, now.replace(second=0, microsecond=0))
    return token


def _note_use(token: ApiToken, minute: datetime) -> None:
    """Write the minute once, not with every request."""
    if token.last_used_at is None or token.last_used_at < minute:
        earlier = Q(last_used_at__isnull=True) | Q(last_used_at__lt=minute)
        ApiToken.objects.filter(earlier, pk=token.pk).update(last_used_at=minute)
        token.last_used_at = minute


def _require_self_or_superuser(actor: Actor, user: User) -> None:
    """A token has all its user's permissions, so making one for another is becoming that other."""
    if actor.user is None or actor.user.pk == user.pk or actor.user.is_superuser:
        return
    raise PermissionDenied(f"{actor.name} may manage only tokens of their own; a superuser may manage all")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
