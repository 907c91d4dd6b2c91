"""Facts about the OpenAPI document that tools/generate needs and the generator does not pass on."""

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
# Keys of literal data, and of calls that the server makes. The generator reads no models from their values.
NOT_SCHEMAS = frozenset({"callbacks", "const", "default", "enum", "example", "examples", "properties"})


class GenerationError(Exception):
    """The run fails. The message is for the person who edits the document."""


class ShapeError(GenerationError):
    """The generator's output has another form than our changes expect.

    Args:
        found: the difference, as a sentence.
        why: the purpose of the change that cannot be made.
        where: the module that must be adapted.
    """

    def __init__(self, found: str, why: str, where: str) -> None:
        super().__init__(f"{found} The generator's output changed shape: adapt tools/generate/{where}.py ({why}).")


def read_spec(path: Path) -> dict[str, Any]:
    """Read the document.

    Raises:
        GenerationError: it cannot be read, or has no operation.
    """
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
    """Yield the method, the path and the node of each operation under `paths`."""
    for path, item in spec["paths"].items():
        if isinstance(item, dict):
            found = ((key, node) for key, node in item.items() if key in METHODS)
            yield from ((method, path, node) for method, node in found if isinstance(node, dict))


def write_out_security(spec: dict[str, Any]) -> int:
    """Write its effective security into each operation, and return the number of operations that need none.

    The generator reads only the operation itself. Without this, it would treat an operation that relies on the
    document's default as public.
    """
    public = 0
    for _, _, operation in operations(spec):
        requirements = operation.get("security", spec.get("security")) or []
        # An empty requirement means that no security is needed.
        operation["security"] = requirements if any(requirements) else []
        public += not operation["security"]
    return public


def leave_out_empty_errors(spec: dict[str, Any]) -> None:
    """Remove errors without a body from each operation, so that they are raised like undocumented errors.

    The generated code would return None for them, so a caller could not tell them from a success without a body.
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
    """Return the number of request bodies that are multipart forms."""
    count = 0
    for _, _, operation in operations(spec):
        body = operation.get("requestBody") or {}
        while isinstance(reference := body.get("$ref"), str):
            body = resolve(spec, reference) or {}
        count += sum(key.partition(";")[0].strip() == "multipart/form-data" for key in body.get("content") or {})
    return count


def has_body(spec: dict[str, Any], response: Any) -> bool:
    """Return whether the document describes a body for this answer.

    For a node that is not an answer the result is True: the generator then reports it.
    """
    if isinstance(response, dict) and isinstance(reference := response.get("$ref"), str):
        response = resolve(spec, reference)
    if not isinstance(response, dict):
        return True
    content = response.get("content") or {}
    return any(isinstance(media, dict) and "schema" in media for media in content.values())


def resolve(spec: dict[str, Any], reference: str) -> Any:
    """Follow a reference within the document. The result of a broken one is None."""
    node: Any = spec
    for part in reference.removeprefix("#/").split("/"):
        key = urllib.parse.unquote(part).replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, dict) else None
    return node


def is_secret(spec: dict[str, Any], schema: Any) -> bool:
    """Return whether a value of this schema is secret, also inside lists, unions and references.

    Raises:
        GenerationError: `x-secret` is not a boolean.
    """
    for part in variants(spec, schema):
        mark = part.get("x-secret", False)
        if not isinstance(mark, bool):
            raise GenerationError(f"x-secret must be true or false, not {mark!r}, which YAML reads as a string")
        if mark or part.get("format") == "password":
            return True
    return False


def variants(spec: dict[str, Any], schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all schemas inside it, through lists, maps, unions and references.

    This uses no recursion, because a chain of references may be longer than Python's stack.
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
    """Yield the properties of the model that this schema becomes: its own, and the ones from `allOf`."""
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
    """Yield the place and the node of every mapping that the generator may read, and of some that it does not."""
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
        # The keys of `properties` are free names, not keywords: a property may be called `example`.
        if isinstance(names := node.get("properties"), dict):
            todo += ((f"{place}.properties.{name}", schema) for name, schema in names.items())
        if isinstance(reference := node.get("$ref"), str):
            todo.append((reference.removeprefix("#/").replace("/", "."), resolve(spec, reference)))


def secrets_by_shape(spec: dict[str, Any]) -> dict[frozenset[str], set[str]]:
    """Map the property names of each model that holds a secret to the names that are secret.

    We recognise a model by its property names, because the generator may change how it names classes. If two models
    have the same names, both are masked.
    """
    shapes: dict[frozenset[str], set[str]] = {}
    found = [schema for _, schema in nodes(spec)]
    # A schema inside `allOf` is a part of another model, not a model itself.
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
