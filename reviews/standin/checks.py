"""Check runs at the stand-in: Apps alone write them, each its own."""

from typing import TYPE_CHECKING, Any

from reviews.standin.rules import SOMEWHERE, WHEN, Answer, Refused, Request, page, route

if TYPE_CHECKING:
    from reviews.standin.server import Standin

_MAX_OUTPUT = 65_535
_MAX_ANNOTATIONS = 50
_FIELDS = ("name", "head_sha", "status", "conclusion", "external_id", "details_url")


@route("POST", r"check-runs")
def create_check_run(standin: "Standin", request: Request) -> Answer:
    _need_app(request)
    run: dict[str, Any] = {"id": standin.new_id(), "app": request.caller.app, "status": "queued", "output": {}}
    run["conclusion"] = None
    _update(run, request.body)
    standin.check_runs.append(run)
    return 201, check_run_json(run)


@route("PATCH", r"check-runs/(\d+)")
def update_check_run(standin: "Standin", request: Request, check_run_id: str) -> Answer:
    _need_app(request)
    for run in standin.check_runs:
        if run["id"] == int(check_run_id):
            if run["app"] != request.caller.app:
                raise Refused(403, "Invalid app_id - check run can only be modified by the GitHub App that created it")
            _update(run, request.body)
            return 200, check_run_json(run)
    raise Refused(404, "Not Found")


@route("GET", r"commits/([^/]+)/check-runs")
def list_check_runs(standin: "Standin", request: Request, ref: str) -> Answer:
    request.need("checks")
    name = request.query.get("check_name")
    found = [run for run in standin.check_runs if run["head_sha"] == ref and name in (None, run["name"])]
    return 200, {"total_count": len(found), "check_runs": page([check_run_json(run) for run in found], request.query)}


def _need_app(request: Request) -> None:
    if request.caller.installation is None:
        raise Refused(403, "You must authenticate via a GitHub App.")
    request.need("checks", "write")


def _update(run: dict[str, Any], body: dict[str, Any]) -> None:
    output = body.get("output", {})
    if any(len(output.get(part) or "") > _MAX_OUTPUT for part in ("summary", "text")):
        raise Refused(422, "Invalid request.", f"Only {_MAX_OUTPUT} characters are allowed")
    if len(output.get("annotations", ())) > _MAX_ANNOTATIONS:
        raise Refused(422, "Invalid request.", f"No more than {_MAX_ANNOTATIONS} items are allowed")
    if body.get("status") == "completed" and not body.get("conclusion"):
        raise Refused(422, "Invalid request.", "a completed check run needs a conclusion")
    run.update({name: body[name] for name in _FIELDS if name in body})
    run["output"] = {**run["output"], **output}


def check_run_json(run: dict[str, Any]) -> dict[str, Any]:
    """A check run as GitHub shows it, in answers and in deliveries."""
    completed = run["status"] == "completed"
    output = {name: run["output"].get(name) for name in ("title", "summary", "text")}
    return {
        "id": run["id"],
        "node_id": "n",
        **{name: run.get(name) for name in _FIELDS},
        **dict.fromkeys(("url", "html_url"), SOMEWHERE),
        "started_at": WHEN,
        "completed_at": WHEN if completed else None,
        "check_suite": {"id": 1},
        "output": {**output, "annotations_count": len(run["output"].get("annotations", ())), "annotations_url": "x"},
        "app": None,
        "pull_requests": [],
    }
