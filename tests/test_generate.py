"""`make generate` and what it adds to the generator's output."""

import asyncio
import copy
import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

import kyc_openapi
from kyc_openapi.api.auth import login
from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from kyc_openapi.models import (
    BearerToken,
    HTTPValidationError,
    LoginErrorCode,
    LoginForm,
    LoginRefusal,
    Resource,
    ValidationError,
)
from kyc_openapi.types import UNSET, path_segment

ROOT = Path(__file__).parents[1]
SPEC = ROOT / "openapi.yaml"
GROWN_SPEC = ROOT / "tests" / "specs" / "grown.yaml"
PACKAGE = ROOT / "generated" / "kyc_openapi"
SECRET = "s3cret-Pa55"

sys.path.insert(0, str(ROOT / "tools"))
generate = importlib.import_module("generate")
edits = importlib.import_module("_edits")
models = importlib.import_module("_models")
output = importlib.import_module("_output")
runner = importlib.import_module("_run")
checks = importlib.import_module("_checks")

# Secrets wherever a document can put them, and every way to say or not to say that an operation is public.
GROWN = """
openapi: 3.1.0
info: {title: Grown, version: 2024-01-01}
security: [{bearer: []}]
paths:
  /health:
    get: {operationId: health, tags: [x], security: [], responses: {"204": {description: Fine.}}}
  /nothing:
    get: {operationId: nothing, tags: [x], security: [{}], responses: {"204": {description: Fine.}}}
  /either:
    get: {operationId: either, tags: [x], security: [{}, {bearer: []}], responses: {"204": {description: Fine.}}}
  /default:
    get:
      operationId: default
      tags: [x]
      responses:
        "200":
          description: A model without a name.
          content:
            application/json:
              schema:
                type: object
                properties:
                  shown: {type: string}
                  one: {$ref: "#/components/schemas/Secret"}
                  many: {type: array, items: {$ref: "#/components/schemas/Secret"}}
                  maybe: {anyOf: [{$ref: "#/components/schemas/Secret"}, {type: "null"}]}
                  map: {type: object, additionalProperties: {$ref: "#/components/schemas/Secret"}}
components:
  securitySchemes: {bearer: {type: http, scheme: bearer}}
  schemas:
    Secret: {type: string, format: password}
    Base: {type: object, required: [api-key], properties: {api-key: {type: string, format: password}}}
    Child:
      allOf:
        - {$ref: "#/components/schemas/Base"}
        - {type: object, properties: {pin: {type: integer, x-secret: true, default: 1234}, shown: {type: string}}}
    Twin: {type: object, properties: {one: {type: string}, shown: {type: string}}}
"""


def ref(name):
    """Refer to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def contents(folder):
    """Read all files of a folder."""
    return output.files(folder)


def run(*arguments):
    """Run the tool in this process, which is its whole command line but for the interpreter."""
    return generate.main([str(argument) for argument in arguments])


def write(path, text):
    """Write a file, with the folders that it stands in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


# Settings of ruff that have nothing in common, in the two places where ruff looks for them.
SURROUNDINGS = {
    "ruff.toml": "line-length = 40\nlint.select = ['ALL']\nformat.quote-style = 'single'\n",
    "pyproject.toml": "[tool.ruff]\nline-length = 200\nformat.indent-style = 'tab'\nlint.isort.no-sections = true\n",
}


@pytest.fixture(scope="session", params=SURROUNDINGS)
def fresh(request, tmp_path_factory):
    """The whole command, run in a folder full of traps, with an environment full of traps."""
    folder = tmp_path_factory.mktemp("fresh")
    write(folder / request.param, SURROUNDINGS[request.param])
    write(folder / "mypy.ini", "[mypy]\nthis is = not a configuration\n")
    write(folder / "out" / "stale.py", "")
    write(folder / "out" / "__init__.py", "# Generated from something by someone.\n")
    seed = str(len(request.param))
    environment = os.environ | {"PATH": "", "MYPYPATH": str(folder / "out"), "PYTHONHASHSEED": seed}
    command = [sys.executable, str(ROOT / "tools" / "generate.py"), "--spec", str(SPEC), "--out", "out"]
    result = subprocess.run(  # noqa: S603  # Our own tool, by its path.
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "out is generated from openapi.yaml\n"
    return folder / "out"


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """What the generator writes, before anything is done to it."""
    package = tmp_path_factory.mktemp("raw") / "raw"
    spec = generate.read_spec(SPEC)
    generate.write_out_security(spec)
    runner.call_generator(spec, package, "openapi.yaml")
    return package


@pytest.fixture(scope="session")
def raw_large(tmp_path_factory):
    """What the generator writes from a document with parameters, uploads and models that refer to each other."""
    package = tmp_path_factory.mktemp("raw_large") / "raw"
    generate.write_out_security(spec := generate.read_spec(GROWN_SPEC))
    runner.call_generator(spec, package, "grown.yaml")
    return package


@pytest.fixture(scope="session")
def grown(tmp_path_factory):
    """The package generated from `GROWN`, importable as `grown`."""
    folder = tmp_path_factory.mktemp("grown")
    generate.build(write(folder / "grown.yaml", GROWN), folder / "grown")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("grown")
    sys.path.remove(str(folder))


@pytest.fixture
def out(tmp_path):
    """A copy of the committed package, to be spoilt."""
    return shutil.copytree(PACKAGE, tmp_path / "kyc_openapi", ignore=shutil.ignore_patterns("__pycache__"))


def transport(status, content=b"", seen=None):
    """Answer everything in one way, and note the requests."""

    def answer(request):
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, content=content)

    return httpx.MockTransport(answer)


class Stamp(httpx.Auth):
    """Stands for the auth of a caller: notes what it gets to see, and sets a header."""

    def __init__(self):
        self.found = []

    def auth_flow(self, request):
        """Set the header and note the one that was there."""
        self.found.append(request.headers.get("Authorization"))
        request.headers["Authorization"] = "Stamp"
        yield request


# The command.


def test_same_bytes_whatever_surrounds_the_output(fresh):
    """J4: two folders, each with ruff settings of its own, an empty PATH: the bytes are those of the repository."""
    assert contents(fresh) == contents(PACKAGE)


def test_stale_files_go(fresh):
    """What stood in the folder and is not generated any more is gone, and nothing is left beside it."""
    assert not (fresh / "stale.py").exists()
    found = {path.name for path in fresh.parent.iterdir()}
    assert found - SURROUNDINGS.keys() == {"mypy.ini", "out"}


def test_check_passes_on_the_repository(capsys):
    """The committed package is what the committed document generates."""
    assert run("--spec", SPEC, "--out", PACKAGE, "--check") == 0
    assert "is up to date with openapi.yaml" in capsys.readouterr().out


def test_check_fails_on_edits_and_on_files_too_many_or_too_few(out, capsys):
    """Each file that is not as generated is listed, a changed one with its lines, and nothing is mended."""
    edited = out / "models" / "login_form.py"
    edited.write_text(edited.read_text("utf-8").replace("(repr=False)", "(repr=True)"), "utf-8")
    (out / "models" / "stale.py").touch()
    (out / "py.typed").unlink()
    before = contents(out)
    assert run("--spec", SPEC, "--out", out, "--check") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("  ") and line[2] != " "] == [
        "  missing: py.typed",
        "  stale: models/stale.py (not generated any more, or never was)",
        "  differs: models/login_form.py",
    ]
    assert "    -    password: str = _attrs_field(repr=True)" in lines
    assert "    +    password: str = _attrs_field(repr=False)" in lines
    assert lines[-1] == "run make generate"
    assert contents(out) == before


def test_check_fails_on_a_changed_document(out, tmp_path, capsys):
    """A field added to the document and not generated is noticed."""
    text = SPEC.read_text("utf-8")
    changed = text.replace("    Unauthorized:\n      type: object", "    Unauthorised:\n      type: object")
    changed = changed.replace("schemas/Unauthorized", "schemas/Unauthorised")
    assert changed != text
    assert run("--spec", write(tmp_path / "openapi.yaml", changed), "--out", out, "--check") == 1
    error = capsys.readouterr().err
    assert "  missing: models/unauthorised.py\n" in error
    assert "  stale: models/unauthorized.py " in error
    assert "  differs: api/resource/get_resource.py\n" in error


def test_long_differences_are_cut():
    """A rewritten file does not fill the screen."""
    lines = output.excerpt("x.py", b"a\n" * 100, b"b\n" * 100).splitlines()
    assert len(lines) == output.EXCERPT + 1
    assert lines[-1].endswith("more lines")


HEAD = "openapi: 3.1.0\ninfo: {title: x, version: '1'}\n"
FINE = "responses: {'204': {description: Fine.}}"
ONE = HEAD + f"paths: {{/a: {{get: {{operationId: a, {FINE}}}}}}}\n"


def parameter(name, schema):
    """Write a document with one operation that has one parameter."""
    return ONE.replace("operationId: a", f"operationId: a, parameters: [{{name: {name}, schema: {{{schema}}}}}]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not valid YAML"),
        ("a: 1\na: 2\n", "not valid YAML"),
        ("openapi: 3.1.0", "has no `paths`"),
        (HEAD + "paths: {}", "no operation to generate"),
        (HEAD + "paths: {/a: &a {get: {loop: *a}}}", "JSON cannot express: Circular"),
        (ONE.replace("title: x, ", ""), "info.title\n    Field required"),
        (ONE.replace("Fine.", "Fine., content: {application/xml: {schema: {}}}"), "application/xml"),
        (
            ONE + "components: {schemas: {E: {enum: [a, A]}}}",
            "schemas.E: the values 'a' and 'A' both become the member A",
        ),
        (ONE + "components: {schemas: {A: {properties: {to_dict: {type: string}}}}}", "mypy --strict"),
        (
            ONE + "components: {schemas: {A: {properties: {a: {x-secret: yes}}}}}",
            "x-secret is true or false, and not 'yes'",
        ),
        (
            ONE + "components: {schemas: {Any: {properties: {a: {type: string}}}}}",
            "components.schemas.Any (models/any_.py)",
        ),
        (ONE + "components: {schemas: {A: {properties: {cls: {type: string}}}}}", "choose others for what stands here"),
        (
            ONE + "components: {schemas: {A: {properties: {D: {type: string}}}}}",
            "schemas.A: a property called 'D' breaks",
        ),
        (
            ONE + "components: {schemas: {E: {enum: [in review, in-review]}}}",
            "schemas.E: the values 'in review' and 'in-review' both become the member IN_REVIEW",
        ),
        (ONE + "components: {schemas: {E: {enum: [a, a]}}}", "schemas.E: the value 'a' is there twice"),
        (ONE + "components: {schemas: {E: {enum: ['', VALUE_0]}}}", "both become the member VALUE_0"),
        (
            ONE + "components: {schemas: {E: {enum: [1, 2], x-enum-varnames: [x, X]}}}",
            "1 and 2 both become the member X",
        ),
        (ONE + "components: {schemas: {E: {enum: [a, b], x-enum-varnames: [1, 2]}}}", "x-enum-varnames are texts"),
        (
            ONE + "components: {schemas: {HTTPError: {type: object}, HttpError: {type: object}}}",
            "HTTPError and HttpError both become models/http_error.py",
        ),
        (ONE + "components: {schemas: {A_b: {type: object}, AB: {type: object}}}", 'duplicate models with name "AB"'),
        (
            ONE + "components: {schemas: {A: {properties: {a: {type: string, default: 'say \"hi\"'}}}}}",
            "schemas.A.properties.a: the default 'say \"hi\"' has a quote or a backslash",
        ),
        (parameter("X-Id, in: header", "type: string, format: uuid"), "a header with `format: uuid` cannot be sent"),
        (parameter("X-Id, in: header", "type: [string, integer]"), "a header of type integer or string cannot be sent"),
        (parameter("x, in: cookie", "type: integer"), "paths./a.get.parameters[0]: a cookie of type integer"),
        (ONE.replace("/a:", "'/{größe}':"), "paths./{größe}: the generator does not find the parameter 'größe'"),
        (
            ONE + "components: {schemas: {K: {properties: {kind: {type: string}}}, "
            "E: {oneOf: [{$ref: '#/components/schemas/K'}], discriminator: {propertyName: kind}}}}",
            "schemas.E: the generator does not look at the discriminator",
        ),
        # The generator crashes.
        (
            ONE + "components: {schemas: {Alias: {$ref: '#/components/schemas/'}}}",
            "The generator cannot read bad.yaml: components.schemas.Alias: UnboundLocalError: ",
        ),
        (
            HEAD + f"paths: {{/a: {{get: {{operationId: a, {FINE}}}, put: {{operationId: a, {FINE}}}}}}}",
            "GET /a and PUT /a both become api/default/a.py",
        ),
    ],
)
def test_a_bad_document_changes_nothing(text, message, out, tmp_path, capsys):
    """One message says what is wrong with which document, and the old output stays as it was."""
    spec = write(tmp_path / "spec" / "bad.yaml", text)
    before = contents(out)
    assert run("--spec", spec, "--out", out) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert "object at 0x" not in error
    assert "bad.yaml" in error or "operationId" in error
    assert str(tmp_path) not in error
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kyc_openapi", "spec"]


def test_a_long_chain_of_references_is_followed(tmp_path):
    """400 schemas, each of which refers to the next: more than Python's stack holds of the generator's frames."""
    chain = {f"A{number}": {"properties": {"next": ref(f"A{number + 1}")}} for number in reversed(range(400))}
    spec = json.loads(json.dumps(generate.read_spec(SPEC)))
    spec["components"]["schemas"] |= {"A400": {"type": "object"}} | chain
    runner.call_generator(spec, tmp_path / "raw", "chain.json")
    assert len(list(tmp_path.glob("raw/models/a[0-9]*.py"))) == 401


@pytest.mark.parametrize("link", [lambda part: part, lambda part: {"allOf": [part]}, lambda part: {"items": part}])
def test_a_secret_is_found_at_the_end_of_a_long_chain(link):
    """Of references, bases or lists."""
    chain = {f"A{number}": link(ref(f"A{number + 1}")) for number in range(600)}
    end = {"A600": {"type": "string", "format": "password"}}
    model = {"Model": {"properties": {"a": ref("A0"), "b": {"type": "string"}}}}
    spec = {"paths": {}, "components": {"schemas": chain | end | model}}
    assert generate.secrets_by_shape(spec)[frozenset({"a", "b"})] == {"a"}


@pytest.mark.parametrize("loop", [ref("A"), {"allOf": [ref("A")]}, {"anyOf": [ref("A")]}, {"items": ref("A")}])
def test_schemas_that_refer_to_themselves_end(loop):
    """A schema that holds itself is looked at once."""
    spec = {"paths": {}, "components": {"schemas": {"A": loop | {"properties": {"a": {"format": "password"}}}}}}
    assert generate.secrets_by_shape(spec) == {frozenset({"a"}): {"a"}}


def test_a_document_that_is_not_there(out, tmp_path, capsys):
    """A mistyped name is a message, too."""
    assert run("--spec", tmp_path / "nope.yaml", "--out", out) == 1
    assert capsys.readouterr().err == "nope.yaml cannot be read: No such file or directory.\n"


def test_json_is_read_as_well(tmp_path):
    """A document in JSON, dates and all, is as good as one in YAML."""
    spec = generate.read_spec(write(tmp_path / "a.yaml", GROWN))
    text = json.dumps(spec, default=runner.plain)
    assert '"version": "2024-01-01"' in text
    assert generate.read_spec(write(tmp_path / "a.json", text))["paths"] == spec["paths"]


def test_a_foreign_folder_is_not_replaced(tmp_path, capsys):
    """A folder with somebody's files in it is refused: `--out` was mistyped."""
    mine = write(tmp_path / "mine" / "notes.txt", "mine")
    assert run("--spec", SPEC, "--out", mine.parent) == 1
    assert "mine holds files that were not generated" in capsys.readouterr().err
    assert mine.read_text("utf-8") == "mine"


def test_a_failing_swap_puts_the_old_output_back(out, raw, monkeypatch):
    """If the new folder cannot be moved into its place, the old one is put back."""
    before, rename = contents(out), Path.rename

    def fail_for_the_new(self, target):
        if self.name == "new":
            raise PermissionError(13, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(PermissionError):
        output.swap(raw, out)
    assert contents(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["kyc_openapi"]


def test_a_missing_tool_says_what_to_do(tmp_path, monkeypatch):
    """Tools are looked for beside the interpreter only; without them the message names the target to run."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(generate.GenerationError, match=r"ruff is not installed .* run make setup"):
        runner.tool("ruff")


# The generator's output changes shape.


@pytest.mark.parametrize("edit", [*edits.EDITS, edits.PUBLIC], ids=lambda edit: edit.new.strip()[:40])
@pytest.mark.parametrize("times", [0, 2])
def test_each_edit_counts(edit, times, raw, tmp_path):
    """An edit that finds its text too rarely or too often fails, and says where, what, and why it matters."""
    package = shutil.copytree(raw, tmp_path / "raw")
    path = package / edit.files.replace("*/*.py", "auth/login.py")
    text = path.read_text("utf-8")
    assert text.count(edit.old) == edit.count
    path.write_text(text.replace(edit.old, edit.old * times), "utf-8")
    with pytest.raises(generate.GenerationError) as caught:
        edit.apply_to(path)
    message = str(caught.value)
    assert f"{path.name}: expected {edit.count} times" in message
    assert f"found {edit.count * times}. The generator's output changed shape" in message
    assert edit.why in message
    assert "\n" not in message


def test_a_changed_shape_ends_the_command(out, monkeypatch, capsys):
    """Such a failure is a message and an exit status of 1, and leaves the old output whole."""
    call, before = generate.call_generator, contents(out)

    def call_and_change(spec, package, name):
        call(spec, package, name)
        (package / "types.py").write_text("# Nothing as it was.\n", "utf-8")

    monkeypatch.setattr(generate, "call_generator", call_and_change)
    assert run("--spec", SPEC, "--out", out) == 1
    assert capsys.readouterr().err.startswith("kyc_openapi/types.py: expected 1 times")
    assert contents(out) == before


def test_no_file_to_edit(tmp_path):
    """A file that is not generated any more is noticed, too."""
    with pytest.raises(generate.GenerationError, match=r"No client\.py was generated"):
        edits.EDITS[0].apply(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('d.pop("password")', 'd["password"]', "expected a from_dict that pops each property"),
        ("= cls(", "= LoginForm(", "expected a from_dict that pops each property"),
        ("    password: str\n", "    password: (\n        str)\n", "expected one line that declares `password`"),
        ("    password: str\n", "", "expected one line that declares `password`"),
        ('d.pop("password")', 'd.pop("passphrase")', "as secret, but no generated model holds"),
    ],
)
def test_a_model_that_can_not_be_masked(old, new, message, raw, tmp_path):
    """A secret that is not found in the generated model is an error, never a `repr` that shows it."""
    package = shutil.copytree(raw, tmp_path / "raw")
    path = package / "models" / "login_form.py"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(generate.GenerationError, match=message):
        models.mask_models(package, generate.secrets_by_shape(generate.read_spec(SPEC)))


def test_a_secret_is_looked_for_in_each_model(raw, tmp_path):
    """That one model is masked does not excuse another one that has the same secret and was not found."""
    package = shutil.copytree(raw, tmp_path / "raw")
    shapes = generate.secrets_by_shape(generate.read_spec(SPEC))
    with pytest.raises(generate.GenerationError, match=r"\['password'\] .* model holds \['password', 'x'\]"):
        models.mask_models(package, shapes | {frozenset({"password", "x"}): {"password"}})


def test_code_that_python_can_not_read(tmp_path):
    """Broken code is refused with its place and a way out."""
    write(tmp_path / "models" / "x.py", "def 1():\n")
    with pytest.raises(generate.GenerationError, match=r"a\.yaml is broken: models/x\.py: invalid .* line 1"):
        checks.compile_package(tmp_path, "a.yaml", {"paths": {}})


def spoil(package, tmp_path, name, old, new):
    """Copy a package and change a text in one of its files."""
    package = shutil.copytree(package, tmp_path / "raw")
    text = (package / name).read_text("utf-8")
    assert old in text
    (package / name).write_text(text.replace(old, new), "utf-8")
    return package


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "api/documents/download_document.py",
            "document_id=quote(",
            "document_id=escape(",
            r"expected 6 times .*, found 5\.",
        ),
        ("api/webhooks/get_event.py", "Response, UNSET", "UNSET, Response", r"get_event\.py: expected 1 times `from"),
        (
            "api/documents/upload_document.py",
            "boundary=+++",
            "boundary=---",
            r"expected 1 times .*boundary.*, found 0\.",
        ),
        (
            "api/health/get_health.py",
            "AuthenticatedClient | Client,",
            "Client,",
            r"11 operations, 2 of them public; the generator wrote 11, 1",
        ),
    ],
)
def test_an_operation_that_can_not_be_edited(name, old, new, message, raw_large, tmp_path):
    """Parameters, boundaries and public operations are counted: one that looks otherwise is an error."""
    spec = generate.read_spec(GROWN_SPEC)
    public = generate.write_out_security(spec)
    package = spoil(raw_large, tmp_path, name, old, new)
    with pytest.raises(generate.GenerationError, match=message) as caught:
        edits.edit_operations(package, spec, public)
    assert "The generator's output changed shape: adapt tools/_edits.py" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from .address import Address", "from .address import Address as Address"),
        ("from .address import Address", "from ..models.address import Address"),
        ("from .address import Address", "from .address import Address, Other"),
        ("from .address import Address", "import sys"),
        ("from .address import Address\n", ""),
        ('    "Address",\n', ""),
        ("__all__ = (", "__all__ = list("),
        ("__all__ = (", "names = ("),
        ('"""Contains all the data models used in inputs/outputs"""', "import sys"),
    ],
)
def test_models_that_can_not_be_loaded_lazily(old, new, raw_large, tmp_path):
    """Whatever else `models/__init__.py` may come to hold is an error, and not lost."""
    init = raw_large / "models" / "__init__.py"
    old = '""" Contains all the data models used in inputs/outputs """' if old.startswith('"""') else old
    assert old in init.read_text("utf-8")
    package = spoil(raw_large, tmp_path, "models/__init__.py", old, new)
    with pytest.raises(generate.GenerationError, match=r"expected one import for each model.*adapt tools/_models\.py"):
        models.load_lazily(package, "grown.yaml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from ..models.document import Document #", "from ..models.document import Document as Document #"),
        ("  from ..models.document import Document\n", "  from ..models import Document\n"),
        ("if TYPE_CHECKING:", "if not TYPE_CHECKING:"),
        ("        from ..models.address import Address #", "        import json #"),
    ],
)
def test_references_that_can_not_be_loaded_at_once(old, new, raw_large, tmp_path):
    """A model that imports another one in some other way is an error, since a fork might cut that in two."""
    package = spoil(raw_large, tmp_path, "models/applicant.py", old, new)
    with pytest.raises(generate.GenerationError, match=r"models/applicant\.py: expected the functions to import"):
        models.load_references(package)


def test_wrong_types_are_listed_by_place(tmp_path):
    """What the type checker finds is cut to a few lines for each file, under what the file was made from."""
    write(tmp_path / "pkg" / "__init__.py", "")
    write(tmp_path / "pkg" / "models" / "a.py", "x: int = ''\n" * 9)
    spec = {"paths": {}, "components": {"schemas": {"A": {"type": "object"}}}}
    with pytest.raises(generate.GenerationError) as caught:
        checks.check_types(tmp_path / "pkg", "a.yaml", spec)
    lines = str(caught.value).splitlines()
    assert lines[2] == "  components.schemas.A (models/a.py)"
    assert lines[3].startswith("    line 1: Incompatible types in assignment")
    assert lines[-1].endswith(" more")
    assert len(lines) == 3 + checks.EXCERPT + 1


# The generated files.


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_file_says_that_it_is_generated(path):
    """The first line names the document, the command, and what to do instead of editing."""
    first = path.read_text("utf-8").partition("\n")[0]
    assert first.startswith("# Generated from openapi.yaml by `make generate`. Do not edit: ")


def test_the_package_is_typed():
    """Type checkers of services read the package's annotations."""
    assert (PACKAGE / "py.typed").read_bytes() == b""


# What is shown of secrets.

ENTRY = {"loc": ["body"], "msg": "No match", "type": "pattern", "input": SECRET, "ctx": {"was": SECRET}}


@pytest.mark.parametrize(
    ("model", "data", "shown"),
    [
        (LoginForm, {"username": "user@example.com", "password": SECRET, "extra": SECRET}, "user@example.com"),
        (BearerToken, {"access_token": SECRET, "token_type": "bearer", "refresh_token": SECRET}, "bearer"),
        (ValidationError, {**ENTRY, "url": SECRET}, "No match"),
        (HTTPValidationError, {"detail": [ENTRY]}, "No match"),
    ],
)
def test_models_hide_secrets(model, data, shown):
    """H1: `repr` shows neither a secret nor what came unannounced beside one; all of it is still there to be used."""
    instance = model.from_dict(data)
    for text in (repr(instance), str(instance), f"{instance}", repr([instance])):
        assert SECRET not in text
        assert shown in text
    assert instance.to_dict() == data


def test_defaults_survive_masking():
    """A hidden field that may be left out can still be left out."""
    assert ValidationError(loc=[], msg="m", type_="t").to_dict() == {"loc": [], "msg": "m", "type": "t"}


def test_a_response_hides_the_raw_answer():
    """H1: the detailed answer shows its status and the masked model, not the body or the headers."""
    body = b'{"access_token": "%s", "token_type": "bearer"}' % SECRET.encode()
    client = kyc_openapi.Client("https://api.test", httpx_args={"transport": transport(200, body)})
    with client:
        response = login.sync_detailed(client=client, body=LoginForm("user@example.com", SECRET))
    assert SECRET not in repr(response)
    assert "BearerToken" in repr(response)
    assert response.content == body
    assert response.parsed == BearerToken(SECRET, "bearer")


@pytest.mark.parametrize("make", [kyc_openapi.Client, kyc_openapi.AuthenticatedClient])
def test_clients_hide_secrets(make):
    """H1, H10: `repr` of a client shows its base URL, and nothing that could hold a credential."""
    token = {"token": SECRET} if make is kyc_openapi.AuthenticatedClient else {}
    client = make(
        "https://api.test",
        cookies={"session": SECRET},
        headers={"X-Api-Key": SECRET},
        httpx_args={"proxy": f"http://user:{SECRET}@proxy.test"},
        **token,
    )
    client.get_httpx_client().close()
    assert SECRET not in repr(client)
    assert "https://api.test" in repr(client)


def test_secrets_are_found_wherever_the_document_puts_them(grown):
    """References, lists, unions, maps, `allOf`, models without a name: hidden; what is beside them: shown."""
    found = importlib.import_module("grown.models")
    shown = {"shown": "this"}
    secret = {"one": SECRET, "many": [SECRET], "maybe": SECRET, "map": {"a": SECRET}}
    for instance in (
        found.DefaultResponse200.from_dict(shown | secret),
        found.Base.from_dict({"api-key": SECRET}),
        found.Child.from_dict(shown | {"api-key": SECRET, "pin": SECRET}),
        found.DefaultResponse200Map.from_dict({"a": SECRET}),
    ):
        assert SECRET not in repr(instance)
        assert SECRET in str(instance.to_dict())
    assert "shown='this'" in repr(found.Child.from_dict(shown | {"api-key": SECRET}))
    assert found.Child(api_key=SECRET).pin == 1234


def test_what_is_no_secret_stays_visible(grown):
    """A name that is secret in one model is not hidden in another."""
    found = importlib.import_module("grown.models")
    assert "one='this'" in repr(found.Twin(one="this"))


# Models.


def test_models_are_there_to_be_asked_for():
    """`dir()`, `__all__`, an import and an attribute all know each model; what is not there is an error as usual."""
    module = importlib.import_module("kyc_openapi.models")
    assert set(module.__all__) <= set(dir(module))
    assert module.LoginForm is LoginForm
    assert importlib.import_module("kyc_openapi.models.login_form").LoginForm is LoginForm
    with pytest.raises(AttributeError, match=r"module 'kyc_openapi\.models' has no attribute 'LoginFor'"):
        module.LoginFor  # noqa: B018  # The attribute is what is tested.


AGAIN = [
    copy.copy,
    copy.deepcopy,
    *(lambda it, protocol=protocol: pickle.loads(pickle.dumps(it, protocol)) for protocol in range(6)),  # noqa: S301
]


@pytest.mark.parametrize("again", AGAIN)
def test_unset_is_one_object(again):
    """`UNSET` is compared by identity, so it is the same object after pickle and copy, also within a model."""
    assert again(UNSET) is UNSET
    form = again(LoginForm("user@example.com", SECRET))
    assert form.grant_type is UNSET
    assert form.to_dict() == {"username": "user@example.com", "password": SECRET}


# How requests are sent.


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_path_parameter_stays_in_its_segment(value):
    """D12: what would lead to another path is refused, with the parameter's name."""
    with pytest.raises(ValueError, match=rf"applicant_id='{value}' cannot be sent"):
        path_segment("applicant_id", value)


@pytest.mark.parametrize("value", ["a/b", "../x", "a?x", "a#b", "%2e%2e", "...", "ü", 7, "-"])
def test_any_other_path_parameter_is_one_segment(value):
    """D12: everything else is quoted so that decoding the segment gives it back."""
    segment = path_segment("applicant_id", value)
    assert not set(segment) & set("/?#")
    assert segment.isascii()
    assert unquote(segment) == str(value)


def test_public_operations_are_sent_without_auth(grown):
    """Without security, said in either way, there is no auth; the default and the optional one have it."""
    kwargs = {
        name: importlib.import_module(f"grown.api.x.{name}")._get_kwargs()
        for name in ("health", "nothing", "either", "default")
    }
    assert {name for name, given in kwargs.items() if "auth" in given and given["auth"] is None} == {
        "health",
        "nothing",
    }


def test_a_document_without_default_has_public_operations():
    """Where neither the operation nor the document says anything, nothing is needed."""
    spec = {"paths": {"/a": {"get": {}, "parameters": [], "summary": "x"}}}
    assert generate.write_out_security(spec) == 1
    assert spec["paths"]["/a"]["get"] == {"security": []}


def test_login_is_sent_without_auth_and_the_rest_with_it():
    """The login must not wait for the token that it fetches: only the protected call reaches the auth."""
    auth, seen = Stamp(), []
    args = {"auth": auth, "transport": transport(422, b'{"detail": []}', seen)}
    client = kyc_openapi.AuthenticatedClient("https://api.test", SECRET, httpx_args=args)
    with client:
        login.sync(client=client, body=LoginForm("user@example.com", SECRET))
        get_resource.sync(client=client)
    assert [request.headers.get("Authorization") for request in seen] == [None, "Stamp"]
    assert auth.found == [None]


def test_protected_operations_take_an_authenticated_client_only():
    """Type checkers refuse a protected call with a client that has no token."""
    assert get_resource.sync.__annotations__["client"] is kyc_openapi.AuthenticatedClient
    assert login.sync.__annotations__["client"] == kyc_openapi.AuthenticatedClient | kyc_openapi.Client


COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


def fetch(client, colour):
    """Send one protected call in either colour, and close the client."""

    async def fetch_async():
        async with client:
            return await get_resource.asyncio_detailed(client=client)

    if colour == "async":
        return asyncio.run(fetch_async())
    with client:
        return get_resource.sync_detailed(client=client)


@COLOURS
def test_the_callers_auth_is_alone_with_the_header(colour):
    """With `httpx_args={"auth": ...}` the client adds no `Authorization` of its own."""
    auth, seen = Stamp(), []
    args = {"auth": auth, "transport": transport(200, b"{}", seen)}
    fetch(kyc_openapi.AuthenticatedClient("https://api.test", SECRET, httpx_args=args), colour)
    assert auth.found == [None]
    assert [request.headers["Authorization"] for request in seen] == ["Stamp"]


@COLOURS
def test_a_plain_token_is_still_sent(colour):
    """Without such an auth the client does what it always did."""
    seen = []
    args = {"transport": transport(200, b"{}", seen)}
    fetch(kyc_openapi.AuthenticatedClient("https://api.test", SECRET, httpx_args=args), colour)
    assert [request.headers["Authorization"] for request in seen] == [f"Bearer {SECRET}"]


# How answers are read.


@COLOURS
@pytest.mark.parametrize("status", [520, 599, 499])
def test_a_status_without_a_name(status, colour):
    """A proxy's own status is an answer like any other."""
    args = {"transport": transport(status, b"<html>")}
    response = fetch(kyc_openapi.AuthenticatedClient("https://api.test", SECRET, httpx_args=args), colour)
    assert (response.status_code, response.parsed) == (status, None)


@COLOURS
@pytest.mark.parametrize("status", [520, 500, 403])
def test_an_unexpected_status_is_raised_on_demand(status, colour):
    """`raise_on_unexpected_status` covers every undocumented status, named or not."""
    args = {"transport": transport(status, b"<html>")}
    client = kyc_openapi.AuthenticatedClient(
        "https://api.test", SECRET, httpx_args=args, raise_on_unexpected_status=True
    )
    with pytest.raises(UnexpectedStatus) as caught:
        fetch(client, colour)
    assert (caught.value.status_code, caught.value.content) == (status, b"<html>")


def test_a_status_with_a_name_keeps_it():
    """The usual statuses still come as members of HTTPStatus."""
    args = {"transport": transport(200, b"{}")}
    response = fetch(kyc_openapi.AuthenticatedClient("https://api.test", SECRET, httpx_args=args), "sync")
    assert response.status_code is HTTPStatus.OK


def test_unexpected_status_is_quiet():
    """The message and `repr` say the status only; the body is there for whoever asks for it."""
    error = UnexpectedStatus(520, SECRET.encode())
    assert str(error) == "Unexpected status code: 520"
    assert SECRET not in repr(error)
    assert error.content == SECRET.encode()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301  # Our own pickle.
def test_unexpected_status_can_be_sent_to_another_process(again):
    """Pickling and copying keep the status, the body, the message and notes."""
    error = UnexpectedStatus(520, b"body")
    error.add_note("while testing")
    twin = again(error)
    assert type(twin) is UnexpectedStatus
    assert (twin.status_code, twin.content, str(twin)) == (520, b"body", str(error))
    assert twin.__notes__ == ["while testing"]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("LOGIN_BAD_CREDENTIALS", LoginErrorCode.LOGIN_BAD_CREDENTIALS),
        ("LOGIN_USER_NOT_VERIFIED", LoginErrorCode.LOGIN_USER_NOT_VERIFIED),
        ("LOGIN_SOMETHING_NEW", "LOGIN_SOMETHING_NEW"),
    ],
)
def test_refusals_are_read(sent, read):
    """A documented code becomes a member of the enumeration, another one stays the text that it is."""
    detail = LoginRefusal.from_dict({"detail": sent}).detail
    assert (detail, type(detail)) == (read, type(read))


def test_a_resource_is_any_object():
    """What a protected call returns is there under its own names."""
    assert Resource.from_dict({"id": 7})["id"] == 7
