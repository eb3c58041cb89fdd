"""Why somebody was or was not reminded: for that person, and for operators."""

from jobs.operators.actors import Actor
from reminders.operators import access
from reminders.services.explaining import Explanation, explain


def explain_todo(actor: Actor, todo_id: int, username: str = "") -> Explanation:
    """Of a task that the actor may see, for oneself; for others with reminders.view_reminder.

    Raises NotHere, PermissionDenied.
    """
    todo = access.require_todo(actor, todo_id, "view")
    return explain(todo, access.require_self_or(actor, username, "view_reminder"))
