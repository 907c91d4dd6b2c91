"""What tools/generate has to know of the OpenAPI document that the generator does not pass on."""

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


class ShapeError(GenerationError):
    """The generator wrote something else than what our changes to its output were made for.

    Args:
        found: what is different, as a sentence.
        why: what the change that cannot be made is for.
        where: the module that has to be adapted.
    """

    def __init__(self, found: str, why: str, where: str) -> None:
        super().__init__(f"{found} The generator's output changed shape: adapt tools/generate/{where}.py ({why}).")


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


def operations(spec: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each operation under `paths`, after its method and path."""
    for path, item in spec["paths"].items():
        if isinstance(item, dict):
            found = ((key, node) for key, node in item.items() if key in METHODS)
            yield from ((method, path, node) for method, node in found if isinstance(node, dict))


def write_out_security(spec: dict[str, Any]) -> int:
    """Write its effective security into each operation, and count those that need none.

    The generator reads only what stands in the operation itself. It would take an operation that relies on
    the document's default for a public one.
    """
    public = 0
    for _, _, operation in operations(spec):
        requirements = operation.get("security", spec.get("security")) or []
        # An empty requirement asks for nothing.
        operation["security"] = requirements if any(requirements) else []
        public += not operation["security"]
    return public


def leave_out_empty_errors(spec: dict[str, Any]) -> None:
    """Take out of each operation the errors without a body, so that they are raised like those that are not documented.

    The generator would return None for them, which is also what a success without a body looks like.
    """
    for _, _, operation in operations(spec):
        responses = operation.get("responses")
        if isinstance(responses, dict) and any(str(status).startswith("2") for status in responses):
            operation["responses"] = {
                status: response
                for status, response in responses.items()
                if str(status)[0] not in "45d" or has_body(spec, response)
            }


def multipart_bodies(spec: dict[str, Any]) -> int:
    """Count the operations' bodies that are multipart forms."""
    count = 0
    for _, _, operation in operations(spec):
        body = operation.get("requestBody") or {}
        while isinstance(reference := body.get("$ref"), str):
            body = resolve(spec, reference) or {}
        count += sum(key.partition(";")[0].strip() == "multipart/form-data" for key in body.get("content") or {})
    return count


def has_body(spec: dict[str, Any], response: Any) -> bool:
    """Tell whether the document describes a body of this answer; what is no answer at all is the generator's affair."""
    if isinstance(response, dict) and isinstance(reference := response.get("$ref"), str):
        response = resolve(spec, reference)
    if not isinstance(response, dict):
        return True
    content = response.get("content") or {}
    return any(isinstance(media, dict) and "schema" in media for media in content.values())


def resolve(spec: dict[str, Any], reference: str) -> Any:
    """Follow a reference within the document; nothing is found at the end of a broken one."""
    node: Any = spec
    for part in reference.removeprefix("#/").split("/"):
        key = urllib.parse.unquote(part).replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, dict) else None
    return node


def is_secret(spec: dict[str, Any], schema: Any) -> bool:
    """Tell whether a value of this schema must not be shown, be it nested in lists, unions or references."""
    for part in variants(spec, schema):
        mark = part.get("x-secret", False)
        if not isinstance(mark, bool):
            raise GenerationError(f"x-secret is true or false, and not {mark!r}, which YAML takes for a text")
        if mark or part.get("format") == "password":
            return True
    return False


def variants(spec: dict[str, Any], schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that a value of it may hold, through lists, maps, unions and references.

    Without recursion: a chain of references may be longer than Python's stack.
    """
    todo: list[Any] = [schema]
    seen: set[int] = set()
    while todo:
        part = todo.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        todo += [part.get("items"), part.get("additionalProperties")]
        for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
            todo += part.get(key) or []
        if isinstance(reference := part.get("$ref"), str):
            todo.append(resolve(spec, reference))


def properties(spec: dict[str, Any], schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the properties of the model that this schema becomes: its own and those of `allOf`."""
    todo: list[Any] = [schema]
    seen: set[int] = set()
    while todo:
        part = todo.pop()
        if isinstance(part, dict) and id(part) not in seen:
            seen.add(id(part))
            yield from (part.get("properties") or {}).items()
            for base in part.get("allOf") or []:
                reference = base.get("$ref")
                todo.append(resolve(spec, reference) if reference else base)


def nodes(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every mapping that the generator may read, and some that it does not, each with its place."""
    found = (spec.get("components") or {}).get("schemas") or {}
    todo: list[tuple[str, Any]] = [
        *((f"paths.{path}", item) for path, item in spec["paths"].items()),
        *((f"components.schemas.{name}", schema) for name, schema in found.items()),
    ]
    seen: set[int] = set()
    while todo:
        place, node = todo.pop()
        if isinstance(node, list):
            todo += ((f"{place}[{index}]", item) for index, item in enumerate(node))
        if not isinstance(node, dict) or id(node) in seen:
            continue
        seen.add(id(node))
        yield place, node
        todo += ((f"{place}.{key}", value) for key, value in node.items() if key not in NOT_SCHEMAS)
        # Names that services chose, not keywords: a property may well be called `example`.
        if isinstance(names := node.get("properties"), dict):
            todo += ((f"{place}.properties.{name}", schema) for name, schema in names.items())
        if isinstance(reference := node.get("$ref"), str):
            todo.append((reference.removeprefix("#/").replace("/", "."), resolve(spec, reference)))


def secrets_by_shape(spec: dict[str, Any]) -> dict[frozenset[str], set[str]]:
    """Map the property names of each model that holds a secret to those that are secret.

    A model is recognised by its property names, since how the generator names classes is its own affair. Two
    models that look alike are both masked.
    """
    shapes: dict[frozenset[str], set[str]] = {}
    found = [schema for _, schema in nodes(spec)]
    # What stands within an `allOf` is part of another model and none of its own.
    parts = {id(part) for schema in found for part in schema.get("allOf") or []}
    for schema in found:
        if id(schema) in parts:
            continue
        whole = is_secret(spec, schema)
        members = list(properties(spec, schema))
        secret = {name for name, member in members if whole or is_secret(spec, member)}
        if secret or (whole and "additionalProperties" in schema):
            shapes.setdefault(frozenset(name for name, _ in members), set()).update(secret)
    return shapes
