"""Refuse what is legal in a document, but becomes wrong code without a warning. Each message says what to do."""

import re
from collections.abc import Iterator
from typing import Any

from openapi_python_client.parser.properties import Class, EnumProperty
from openapi_python_client.strings import ClassName, PythonIdentifier

from .spec import GenerationError, nodes, operations, properties, resolve, variants

# Local variables of the generated functions. A property with such a name would overwrite them, and no type checker
# notices that.
LOCAL_NAMES = frozenset({"d"})
PLACEHOLDER = re.compile(r"{([^{}]*)}")
PLACEHOLDER_NAME = re.compile(r"[a-zA-Z_-][a-zA-Z0-9_-]*")
CLASS = Class(ClassName("Enum", ""), PythonIdentifier("enum", ""))


def check_spec(spec: dict[str, Any]) -> None:
    """Refuse a document that would become broken code.

    Raises:
        GenerationError: says where the first problem is and what to do.
    """
    for _, path, _ in operations(spec):
        for name in PLACEHOLDER.findall(path):
            if not PLACEHOLDER_NAME.fullmatch(name):
                raise GenerationError(
                    f"paths.{path}: the generator does not find the parameter {name!r}. Write its name in ASCII "
                    "letters, digits, - and _. The name is never sent, so you may change it."
                )
    for place, node in nodes(spec):
        for complaint in complaints(spec, node):
            raise GenerationError(f"{place}: {complaint}")


def complaints(spec: dict[str, Any], node: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of a schema or parameter."""
    if isinstance(values := node.get("enum"), list):
        yield from collapsing(values, node.get("x-enum-varnames") or [])
    if isinstance(default := node.get("default"), str) and re.search(r'["\\]', default):
        yield (
            f"the default {default!r} contains a quote or a backslash, which the generator escapes twice. "
            "Remove the default, and describe it in the description."
        )
    if isinstance(members := node.get("properties"), dict):
        for name in members:
            if PythonIdentifier(str(name), "") in LOCAL_NAMES:
                yield (
                    f"a property called {name!r} breaks the generated from_dict. Remove it; its value is then among "
                    "the additional properties."
                )
    if isinstance(discriminator := node.get("discriminator"), dict):
        yield from indistinct(spec, node, str(discriminator.get("propertyName")))
    if node.get("in") in {"header", "cookie"} and "schema" in node:
        yield from unsendable(node["in"], [part for part in variants(spec, node["schema"]) if "$ref" not in part])


def indistinct(spec: dict[str, Any], node: dict[str, Any], name: str) -> Iterator[str]:
    """Yield a message for each kind that the generated code may confuse with another kind."""
    for kind in [*(node.get("oneOf") or []), *(node.get("anyOf") or [])]:
        reference = kind.get("$ref")
        member = dict(properties(spec, resolve(spec, reference) if reference else kind)).get(name)
        if not any("const" in part or "enum" in part for part in variants(spec, member)):
            yield (
                f"the generator ignores the discriminator, and tries one kind after the other. Give {name!r} "
                f"of {reference or 'each'} a `const`, so that it matches no other kind."
            )


def collapsing(values: list[Any], names: list[str]) -> Iterator[str]:
    """Yield a message for values of an enum that would become the same member."""
    values = [value for value in values if value is not None]
    if not all(isinstance(name, str) for name in names):
        yield "x-enum-varnames must be strings, one for each value."
    elif len({type(value) for value in values}) == 1 and isinstance(values[0], str | int):
        by_name: dict[str, str | int] = {}
        for value, name in zip(values, member_names(values, names), strict=True):
            if name not in by_name:
                by_name[name] = value
            elif by_name[name] == value:
                yield f"the value {value!r} appears twice."
            else:
                yield (
                    f"the values {by_name[name]!r} and {value!r} both become the member {name}. "
                    "Give each value its own member name in `x-enum-varnames`."
                )


def member_names(values: list[Any], names: list[str]) -> Iterator[str]:
    """Yield the generator's member name for each value.

    We ask for one value at a time, because the generator keeps only one of several equal names.
    """
    given = names if len(names) == len(values) else []
    for index, value in enumerate(values):
        # Keep the value's position, because the name of a value that does not begin with a letter depends on it.
        before = [f"before_{number}" for number in range(index)]
        yield list(EnumProperty.values_from_list([*before, value], CLASS, [*before, given[index]] if given else []))[-1]


def unsendable(where: str, parts: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a message if a header or cookie would reach httpx as a type that httpx cannot send."""
    kinds = {kind for part in parts for kind in types(part)}
    if any(part.get("format") == "uuid" for part in parts):
        yield f"a {where} with `format: uuid` cannot be sent. Leave the format out: the parameter is then a str."
    elif (where == "cookie" or len(kinds) > 1) and kinds - {"string"}:
        yield f"a {where} of type {' or '.join(sorted(kinds))} cannot be sent. Make it a string."


def types(part: dict[str, Any]) -> list[str]:
    """Return the types of a schema as a list."""
    named = part.get("type")
    return [str(name) for name in (named if isinstance(named, list) else [named]) if name is not None]
