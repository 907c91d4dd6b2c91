"""Map places in the document to generated files, with the generator's own functions for names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openapi_python_client.parser.openapi import generate_operation_id
from openapi_python_client.schema.untrusted_string import UntrustedString
from openapi_python_client.strings import ClassName, PythonIdentifier

from .spec import GenerationError, nodes, operations

# The generator's `field_prefix`, for names that do not begin with a letter.
PREFIX = "field_"


def operation_files(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the file of each operation, and its method and path."""
    for method, path, operation in operations(spec):
        name = operation.get("operationId")
        if not isinstance(name, str):
            name = generate_operation_id(path=UntrustedString(path), method=method, prefix=PREFIX)
        tag, *_ = operation.get("tags") or ["default"]
        module = PythonIdentifier(PythonIdentifier(name, PREFIX), PREFIX)
        yield f"api/{PythonIdentifier(str(tag), 'tag')}/{module}.py", f"{method.upper()} {path}"


def check_names(spec: dict[str, Any]) -> None:
    """Raise a `GenerationError` if two operations would become the same file."""
    places: dict[str, str] = {}
    for file, place in operation_files(spec):
        if (other := places.setdefault(file, place)) != place:
            raise GenerationError(
                f"{other} and {place} both become {file}. Give one of them another operationId, or another first tag."
            )


def place(spec: dict[str, Any], file: Path) -> str:
    """Return the place in the document from which a file was generated; the file alone if its name does not match."""
    name = file.as_posix()
    for candidate, where in operation_files(spec):
        if candidate == name:
            return f"{where} ({name})"
    for where, node in nodes(spec):
        for title in (where.rpartition(".")[2], node.get("title")):
            if isinstance(title, str) and f"models/{PythonIdentifier(ClassName(title, PREFIX), PREFIX)}.py" == name:
                return f"{where} ({name})"
    return name
