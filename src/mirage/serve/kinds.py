"""What routes say of the bodies that they take and of the ways in which they refuse, alike everywhere."""

from typing import Any

from mirage.optional import optional
from mirage.serve.shelf import WrongKind

with optional("fastapi", wanted="an API"):
    from fastapi import Request

REFUSALS = {
    400: "what was asked is wrong",
    401: "a token is wanted",
    404: "there is no such session",
    409: "it was cancelled, or a newer step came",
    413: "the body is too large",
    415: "the body is of another kind",
    503: "as many sessions as there may be are here",
}


def refusals(*statuses: int) -> Any:
    """How OpenAPI says them."""
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {status: {"description": REFUSALS[status], "content": text} for status in statuses}


def of_json(request: Request) -> None:
    """415 for a body that does not say that it is JSON."""
    _kind(request, "application/json")


def of_form(request: Request) -> None:
    """415 for a body that does not say that it is a form."""
    _kind(request, "multipart/form-data")


def _kind(request: Request, wanted: str) -> None:
    said = request.headers.get("content-type", "")
    if said.split(";")[0].strip().lower() != wanted:
        raise WrongKind(f"the body is {said[:60] or 'of no kind'!r}; accepted: {wanted}")
