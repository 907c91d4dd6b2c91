"""The changes that tools/generate makes in the generated models. They depend on the models and on the document."""

import ast
import re
from pathlib import Path

from .spec import GenerationError, ShapeError

MASKED = "repr of a model shows no secret"


def attributes(model: ast.Module, where: str) -> dict[str, str]:
    """Map the names of a model's properties to its attributes, read from its `from_dict`.

    `from_dict` pops the properties in the same order in which it passes the attributes.

    Raises:
        ShapeError: it has another form.
    """
    calls = [node for node in ast.walk(model) if isinstance(node, ast.Call)]
    pops = [call for call in calls if ast.unparse(call.func) == "d.pop"]
    passed = [call.keywords for call in calls if ast.unparse(call.func) == "cls"]
    if len(passed) != 1 or len(passed[0]) != len(pops):
        raise ShapeError(
            f"{where}: expected a from_dict that pops each property and passes it to cls() once.", MASKED, "models"
        )
    names = [ast.literal_eval(pop.args[0]) for pop in sorted(pops, key=lambda pop: (pop.lineno, pop.col_offset))]
    return dict(zip(names, (str(keyword.arg) for keyword in passed[0]), strict=True))


def hide(source: str, field: ast.AnnAssign) -> str:
    """Return the line of a field with the same type and default, except that `repr` leaves it out."""
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
    """Remove these attributes from a model's `repr`, and also its additional properties.

    The server may send another token as an additional property beside the access token.

    Raises:
        ShapeError: an attribute is not declared on exactly one line.
    """
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    fields = {ast.unparse(n.target): n for model in classes for n in model.body if isinstance(n, ast.AnnAssign)}
    lines = source.split("\n")
    for name in secret:
        if name not in fields or fields[name].lineno != fields[name].end_lineno:
            raise ShapeError(f"{where}: expected one line that declares `{name}`.", MASKED, "models")
    for name in {*secret, "additional_properties"} & fields.keys():
        lines[fields[name].lineno - 1] = hide(source, fields[name])
    return "\n".join(lines)


def mask_models(package: Path, shapes: dict[frozenset[str], set[str]]) -> None:
    """Remove secrets from the `repr` of every model that holds one.

    Raises:
        GenerationError: no model was generated for a schema that holds a secret.
    """
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
            f"{sorted(missed[0])}: give that schema a name under components/schemas, or adapt tools/generate/models.py."
        )


DESCRIBED = "every public name has a docstring"
DOCSTRINGS = {
    "to_dict": "Return a dictionary that can be sent as JSON.",
    "to_multipart": "Return the parts of a form, for an upload.",
    "from_dict": "Make an object from parsed JSON. It is the reverse of `to_dict()`.",
    "additional_keys": "The names of the fields that the document does not describe.",
}
METHOD = re.compile(rf"^( +)def ({'|'.join(DOCSTRINGS)})\(.*:\n", re.MULTILINE)
ENUM = re.compile(r"^class \w+\((?:StrEnum|IntEnum|str, Enum|int, Enum)\):\n", re.MULTILINE)
BARE_CLASS = re.compile(r'^class \w+:\n(?!\s*""")', re.MULTILINE)


def describe(package: Path) -> None:
    """Add missing docstrings: to the methods of each model, and to models that the document does not describe.

    Raises:
        ShapeError: a file is neither an enum nor a model with `to_dict` and `from_dict`.
    """
    for path in sorted(package.glob("models/[!_]*.py")):
        text = path.read_text("utf-8")
        if "def from_dict(" not in text:
            text, found = ENUM.subn(r'\g<0>    """One of the values that the document lists."""\n\n', text)
        else:
            text = BARE_CLASS.sub(r'\g<0>    """An object that the document does not describe."""\n\n', text)
            text, found = METHOD.subn(lambda method: f'{method[0]}{method[1]}    """{DOCSTRINGS[method[2]]}"""\n', text)
            found = found >= 2 and text.count("def to_dict(") == text.count("def from_dict(") == 1
        if found != 1:
            raise ShapeError(f"models/{path.name}: expected an enum, or to_dict and from_dict.", DESCRIBED, "models")
        path.write_text(text, "utf-8")


LAZY = "the time to import an operation must not depend on the number of models"
LOADED = "the import of an operation loads everything that its call needs"
INIT = '''\
"""Contains all the data models used in inputs/outputs. Each is loaded at its first use."""

from typing import TYPE_CHECKING
{eager}
if TYPE_CHECKING:
    from ._all import *
else:
    from importlib import import_module as _import_module

    # The module of each model. Python loads one string much faster than a dictionary with many entries.
    _MODULES = """
{modules}
"""

    def __getattr__(name):
        module = _MODULES.partition(f"\\n{{name}} ")[2].partition("\\n")[0]
        if not module:
            raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
        value = getattr(_import_module(f".{{module}}", __name__), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({{*globals(), *__all__}})


__all__ = {names!r}
'''


def load_lazily(package: Path, name: str) -> None:
    """Make `models/__init__.py` load each model on demand. The old file, which loads all, becomes `_all.py`.

    Type checkers read `_all.py`.

    Raises:
        ShapeError: `models/__init__.py` has another form.
        GenerationError: two models have the same module.
    """
    path = package / "models" / "__init__.py"
    docstring, *imports = ast.parse(path.read_text("utf-8")).body
    if not imports and isinstance(docstring, ast.Expr):
        return  # A document without models.
    names = imports.pop() if imports else docstring
    models = {
        node.names[0].name: str(node.module)
        for node in imports
        if isinstance(node, ast.ImportFrom) and node.level == 1 and len(node.names) == 1 and not node.names[0].asname
    }
    listed = re.fullmatch(r"__all__ = (\(.*\))", ast.unparse(names))
    if (
        not isinstance(docstring, ast.Expr)
        or listed is None
        or sorted(ast.literal_eval(listed[1])) != sorted(models)
        or len(models) != len(imports)
    ):
        found = "models/__init__.py: expected one import for each model, and an __all__ that lists them."
        raise ShapeError(found, LAZY, "models")
    by_module: dict[str, str] = {}
    for model, module in sorted(models.items()):
        if (other := by_module.setdefault(module, model)) != model:
            raise GenerationError(
                f"{name}: {other} and {model} both become models/{module}.py. Give one of these schemas another name."
            )
    # When Python loads a module, it sets the module's name in the package. A model of the same name would be hidden.
    eager = [model for model, module in sorted(models.items()) if model == module]
    text = INIT.format(
        eager="\n".join(f"from .{model} import {model}" for model in eager),
        modules="\n".join(f"{model} {module}" for model, module in sorted(models.items()) if model not in eager),
        names=tuple(sorted(models)),
    )
    path.rename(path.with_name("_all.py"))
    path.write_text(text, "utf-8")


def load_references(package: Path) -> None:
    """Make each model load the models that it refers to when it is loaded, not at the first use.

    The generated functions import them when they are called. If a process forks while a thread runs such an import,
    the child waits forever for the rest of the import.

    Raises:
        ShapeError: a function imports something else.
    """
    for path in sorted(package.glob("models/*.py")):
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        guarded = {
            ast.unparse(line)
            for node in tree.body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for line in node.body
        }
        late = {
            ast.unparse(line)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            for line in ast.walk(node)
            if isinstance(line, ast.Import | ast.ImportFrom)
        }
        modules = [re.fullmatch(r"from \.\.models\.(\w+) import \w+", line) for line in sorted(late)]
        if late != guarded or None in modules:
            found = "expected the functions to import what `if TYPE_CHECKING:` does, from ..models."
            raise ShapeError(f"models/{path.name}: {found}", LOADED, "models")
        loads = "".join(f"from . import {found[1]} as _{found[1]}  # noqa: F401\n" for found in modules if found)
        if loads:
            comment = "# Imported now, not at the first call; and at the end, because models may refer to each other.\n"
            path.write_text(f"{text}\n\n{comment}{loads}", "utf-8")
