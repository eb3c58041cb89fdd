"""Who acts: the same permission check and the same audit entry for the admin, the API and commands."""

from dataclasses import dataclass
from typing import Any, Literal

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import PermissionDenied

from jobs.models import AuditEntry

#: Where somebody acts: page is one for people, link one that came by mail.
Via = Literal["admin", "api", "page", "link", "command"]


@dataclass(frozen=True)
class Actor:
    """A person, or, without a user, whoever may run commands on the machine (who may do everything anyway)."""

    name: str
    via: Via
    user: Any = None

    @classmethod
    def of_user(cls, user: "AbstractBaseUser | AnonymousUser", via: Via) -> "Actor":
        return cls(name=user.get_username(), via=via, user=user)

    def may(self, permission: str) -> bool:
        return self.user is None if self.via == "command" else bool(self.user and self.user.has_perm(permission))

    def require(self, permission: str) -> None:
        """Raise PermissionDenied, naming the permission, unless the actor has it."""
        if not self.may(permission):
            raise PermissionDenied(f"{self.name or 'anonymous'} lacks the permission {permission}")

    def record(self, action: str, target: object, **detail: Any) -> None:
        """Add an audit entry, in the caller's transaction."""
        AuditEntry.objects.create(
            user=self.user, actor=self.name, via=self.via, action=action, target=str(target)[:255], detail=detail
        )


def command_actor() -> Actor:
    """The system account that runs a command."""
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "command"
    return Actor(name=name, via="command")
