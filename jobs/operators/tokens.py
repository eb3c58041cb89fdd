"""Bearer tokens for programs. Only a token's SHA-256 is kept: 256 random bits need no salt and no slow hash."""

import hashlib
import re
import secrets
from datetime import datetime

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from jobs.models import ApiToken
from jobs.operators.actors import Actor
from jobs.operators.search import is_storable

MARK = "swy_"
PREFIX_LENGTH = 12
_TOKEN = re.compile(r"swy_[A-Za-z0-9_-]{43}", re.ASCII)


class TokenRefused(ValueError):
    """No such token can be made; the message says what to change."""


def find_tokens(actor: Actor) -> QuerySet[ApiToken]:
    """The tokens that the actor may see: their own, or all for a superuser or a command; the newest first.

    Raises PermissionDenied (jobs.view_apitoken).
    """
    actor.require("jobs.view_apitoken")
    tokens = ApiToken.objects.select_related("user").order_by("-pk")
    return tokens if actor.user is None or actor.user.is_superuser else tokens.filter(user=actor.user)


def find_owner(actor: Actor, username: str | None) -> User:
    """Whom a new token is for: the actor; for a superuser, anybody. Raises PermissionDenied or TokenRefused."""
    if actor.user is not None and username in (None, actor.user.get_username()):
        return actor.user
    if actor.user is not None and not actor.user.is_superuser:
        raise PermissionDenied(f"{actor.name} may manage only tokens of their own; a superuser may manage all")
    name = username or ""
    owner = get_user_model().objects.filter(username=name).first() if is_storable(name) else None
    if owner is None:
        raise TokenRefused(f"no user {name[:150]!r}; make one in the admin or with: manage.py createsuperuser")
    return owner


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
        token = ApiToken.objects.select_for_update(of=("self",)).select_related("user").filter(pk=token_id).first()
        if token is None:
            raise ApiToken.DoesNotExist(f"no token {token_id}")
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
