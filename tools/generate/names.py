"""Which place in the document becomes which generated file, in the generator's own words for names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openapi_python_client.parser.openapi import generate_operation_id
from openapi_python_client.schema.untrusted_string import UntrustedString
from openapi_python_client.strings import ClassName, PythonIdentifier

from .spec import GenerationError, nodes, operations

# The generator's `field_prefix`, for names that begin with no letter.
PREFIX = "field_"


def operation_files(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the file of each operation, and the operation's place."""
    for method, path, operation in operations(spec):
        name = operation.get("operationId")
        if not isinstance(name, str):
            name = generate_operation_id(path=UntrustedString(path), method=method, prefix=PREFIX)
        tag, *_ = operation.get("tags") or ["default"]
        module = PythonIdentifier(PythonIdentifier(name, PREFIX), PREFIX)
        yield f"api/{PythonIdentifier(str(tag), 'tag')}/{module}.py", f"{method.upper()} {path}"


def check_names(spec: dict[str, Any]) -> None:
    """Refuse operations that would overwrite each other's files."""
    places: dict[str, str] = {}
    for file, place in operation_files(spec):
        if (other := places.setdefault(file, place)) != place:
            raise GenerationError(
                f"{other} and {place} both become {file}: give one of them another operationId, or another first tag."
            )


def place(spec: dict[str, Any], file: Path) -> str:
    """Say what of the document a generated file was made from, as far as names tell."""
    name = file.as_posix()
    for candidate, where in operation_files(spec):
        if candidate == name:
            return f"{where} ({name})"
    for where, node in nodes(spec):
        for title in (where.rpartition(".")[2], node.get("title")):
            if isinstance(title, str) and f"models/{PythonIdentifier(ClassName(title, PREFIX), PREFIX)}.py" == name:
                return f"{where} ({name})"
    return name
