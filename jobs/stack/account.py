"""The account that Postgres runs as: it refuses root."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.stack.errors import StackError

UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    def own(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)

    def popen_options(self) -> dict[str, Any]:
        """What Popen needs to run a program as this account."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def postgres_account() -> Account:
    """Our own account, or an unprivileged one when we are root."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwnam(UNPRIVILEGED) if uid == 0 else pwd.getpwuid(uid)
    except KeyError:
        who = f"no account {UNPRIVILEGED!r}" if uid == 0 else f"no account for user id {uid}"
        raise StackError(
            f"Postgres cannot start: the system has {who}; add one to /etc/passwd, or set DATABASE_URL"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def can_reach(path: Path) -> bool:
    """Whether an account without any rights of its own can enter the folder and read its files."""
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.resolve().parents])
