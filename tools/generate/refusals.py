"""What a document may legally say and the generator gets wrong without a word: refused, each with a way out."""

import re
from collections.abc import Iterator
from typing import Any

from openapi_python_client.parser.properties import Class, EnumProperty
from openapi_python_client.strings import ClassName, PythonIdentifier

from .spec import GenerationError, nodes, operations, properties, resolve, variants

# Local variables of the generated functions that a property of this name would replace, unseen by a type checker.
LOCAL_NAMES = frozenset({"d"})
PLACEHOLDER = re.compile(r"{([^{}]*)}")
PLACEHOLDER_NAME = re.compile(r"[a-zA-Z_-][a-zA-Z0-9_-]*")
CLASS = Class(ClassName("Enum", ""), PythonIdentifier("enum", ""))


def check_spec(spec: dict[str, Any]) -> None:
    """Refuse the first thing that would become broken code.

    Raises:
        GenerationError: says where it stands and what to do.
    """
    for _, path, _ in operations(spec):
        for name in PLACEHOLDER.findall(path):
            if not PLACEHOLDER_NAME.fullmatch(name):
                raise GenerationError(
                    f"paths.{path}: the generator does not find the parameter {name!r}. Write its name in ASCII "
                    "letters, digits, - and _; it is never sent."
                )
    for place, node in nodes(spec):
        for complaint in complaints(spec, node):
            raise GenerationError(f"{place}: {complaint}")


def complaints(spec: dict[str, Any], node: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with a schema or parameter."""
    if isinstance(values := node.get("enum"), list):
        yield from collapsing(values, node.get("x-enum-varnames") or [])
    if isinstance(default := node.get("default"), str) and re.search(r'["\\]', default):
        yield (
            f"the default {default!r} has a quote or a backslash in it, which the generator escapes twice. "
            "Say in the description what is assumed, and leave the default out."
        )
    if isinstance(members := node.get("properties"), dict):
        for name in members:
            if PythonIdentifier(str(name), "") in LOCAL_NAMES:
                yield (
                    f"a property called {name!r} breaks the generated from_dict. Leave it out: it is then found among "
                    "the additional properties."
                )
    if isinstance(discriminator := node.get("discriminator"), dict):
        yield from indistinct(spec, node, str(discriminator.get("propertyName")))
    if node.get("in") in {"header", "cookie"} and "schema" in node:
        yield from unsendable(node["in"], [part for part in variants(spec, node["schema"]) if "$ref" not in part])


def indistinct(spec: dict[str, Any], node: dict[str, Any], name: str) -> Iterator[str]:
    """Say which kind the generated code would not know by its discriminator, and so might take for another one."""
    for kind in [*(node.get("oneOf") or []), *(node.get("anyOf") or [])]:
        reference = kind.get("$ref")
        member = dict(properties(spec, resolve(spec, reference) if reference else kind)).get(name)
        if not any("const" in part or "enum" in part for part in variants(spec, member)):
            yield (
                f"the generator does not look at the discriminator, but tries one kind after the other. Give {name!r} "
                f"of {reference or 'each'} a `const`, so that it fits no other kind."
            )


def collapsing(values: list[Any], names: list[str]) -> Iterator[str]:
    """Say which values of an enum would become one member."""
    values = [value for value in values if value is not None]
    if not all(isinstance(name, str) for name in names):
        yield "x-enum-varnames are texts, one for each value."
    elif len({type(value) for value in values}) == 1 and isinstance(values[0], str | int):
        by_name: dict[str, str | int] = {}
        for value, name in zip(values, member_names(values, names), strict=True):
            if name not in by_name:
                by_name[name] = value
            elif by_name[name] == value:
                yield f"the value {value!r} is there twice."
            else:
                yield (
                    f"the values {by_name[name]!r} and {value!r} both become the member {name}. "
                    "Give the members names of their own, one for each value, as `x-enum-varnames`."
                )


def member_names(values: list[Any], names: list[str]) -> Iterator[str]:
    """Ask the generator what it calls each value, one at a time, since it forgets those that collapse."""
    given = names if len(names) == len(values) else []
    for index, value in enumerate(values):
        # What it makes of a value that does not begin with a letter depends on the place in the list.
        before = [f"before_{number}" for number in range(index)]
        yield list(EnumProperty.values_from_list([*before, value], CLASS, [*before, given[index]] if given else []))[-1]


def unsendable(where: str, parts: list[dict[str, Any]]) -> Iterator[str]:
    """Say whether a header or cookie would be handed to httpx as something that it does not send."""
    kinds = {kind for part in parts for kind in types(part)}
    if any(part.get("format") == "uuid" for part in parts):
        yield f"a {where} with `format: uuid` cannot be sent. Leave the format out: the parameter is then a str."
    elif (where == "cookie" or len(kinds) > 1) and kinds - {"string"}:
        yield f"a {where} of type {' or '.join(sorted(kinds))} cannot be sent. Make it a string."


def types(part: dict[str, Any]) -> list[str]:
    """Give the types that a schema names, as a list whether it is one or more."""
    named = part.get("type")
    return [str(name) for name in (named if isinstance(named, list) else [named]) if name is not None]
