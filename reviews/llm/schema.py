"""What a language model is to answer: pydantic models, and JSON Schemas that both providers enforce."""

import re
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reviews.llm.errors import LlmInvalid
from reviews.services.payloads import clean_text

ERRORS_TOLD = 8

Category = Literal[
    "bug", "security", "performance", "concurrency", "error-handling", "compatibility", "data-loss", "test",
    "maintainability",
]  # fmt: skip
A = TypeVar("A", bound=BaseModel)


class Typed(BaseModel):
    """Base of every answer: what is not asked for is an error, not passed over. Texts are such as Postgres can hold."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        return clean_text(value) if isinstance(value, str) else value


class FoundByLlm(Typed):
    path: str = Field(description="The file's path, as it is written above its lines.")
    line: int = Field(description="First line concerned, by its number in the new file; an added line (+).")
    end_line: int = Field(description="Last line concerned; the same as line for one.")
    code: str = Field(description="The text of that first line, copied without its number and sign.")
    severity: Literal["high", "medium", "low"] = Field(
        description="high: it breaks, loses data or lets somebody in. medium: wrong in some cases. low: minor."
    )
    category: Category
    message: str = Field(description="What is wrong, when it happens and what to do: plain text, 1 to 4 sentences.")
    suggestion: str | None = Field(
        description="Code that replaces exactly line to end_line, with its indentation; null unless it is a full fix."
    )
    confidence: float = Field(ge=0, le=1, description="How sure you are that this is a real problem, 0 to 1.")


class ReviewAnswer(Typed):
    summary: str = Field(description="What these changes do, in one or two sentences of plain text.")
    findings: list[FoundByLlm] = Field(description="Empty if nothing is wrong.")


# What the two providers' validators do not know.
_UNKNOWN = {
    "title", "default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "format",
}  # fmt: skip


def json_schema_of(answer: type[BaseModel]) -> dict[str, Any]:
    """The schema of an answer in what both providers enforce: all fields required, no others, no bounds."""
    return _strict(answer.model_json_schema())


def _strict(node: Any, names: bool = False) -> Any:
    """names: the keys of this node are names of fields, not of the schema's language."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {
        key: _strict(value, names=key in ("properties", "$defs") and not names)
        for key, value in node.items()
        if names or key not in _UNKNOWN
    }
    if not names and made.get("type") == "object":
        made |= {"required": list(made.get("properties", {})), "additionalProperties": False}
    return made


def parse(answer: type[A], text: str) -> A:
    """Check an answer. Raises LlmInvalid, with what is wrong in words for the model itself."""
    try:
        return answer.model_validate_json(_object_in(text))
    except ValidationError as exc:
        raise LlmInvalid(_told(exc)) from None
    except (ValueError, RecursionError) as exc:
        raise LlmInvalid(f"it is no JSON: {exc}"[:300]) from None


def _object_in(text: str) -> str:
    """The JSON object of an answer that may have a fence or words around it."""
    text = text.strip()
    opened = re.search(r"```(?:json)?[ \t\r]*\n", text)
    if opened and text.endswith("```") and not text.startswith("{"):
        text = text[opened.end() : -3].strip()
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if not text.startswith("{") and 0 <= start < end else text


def _told(error: ValidationError) -> str:
    """The first problems, without the values, which may be long."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    told = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'the answer'}: {problem['msg']}" for problem in problems
    ]
    more = f"; and {len(told) - ERRORS_TOLD} more" if len(told) > ERRORS_TOLD else ""
    # Names of fields that nobody asked for are among them.
    return clean_text("; ".join(told[:ERRORS_TOLD]) + more)[:1000]
