"""The changes that tools/generate makes in the generator's raw output.

Plain replacements are data (`EDITS`), each with the number of times that it must apply and its reason. Changes that
depend on the document are functions below, or in `models.py`. If the generator writes something unexpected, the run
fails here and not later in a service.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .spec import ShapeError, multipart_bodies, operations


@dataclass(frozen=True)
class Edit:
    """A replacement in the generator's raw output, in each file that matches `files`."""

    files: str
    old: str
    new: str
    count: int
    why: str

    def apply(self, package: Path) -> None:
        """Replace the text in each file.

        Raises:
            ShapeError: a file does not contain the text exactly `count` times.
        """
        for path in matching(package, self.files):
            self.apply_to(path)

    def apply_to(self, path: Path) -> None:
        """Replace the text in one file; raises as `apply()` does."""
        text = path.read_text("utf-8")
        if (found := text.count(self.old)) != self.count:
            where = self.old.strip().partition("\n")[0]
            raise ShapeError(
                f"{path.parent.name}/{path.name}: expected {self.count} times `{where}`, found {found}.",
                self.why,
                "edits",
            )
        path.write_text(text.replace(self.old, self.new), "utf-8")


def matching(package: Path, pattern: str) -> list[Path]:
    """Return the files that match a pattern, at least one. An `__init__.py` never matches."""
    found = [path for path in sorted(package.glob(pattern)) if path.name != "__init__.py"]
    if not found:
        raise ShapeError(f"No {pattern} was generated.", "every change has its file", "edits")
    return found


CLIENT_REPR = "repr of a client shows no credentials and nothing that the caller set"
PICKLE = "a body may hold personal data, so the message leaves it out; the error can be pickled"
STATUS = "a status that is not in http.HTTPStatus, such as 520, works like any other"
IDENTITY = "UNSET is compared by identity, so pickle and copy must return the same object"
SEGMENT = "a path parameter cannot leave its segment"
BOUNDARY = "no uploaded file can break out of its part"
OPERATIONS = "api/*/*.py"

EDITS = (
    Edit("client.py", 'alias="cookies")', 'alias="cookies", repr=False)', 2, CLIENT_REPR),
    Edit("client.py", 'alias="headers")', 'alias="headers", repr=False)', 2, CLIENT_REPR),
    Edit("client.py", 'alias="httpx_args")', 'alias="httpx_args", repr=False)', 2, CLIENT_REPR),
    Edit("client.py", "    token: str\n", "    token: str = field(repr=False)\n", 1, CLIENT_REPR),
    Edit(
        "client.py",
        "            self._headers[self.auth_header_name] =",
        '            if "auth" not in self._httpx_args:\n                self._headers[self.auth_header_name] =',
        2,
        "httpx_args={'auth': ...} decides about the Authorization header alone",
    ),
    Edit(
        "errors.py",
        "        super().__init__(\n"
        '            f"Unexpected status code: {status_code}\\n\\nResponse content:\\n'
        "{content.decode(errors='ignore')}\"\n"
        "        )\n",
        '        super().__init__(f"Unexpected status code: {status_code}")\n'
        "\n"
        "    def __reduce__(self) -> tuple[Any, ...]:\n"
        '        """Pickle with the arguments of `__init__`, because `args` holds only the message."""\n'
        "        return type(self), (self.status_code, self.content), self.__dict__\n",
        1,
        PICKLE,
    ),
    Edit("errors.py", "class UnexpectedStatus", "from typing import Any\n\n\nclass UnexpectedStatus", 1, PICKLE),
    Edit("types.py", "from attrs import define\n", "from attrs import define, field\n", 1, STATUS),
    Edit(
        "types.py",
        "@define\nclass Response(Generic[T]):\n",
        "def _named_status(status_code: int) -> HTTPStatus | int:\n"
        '    """Give the status its name, if it has one. Some proxies answer with numbers that have none."""\n'
        "    try:\n"
        "        return HTTPStatus(status_code)\n"
        "    except ValueError:\n"
        "        return status_code\n"
        "\n\n"
        "@define\nclass Response(Generic[T]):\n",
        1,
        STATUS,
    ),
    Edit(
        "types.py",
        "    status_code: HTTPStatus\n    content: bytes\n    headers: MutableMapping[str, str]\n",
        "    status_code: HTTPStatus | int = field(converter=_named_status)\n"
        "    content: bytes = field(repr=False)\n"
        "    headers: MutableMapping[str, str] = field(repr=False)\n",
        1,
        STATUS + "; repr shows the parsed answer, not the raw one that may hold a token",
    ),
    Edit(
        "types.py",
        "class Unset:\n",
        'class Unset:\n    """The class of `UNSET`, which is the value of an optional field that was left out."""\n\n',
        1,
        "every public name has a docstring",
    ),
    Edit(
        "types.py",
        "        return False\n",
        "        return False\n"
        "\n"
        "    def __reduce__(self) -> str:\n"
        '        """Pickle and copy to the same object, `UNSET`, because it is compared by identity."""\n'
        '        return "UNSET"\n',
        1,
        IDENTITY,
    ),
    Edit(
        "types.py",
        "        return self.file_name, self.payload, self.mime_type\n",
        "        # The MIME type becomes a header of this part, and httpx does not escape it.\n"
        "        if self.mime_type is not None and not self.mime_type.isprintable():\n"
        '            raise ValueError("mime_type must be one line of printable characters")\n'
        "        return self.file_name, self.payload, self.mime_type\n",
        1,
        BOUNDARY,
    ),
    Edit(
        "types.py",
        "from typing import BinaryIO, Generic, TypeVar, Literal, IO\n",
        "from typing import BinaryIO, Generic, TypeVar, Literal, IO\nfrom urllib.parse import quote\n",
        1,
        SEGMENT,
    ),
    Edit(
        "types.py",
        'T = TypeVar("T")\n',
        "def path_segment(name: str, value: object) -> str:\n"
        '    """Quote a path parameter. Refuse it if the request would go to another path.\n'
        "\n"
        "    Raises:\n"
        "        ValueError: the value is empty, `.` or `..`.\n"
        '    """\n'
        '    segment = quote(str(value), safe="")\n'
        '    if segment in {"", ".", ".."}:\n'
        "        raise ValueError(\n"
        '            f"{name}={segment!r} cannot be sent, because the path would then belong to another operation"\n'
        "        )\n"
        "    return segment\n"
        "\n\n"
        'T = TypeVar("T")\n',
        1,
        SEGMENT,
    ),
    Edit(OPERATIONS, "HTTPStatus(response.status_code)", "response.status_code", 1, STATUS),
)

PUBLIC_SIGNATURE = "\n    client: AuthenticatedClient | Client,\n"
PUBLIC = Edit(
    OPERATIONS,
    '    _kwargs: dict[str, Any] = {\n        "method": ',
    "    _kwargs: dict[str, Any] = {\n"
    '        "auth": None,  # Public: it is sent without a token, and needs no login.\n'
    '        "method": ',
    1,
    "an operation without security is sent without a token",
)


QUOTED = re.compile(r'\b(\w+)=quote\(str\(\1\), safe=""\)')
IMPORT = Edit(
    OPERATIONS,
    "from ...types import Response, UNSET\n",
    "from ...types import Response, UNSET, path_segment\n",
    1,
    SEGMENT,
)
PLACEHOLDER = re.compile(r"{[^{}]*}")
# If this line is removed, httpx writes the header with a random boundary.
FIXED_BOUNDARY = re.compile(r'\n *headers\["Content-Type"\] = "multipart/form-data; boundary=\+\+\+"(?=\n)')


def edit_operations(package: Path, spec: dict[str, Any], public: int) -> None:
    """Send operations without security without a token, and keep each parameter and file in its place.

    Raises:
        ShapeError: the generated operations differ from the document's.
    """
    files = matching(package, OPERATIONS)
    open_files = [path for path in files if PUBLIC_SIGNATURE in path.read_text("utf-8")]
    expected = len(list(operations(spec)))
    if (len(files), len(open_files)) != (expected, public):
        raise ShapeError(
            f"The spec has {expected} operations ({public} public). The generator wrote {len(files)} "
            f"({len(open_files)} public).",
            PUBLIC.why,
            "edits",
        )
    for path in open_files:
        PUBLIC.apply_to(path)
    parameters = sum(len(PLACEHOLDER.findall(path)) for _, path, _ in operations(spec))
    for path in replace_each(files, QUOTED, r'\1=path_segment("\1", \1)', parameters, SEGMENT):
        IMPORT.apply_to(path)
    replace_each(files, FIXED_BOUNDARY, "", multipart_bodies(spec), BOUNDARY)


def replace_each(files: list[Path], old: re.Pattern[str], new: str, expected: int, why: str) -> list[Path]:
    """Replace a pattern in all files, and return the changed files.

    Raises:
        ShapeError: the number of matches is not the expected one.
    """
    changed, found = [], 0
    for path in files:
        text, count = old.subn(new, path.read_text("utf-8"))
        found += count
        if count:
            path.write_text(text, "utf-8")
            changed.append(path)
    if found != expected:
        raise ShapeError(f"{OPERATIONS}: expected {expected} times /{old.pattern}/, found {found}.", why, "edits")
    return changed
