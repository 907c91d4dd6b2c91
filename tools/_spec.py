"""What tools/generate.py has to know of the OpenAPI document that the generator does not pass on."""

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
# Literal data in a document, and the calls that the server makes: the generator reads no models out of them.
NOT_SCHEMAS = frozenset({"callbacks", "const", "default", "enum", "example", "examples", "properties"})


class GenerationError(Exception):
    """Ends the run with a message for the person who edits the document."""


def read_spec(path: Path) -> dict[str, Any]:
    """Read the document, or say in one message why that cannot be done."""
    try:
        text = path.read_text("utf-8")
        document = json.loads(text) if path.suffix == ".json" else YAML(typ="safe").load(text)
    except OSError as error:
        raise GenerationError(f"{path.name} cannot be read: {error.strerror}.") from error
    except (YAMLError, ValueError) as error:
        raise GenerationError(f"{path.name} is not valid YAML or JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise GenerationError(f"{path.name} is not an OpenAPI document: it has no `paths`.")
    if next(operations(document), None) is None:
        raise GenerationError(f"{path.name} has no operation to generate: add one under `paths`.")
    return document


def operations(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each operation under `paths`."""
    for item in spec["paths"].values():
        if isinstance(item, dict):
            yield from (node for key, node in item.items() if key in METHODS and isinstance(node, dict))


def write_out_security(spec: dict[str, Any]) -> int:
    """Write its effective security into each operation, and count those that need none.

    The generator reads only what stands in the operation itself. It would take an operation that relies on
    the document's default for a public one.
    """
    public = 0
    for operation in operations(spec):
        requirements = operation.get("security", spec.get("security")) or []
        # An empty requirement asks for nothing.
        operation["security"] = requirements if any(requirements) else []
        public += not operation["security"]
    return public


def resolve(spec: dict[str, Any], reference: str) -> Any:
    """Follow a reference within the document; nothing is found at the end of a broken one."""
    node: Any = spec
    for part in reference.removeprefix("#/").split("/"):
        key = urllib.parse.unquote(part).replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, dict) else None
    return node


def is_secret(spec: dict[str, Any], schema: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Tell whether a value of this schema must not be shown, be it nested in lists, unions or references."""
    if not isinstance(schema, dict):
        return False
    mark = schema.get("x-secret", False)
    if not isinstance(mark, bool):
        raise GenerationError(f"x-secret is true or false, and not {mark!r}, which YAML takes for a text")
    if mark or schema.get("format") == "password":
        return True
    parts = [schema.get("items"), schema.get("additionalProperties")]
    for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        parts += schema.get(key) or []
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        seen |= {reference}
        parts.append(resolve(spec, reference))
    return any(is_secret(spec, part, seen) for part in parts)


def properties(spec: dict[str, Any], schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the properties of the model that this schema becomes: its own and those of `allOf`."""
    if isinstance(schema, dict):
        yield from (schema.get("properties") or {}).items()
        for part in schema.get("allOf") or []:
            reference = part.get("$ref")
            yield from properties(spec, resolve(spec, reference) if reference else part)


def schemas(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every mapping that the generator may have made a model of, and some that are no schemas.

    What stands within an `allOf` is part of another model and none of its own.
    """
    todo: list[Any] = [
        *spec["paths"].values(),
        *((spec.get("components") or {}).get("schemas") or {}).values(),
    ]
    seen: set[int] = set()
    parts: set[int] = set()
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        if not isinstance(node, dict) or id(node) in seen:
            continue
        seen.add(id(node))
        parts.update(id(part) for part in node.get("allOf") or [])
        if id(node) not in parts:
            yield node
        todo += (value for key, value in node.items() if key not in NOT_SCHEMAS)
        # Names that services chose, not keywords: a property may well be called `example`.
        if isinstance(names := node.get("properties"), dict):
            todo += names.values()
        if isinstance(reference := node.get("$ref"), str):
            todo.append(resolve(spec, reference))


def secrets_by_shape(spec: dict[str, Any]) -> dict[frozenset[str], set[str]]:
    """Map the property names of each model that holds a secret to those that are secret.

    A model is recognised by its property names, since how the generator names classes is its own affair. Two
    models that look alike are both masked.
    """
    shapes: dict[frozenset[str], set[str]] = {}
    for schema in schemas(spec):
        whole = is_secret(spec, schema)
        members = list(properties(spec, schema))
        secret = {name for name, member in members if whole or is_secret(spec, member)}
        if secret or (whole and "additionalProperties" in schema):
            shapes.setdefault(frozenset(name for name, _ in members), set()).update(secret)
    return shapes
