"""The API's page, from the description that the server gives at /openapi.json: operations by tag, then what they take
and answer. `hooks.py` puts it on the site whenever that is built.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast


def api(meanings: Mapping[str, str]) -> str:
    """The page. `meanings`: of choices of a walk that their schema does not tell."""
    from mirage.serve.kinds import REFUSALS

    description = described()
    parts = [
        "# API, by operation",
        "",
        "Made from the description that the server gives at `/openapi.json`; how to begin, and what goes over "
        "WebSockets, says [another page](../api.md). A refusal is one line of `text/plain`; by its status:",
        "",
        "| status | meaning |",
        "|---|---|",
        *(f"| {status} | {meaning} |" for status, meaning in sorted(REFUSALS.items())),
        "",
    ]
    operations: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            operations.setdefault(operation["tags"][-1], []).extend(_operation(method, path, operation))
    for tag, lines in operations.items():
        parts += [f"## {tag[0].upper()}{tag[1:]}", "", *lines]
    parts += ["## What is taken and answered", ""]
    for name, schema in _schemas(description).items():
        parts += [f"### {name}", "", *([_line(schema["description"]), ""] if "description" in schema else [])]
        parts += [*_table(schema, meanings if name == "Walk" else {}), ""]
    return "\n".join(parts)


def described() -> dict[str, Any]:
    """The description, of a server without a model."""
    from mirage.serve.access import Access
    from mirage.serve.api import create_api
    from mirage.serve.app import Served
    from mirage.serve.kept import Kept, Limits
    from mirage.serve.sessions import Sessions
    from mirage.serve.shelf import Shelf
    from mirage.serve.worker import Worker

    worker, shelf = Worker(), Shelf()
    try:
        with tempfile.TemporaryDirectory() as folder:
            served = Served(Sessions(cast(Any, None), worker), shelf, Access())
            return create_api(served, Kept(served.sessions, Path(folder), Limits())).openapi()
    finally:
        shelf.close()
        worker.close()


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {method.upper()} {path}", "", _line(operation.get("description", "")), "")
    for where in operation.get("parameters", ()):
        yield from (f"`{where['name']}`, in the {where['in']}: {where.get('description', _kind(where['schema']))}.", "")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield from (f"Takes `{media}`: {_kind(content['schema'])}.", "")
    refused = []
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            refused.append(status)
            continue
        kinds = "".join(
            f": {_kind(content.get('schema', {}), answer)}, `{media}`"
            for media, content in answer.get("content", {}).items()
        )
        yield from (f"Answers {status}{kinds}.", "")
    if refused:
        yield from (f"Refused with {', '.join(refused)}.", "")


def _schemas(description: dict[str, Any]) -> dict[str, Any]:
    """Every schema by its name, a form's JSON among them."""
    schemas = dict(description["components"]["schemas"])
    for schema in list(schemas.values()):
        for field in schema.get("properties", {}).values():
            if "contentSchema" in field:
                schemas[field["contentSchema"]["title"]] = field["contentSchema"]
    return dict(sorted(schemas.items()))


def _table(schema: dict[str, Any], meanings: Mapping[str, str]) -> Iterator[str]:
    yield from ("| field | kind | left out | meaning |", "|---|---|---|---|")
    for name, field in schema.get("properties", {}).items():
        left_out = f"`{field['default']}`" if field.get("default") else ""
        left_out = "needed" if name in schema.get("required", ()) else left_out
        meaning = field.get("description") or meanings.get(name, "")
        yield f"| `{name}` | {_kind(field)} | {left_out} | {_line(meaning).replace('|', chr(92) + '|')} |"


def _kind(schema: dict[str, Any], about: Mapping[str, str] = MappingProxyType({})) -> str:
    """integer 4 to 256, list of 2 to 3 number, a link to Step, ...; `about`: of which it is the content."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "contentSchema" in schema:
        name = schema["contentSchema"]["title"]
        return f"JSON, a [{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_range(schema, 'minItems', 'maxItems')}{_kind(schema['items'])}"
    if "contentMediaType" in schema or schema.get("format") == "binary":
        return about.get("description", "a file")
    return f"{schema.get('type', 'anything')} {_range(schema, 'minimum', 'maximum')}".strip()


def _range(schema: dict[str, Any], low: str, high: str) -> str:
    least, most = schema.get(low, schema.get("exclusiveMinimum")), schema.get(high)
    if least is None or most is None:
        return ""
    return f"{least:.16g} " if least == most else f"{least:.16g} to {most:.16g} "


def _line(text: str) -> str:
    return " ".join(text.split())
