"""Becomes another program, with less than it has itself: no network, limits on what it may use, no new privileges.

Run by path, in a Python of its own (`python -I -S launcher.py LIMITS PROGRAM ARGUMENT…`), so that nothing of ours is
loaded and no lock of a threaded parent is held between fork and exec. LIMITS is JSON: name of an RLIMIT → value. What
the kernel refuses is written to the descriptor named in LIMITS, and the program runs without it.

Source: unshare(2), user_namespaces(7), prctl(2), setrlimit(2).
"""

import ctypes
import json
import os
import resource
import signal
import sys

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CLONE_NEWIPC = 0x08000000
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
NOT_STARTED = 127


def main(arguments: list[str]) -> None:
    limits = json.loads(arguments[0])
    parent, told = int(limits.pop("parent")), int(limits.pop("told"))
    libc = ctypes.CDLL(None, use_errno=True)
    # Ended with whoever waits for it, also when that one is killed.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(NOT_STARTED)
    own_namespace, refused = leave_network(libc)
    if not own_namespace:
        # Counted over all processes of the user, so a number that fits one run would stop it.
        limits.pop("RLIMIT_NPROC", None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError) as exc:
            refused = refused or f"{name}: {exc}"
    if refused:
        os.write(told, refused.encode())
    os.close(told)
    try:
        os.execv(arguments[1], arguments[1:])  # noqa: S606  (what it is for; no shell is wanted)
    except OSError as exc:
        sys.stderr.write(f"{arguments[1]} cannot be started: {exc}\n")
        sys.exit(NOT_STARTED)


def leave_network(libc: ctypes.CDLL) -> tuple[bool, str]:
    """Move into namespaces without any network: (whether users are counted anew there, why the kernel refused)."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC):
        reason = os.strerror(ctypes.get_errno())
        if libc.unshare(CLONE_NEWNET) == 0:
            return False, ""
        return False, f"no network namespace: {reason}"
    # Same ids inside as outside: what it writes belongs to us.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
        except OSError:
            break
    return True, ""


if __name__ == "__main__":
    main(sys.argv[1:])
