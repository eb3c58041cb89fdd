"""What leads from one commit to another, at the stand-in; with the files, which only the first page has."""

import subprocess
from typing import TYPE_CHECKING

from reviews.standin import pulls
from reviews.standin.rules import Answer, Refused, Request, route

if TYPE_CHECKING:
    from reviews.standin.server import Standin

MAX_FILES = 300


@route("GET", r"compare/(\w+)\.\.\.(\w+)")
def compare(standin: "Standin", request: Request, base: str, head: str) -> Answer:
    request.need("contents")
    try:
        parted = standin.repo.git("merge-base", base, head)
    except subprocess.CalledProcessError:
        raise Refused(404, "Not Found") from None
    files = [] if request.query.get("page", "1") != "1" else pulls.changed_files(standin, parted, head)
    status = "identical" if base == head else "ahead" if parted == base else "behind" if parted == head else "diverged"
    return 200, {"merge_base_commit": {"sha": parted}, "status": status, "commits": [], "files": files[:MAX_FILES]}
