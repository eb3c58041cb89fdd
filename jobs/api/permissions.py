"""What a caller must be allowed to do: each view names it, and a view that names nothing is closed."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class NamedPermission(BasePermission):
    """Checks the view's `required_permission` on every method; what a POST does is checked again by its service."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        if not (user and user.is_authenticated and user.is_active):
            return False
        needed = view.required_permission
        if request.method != "GET":
            needed = getattr(view, "required_to_change", needed)
        needed = getattr(view, "required_by_method", {}).get(request.method, needed)
        self.message = f"{user.get_username()} lacks the permission {needed}."
        return bool(user.has_perm(needed))
