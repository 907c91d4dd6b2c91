# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
"""Contains some shared types for properties"""

from collections.abc import Mapping, MutableMapping
from http import HTTPStatus
from typing import IO, BinaryIO, Generic, Literal, TypeVar
from urllib.parse import quote

from attrs import define, field


class Unset:
    """The class of `UNSET`, which is the value of an optional field that was left out."""

    def __bool__(self) -> Literal[False]:
        return False

    def __reduce__(self) -> str:
        """Pickle and copy to the same object, `UNSET`, because it is compared by identity."""
        return "UNSET"


UNSET: Unset = Unset()

# The types that `httpx.Client(files=)` can accept, copied from that library.
FileContent = IO[bytes] | bytes | str
FileTypes = (
    # (filename, file (or bytes), content_type)
    tuple[str | None, FileContent, str | None]
    # (filename, file (or bytes), content_type, headers)
    | tuple[str | None, FileContent, str | None, Mapping[str, str]]
)
RequestFiles = list[tuple[str, FileTypes]]


@define
class File:
    """Contains information for file uploads"""

    payload: BinaryIO
    file_name: str | None = None
    mime_type: str | None = None

    def to_tuple(self) -> FileTypes:
        """Return a tuple representation that httpx will accept for multipart/form-data"""
        # The MIME type becomes a header of this part, and httpx does not escape it.
        if self.mime_type is not None and not self.mime_type.isprintable():
            raise ValueError("mime_type must be one line of printable characters")
        return self.file_name, self.payload, self.mime_type


def path_segment(name: str, value: object) -> str:
    """Quote a path parameter. Refuse it if the request would go to another path.

    Raises:
        ValueError: the value is empty, `.` or `..`.
    """
    segment = quote(str(value), safe="")
    if segment in {"", ".", ".."}:
        raise ValueError(
            f"{name}={segment!r} cannot be sent, because the path would then belong to another operation"
        )
    return segment


T = TypeVar("T")


def _named_status(status_code: int) -> HTTPStatus | int:
    """Give the status its name, if it has one. Some proxies answer with numbers that have none."""
    try:
        return HTTPStatus(status_code)
    except ValueError:
        return status_code


@define
class Response(Generic[T]):
    """A response from an endpoint"""

    status_code: HTTPStatus | int = field(converter=_named_status)
    content: bytes = field(repr=False)
    headers: MutableMapping[str, str] = field(repr=False)
    parsed: T | None


__all__ = ["UNSET", "File", "FileTypes", "RequestFiles", "Response", "Unset"]
