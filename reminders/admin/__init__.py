"""Pages for operators; importing a module registers its own."""

from jobs.admin import control_room
from reminders.admin import attachments, channels, default_rules, people, projects, reminders, tiles, todos

__all__ = ["attachments", "channels", "default_rules", "people", "projects", "reminders", "tiles", "todos"]

control_room.also_show(tiles.tiles)
