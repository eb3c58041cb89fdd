"""Accounts of people: deleted only while nothing hangs on them, else closed.

With an account would go what was sent to it, its tokens and the admin's log of what it did. What it made would belong
to nobody; and whoever took its name would seem to have done what the audit log tells of it.
"""

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef

CLOSE = "close the account instead: untick “Active” on its page, and it can be opened again"


def ties_of(user: Any) -> list[str]:
    """What hangs on an account, by its names; nothing for one that was never used. In one statement."""
    relations = {f"tie_{number}": relation for number, relation in enumerate(_relations())}
    ties = {
        name: Exists(relation.related_model._base_manager.filter(**{relation.field.name: OuterRef("pk")}))
        for name, relation in relations.items()
    }
    found = get_user_model()._base_manager.filter(pk=user.pk).values(**ties).first() or {}
    return sorted({_name(relations[name]) for name, is_there in found.items() if is_there})


def why_not_deleted(user: Any) -> str:
    """Why an account is not to be deleted, and what to do instead. Empty: it may be."""
    ties = ties_of(user)
    return f"{user.get_username()} is not deleted, for it has {', '.join(ties)}; {CLOSE}." if ties else ""


def _relations() -> list[Any]:
    """Keys of other models that lead to an account; its own groups and permissions are not among them."""
    fields = get_user_model()._meta.get_fields(include_hidden=True)
    own = {field.remote_field.through for field in get_user_model()._meta.many_to_many}
    keys = [field for field in fields if field.auto_created and (field.one_to_many or field.one_to_one)]
    return [field for field in keys if field.related_model not in own]


def _name(relation: Any) -> str:
    model = relation.related_model._meta
    # Of a list of people, the list: such as the tasks that are assigned to somebody.
    if model.auto_created:
        return str(model.auto_created._meta.verbose_name_plural)
    return str(model.verbose_name_plural)
