"""GitHub's own description of its API, where it is here: what breaks it, in the client's requests or our stand-in."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jsonschema import Draft4Validator, ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT4

URI = "urn:github"
# Not part of REST, and neither is what git asks for.
GRAPHQL = "/graphql"
DESCRIPTION = Path(__file__).resolve().parents[2] / ".cache/npm/openapi/generated/api.github.com.json"

# GitHub's own examples of pull request, contents and permission break their schemas, and no account fits that of a list
# of installations; of these, and of what else is large, the stand-in gives only the fields that are read.
UNCHECKED_ANSWERS = frozenset(
    {
        "/app/installations",
        "/installation/repositories",
        "/repos/{owner}/{repo}",
        "/repos/{owner}/{repo}/branches/{branch}",
        "/repos/{owner}/{repo}/collaborators/{username}/permission",
        "/user",
        "/repos/{owner}/{repo}/pulls/{pull_number}",
        "/repos/{owner}/{repo}/contents/{path}",
        "/repos/{owner}/{repo}/compare/{basehead}",
        "/repos/{owner}/{repo}/compare/{base}...{head}",
    }
)


@cache
def _description() -> tuple[dict[str, Any], "Registry[Any]"] | None:
    if not DESCRIPTION.is_file():
        return None
    description = json.loads(DESCRIPTION.read_text())
    return description, Registry().with_resource(URI, DRAFT4.create_resource(description))


@cache
def _template(path: str, verb: str) -> str | None:
    loaded = _description()
    assert loaded is not None
    best = None
    for template, operations in loaded[0]["paths"].items():
        pattern = re.sub(r"\{(path|basehead)\}", "(.+)", template)
        pattern = re.sub(r"\{\w+\}", "([^/]+)", pattern)
        if verb.lower() in operations and re.fullmatch(pattern, path) and (best is None or len(template) > len(best)):
            best = template
    return best


def violations(verb: str, path: str, query: dict[str, str], body: Any, status: int, answer: Any) -> list[str]:
    """In words: an unknown path, a parameter that the operation does not know, a body or answer that does not fit."""
    loaded = _description()
    if loaded is None:
        return []
    if path == GRAPHQL or ".git/" in path:
        return []
    template = _template(path, verb)
    if template is None:
        return [f"{verb} {path}: no such operation"]
    operation = loaded[0]["paths"][template][verb.lower()]
    where, pointer = f"{verb} {template}", ("paths", template, verb.lower())
    found = [f"{where}: unknown parameter {name}" for name in query if name not in _parameters(operation)]
    if body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        # One that may be of several shapes is judged as a whole.
        known = schema.get("properties", body if "oneOf" in schema else {})
        found += [f"{where}: unknown field {name}" for name in set(body) - set(known)]
        found += _errors(f"{where}: request", (*pointer, "requestBody", "content", "application/json", "schema"), body)
    response = operation["responses"].get(str(status))
    if status >= 400 or template in UNCHECKED_ANSWERS:
        return found
    if response is None:
        return [*found, f"{where}: no answer {status} is described"]
    place = (
        response["$ref"].removeprefix("#/").split("/") if "$ref" in response else (*pointer, "responses", str(status))
    )
    return found + _errors(f"{where}: answer {status}", (*place, "content", "application/json", "schema"), answer)


def _parameters(operation: dict[str, Any]) -> set[str]:
    return {_resolved(parameter)["name"] for parameter in operation.get("parameters", [])}


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    loaded = _description()
    assert loaded is not None
    target: Any = loaded[0]
    for part in node["$ref"].removeprefix("#/").split("/") if "$ref" in node else ():
        target = target[part]
    return dict(target) if "$ref" in node else node


def _errors(where: str, pointer: tuple[str, ...], instance: Any) -> list[str]:
    """Validate by reference into the whole description, so that only what is used of it is resolved."""
    loaded = _description()
    assert loaded is not None
    fragment = "/".join(quote(part.replace("~", "~0").replace("/", "~1"), safe="~") for part in pointer)
    validator = Draft4Validator({"$ref": f"{URI}#/{fragment}"}, registry=loaded[1])
    return [
        f"{where}: {error.json_path}: {error.message[:200]}"
        for error in validator.iter_errors(instance)
        if not _is_null_of_openapi(error)
    ]


def _is_null_of_openapi(error: ValidationError) -> bool:
    """OpenAPI 3.0 allows null by a keyword of its own, which JSON Schema does not know."""
    return error.instance is None and isinstance(error.schema, dict) and error.schema.get("nullable") is True
