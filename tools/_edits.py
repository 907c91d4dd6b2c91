"""What tools/generate.py changes in the generator's raw output.

Plain replacements are data (`EDITS`), each with the number of times it has to apply and the reason. What
depends on the document is a function below. Either way, a generator that writes something else than expected
is an error here and not a surprise in a service.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

from _spec import GenerationError


@dataclass(frozen=True)
class Edit:
    """A replacement in the generator's raw output, in each file that `files` matches."""

    files: str
    old: str
    new: str
    count: int
    why: str

    def apply(self, package: Path) -> None:
        """Replace in each file, if the text to replace is there exactly as often as expected."""
        for path in matching(package, self.files):
            self.apply_to(path)

    def apply_to(self, path: Path) -> None:
        """Replace in one file."""
        text = path.read_text("utf-8")
        if (found := text.count(self.old)) != self.count:
            where = self.old.strip().partition("\n")[0]
            raise GenerationError(
                f"{path.parent.name}/{path.name}: expected {self.count} times `{where}`, found {found}. "
                f"The generator's output changed shape: adapt tools/_edits.py ({self.why})."
            )
        path.write_text(text.replace(self.old, self.new), "utf-8")


def matching(package: Path, pattern: str) -> list[Path]:
    """List the files that a pattern means, at least one; an `__init__.py` is never meant."""
    found = [path for path in sorted(package.glob(pattern)) if path.name != "__init__.py"]
    if not found:
        raise GenerationError(
            f"No {pattern} was generated. The generator's output changed shape: adapt tools/_edits.py."
        )
    return found


CLIENT_REPR = "repr of a client shows no credentials and nothing that the caller set"
PICKLE = "a body may hold personal data and stays out of the message; the error survives pickling"
STATUS = "a status outside of http.HTTPStatus, such as 520, is a status like any other"
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
        '        """Pickle with what `__init__` takes, since `args` holds the message only."""\n'
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
        '    """Give the status its name, if it has one: proxies also answer with numbers of their own."""\n'
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
    Edit(OPERATIONS, "HTTPStatus(response.status_code)", "response.status_code", 1, STATUS),
)

PUBLIC_SIGNATURE = "\n    client: AuthenticatedClient | Client,\n"
PUBLIC = Edit(
    OPERATIONS,
    '    _kwargs: dict[str, Any] = {\n        "method": ',
    "    _kwargs: dict[str, Any] = {\n"
    '        "auth": None,  # Public: sent without a token, and no reason to log in.\n'
    '        "method": ',
    1,
    "an operation without security is sent without a token",
)


def attributes(model: ast.Module, where: str) -> dict[str, str]:
    """Map the names of a model's properties to its attributes, as its `from_dict` does.

    It pops the properties in the order in which it then passes the attributes.
    """
    calls = [node for node in ast.walk(model) if isinstance(node, ast.Call)]
    pops = [call for call in calls if ast.unparse(call.func) == "d.pop"]
    passed = [call.keywords for call in calls if ast.unparse(call.func) == "cls"]
    if len(passed) != 1 or len(passed[0]) != len(pops):
        raise GenerationError(
            f"{where}: expected a from_dict that pops each property and passes it to cls() once. "
            "The generator's output changed shape: adapt tools/_edits.py (repr of a model shows no secret)."
        )
    names = [ast.literal_eval(pop.args[0]) for pop in sorted(pops, key=lambda pop: (pop.lineno, pop.col_offset))]
    return dict(zip(names, (str(keyword.arg) for keyword in passed[0]), strict=True))


def hide(source: str, field: ast.AnnAssign) -> str:
    """Write a field of a model again, with its type and default but out of `repr`."""
    default = ast.get_source_segment(source, field.value) if field.value else None
    if default is None:
        arguments = ""
    elif default.startswith("_attrs_field("):
        arguments = ", " + default.removeprefix("_attrs_field(").removesuffix(")")
    else:
        arguments = f", default={default}"
    annotation = ast.get_source_segment(source, field.annotation)
    return f"    {ast.unparse(field.target)}: {annotation} = _attrs_field(repr=False{arguments})"


def mask(source: str, secret: list[str], where: str) -> str:
    """Take these attributes of a model out of its `repr`, and with them what the document does not name.

    What comes along with an access token may be another token.
    """
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    fields = {ast.unparse(n.target): n for model in classes for n in model.body if isinstance(n, ast.AnnAssign)}
    lines = source.split("\n")
    for name in secret:
        if name not in fields or fields[name].lineno != fields[name].end_lineno:
            raise GenerationError(
                f"{where}: expected one line that declares `{name}`. The generator's output changed shape: "
                "adapt tools/_edits.py (repr of a model shows no secret)."
            )
    for name in {*secret, "additional_properties"} & fields.keys():
        lines[fields[name].lineno - 1] = hide(source, fields[name])
    return "\n".join(lines)


def mask_models(package: Path, shapes: dict[frozenset[str], set[str]]) -> None:
    """Take secrets out of the `repr` of every model that holds one."""
    masked: set[frozenset[str]] = set()
    for path in sorted(package.glob("models/*.py")):
        source, where = path.read_text("utf-8"), f"models/{path.name}"
        if "def from_dict(" not in source:
            continue  # An enum.
        names = attributes(ast.parse(source), where)
        secret = shapes.get(frozenset(names))
        if secret is not None:
            path.write_text(mask(source, [names[name] for name in secret], where), "utf-8")
            masked.add(frozenset(names))
    if missed := sorted(shapes.keys() - masked, key=sorted):
        raise GenerationError(
            f"The spec marks {sorted(shapes[missed[0]])} as secret, but no generated model holds "
            f"{sorted(missed[0])}: give that schema a name under components/schemas, or adapt tools/_edits.py."
        )


def edit_operations(package: Path, expected: int, public: int) -> None:
    """Let each operation without security be sent without a token."""
    files = matching(package, OPERATIONS)
    open_files = [path for path in files if PUBLIC_SIGNATURE in path.read_text("utf-8")]
    if (len(files), len(open_files)) != (expected, public):
        raise GenerationError(
            f"The spec has {expected} operations, {public} of them public; the generator wrote {len(files)}, "
            f"{len(open_files)} of them public. Look for an operationId that is there twice. "
            "If there is none, the generator's output changed shape: adapt tools/_edits.py."
        )
    for path in open_files:
        PUBLIC.apply_to(path)
