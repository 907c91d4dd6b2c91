"""`make generate`: its output, the documents that it refuses, and what happens when the generator changes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT, SPECS
from tools import generate
from tools.generate import checks, edits, models, output
from tools.generate import run as runner

pytestmark = pytest.mark.tools

SPEC = ROOT / "openapi.yaml"
GROWN_SPEC = SPECS / "grown.yaml"
PACKAGE = ROOT / "generated" / "kyc_openapi"


def ref(name):
    """Refer to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def contents(folder):
    """Read all files of a folder."""
    return output.files(folder)


def run(*arguments):
    """Run the tool's command line in this process."""
    return generate.main([str(argument) for argument in arguments])


def write(path, text):
    """Write a file, and create its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


# Two different sets of ruff settings, in the two places where ruff looks for settings.
SURROUNDINGS = {
    "ruff.toml": "line-length = 40\nlint.select = ['ALL']\nformat.quote-style = 'single'\n",
    "pyproject.toml": "[tool.ruff]\nline-length = 200\nformat.indent-style = 'tab'\nlint.isort.no-sections = true\n",
}


@pytest.fixture(scope="session", params=SURROUNDINGS)
def fresh(request, tmp_path_factory):
    """Run the whole command in a folder and an environment whose settings it must ignore."""
    folder = tmp_path_factory.mktemp("fresh")
    write(folder / request.param, SURROUNDINGS[request.param])
    write(folder / "mypy.ini", "[mypy]\nthis is = not a configuration\n")
    write(folder / "out" / "stale.py", "")
    write(folder / "out" / "__init__.py", "# Generated from something by someone.\n")
    seed = str(len(request.param))
    environment = os.environ | {
        "PATH": "",
        "MYPYPATH": str(folder / "out"),
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tools.generate", "--spec", str(SPEC), "--out", "out"]
    result = subprocess.run(  # noqa: S603  # Our own tool.
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "out is generated from openapi.yaml\n"
    return folder / "out"


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """The raw output of the generator."""
    package = tmp_path_factory.mktemp("raw") / "raw"
    spec = generate.read_spec(SPEC)
    generate.write_out_security(spec)
    runner.call_generator(spec, package, "openapi.yaml")
    return package


@pytest.fixture(scope="session")
def raw_large(tmp_path_factory):
    """The raw output for a document with parameters, uploads and models that refer to each other."""
    package = tmp_path_factory.mktemp("raw_large") / "raw"
    generate.write_out_security(spec := generate.read_spec(GROWN_SPEC))
    runner.call_generator(spec, package, "grown.yaml")
    return package


@pytest.fixture
def out(tmp_path):
    """A copy of the committed package that a test may damage."""
    return shutil.copytree(PACKAGE, tmp_path / "kyc_openapi", ignore=shutil.ignore_patterns("__pycache__"))


# The command.


def test_same_bytes_whatever_surrounds_the_output(fresh):
    """J4: in two folders with different ruff settings and an empty PATH, the bytes equal the repository's."""
    assert contents(fresh) == contents(PACKAGE)


def test_stale_files_go(fresh):
    """Files that are no longer generated are removed, and no temporary folder stays behind."""
    assert not (fresh / "stale.py").exists()
    found = {path.name for path in fresh.parent.iterdir()}
    assert found - SURROUNDINGS.keys() == {"mypy.ini", "out"}


def test_check_passes_on_the_repository(capsys):
    """The committed package equals the output for the committed document."""
    assert run("--spec", SPEC, "--out", PACKAGE, "--check") == 0
    assert "is up to date with openapi.yaml" in capsys.readouterr().out


def test_check_fails_on_edits_and_on_files_too_many_or_too_few(out, capsys):
    """Each file that differs is listed, a changed one with its lines. Nothing is changed."""
    edited = out / "models" / "login_form.py"
    edited.write_text(edited.read_text("utf-8").replace("(repr=False)", "(repr=True)"), "utf-8")
    (out / "models" / "stale.py").touch()
    (out / "py.typed").unlink()
    before = contents(out)
    assert run("--spec", SPEC, "--out", out, "--check") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("  ") and line[2] != " "] == [
        "  missing: py.typed",
        "  stale: models/stale.py (no longer generated, or never was)",
        "  differs: models/login_form.py",
    ]
    assert "    -    password: str = _attrs_field(repr=True)" in lines
    assert "    +    password: str = _attrs_field(repr=False)" in lines
    assert lines[-1] == "run make generate"
    assert contents(out) == before


def test_check_fails_on_a_changed_document(out, tmp_path, capsys):
    """The check fails if a field was added to the document without `make generate`."""
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
    """The diff of a rewritten file is cut to a few lines."""
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
            "x-secret must be true or false, not 'yes'",
        ),
        (
            ONE + "components: {schemas: {Any: {properties: {a: {type: string}}}}}",
            "components.schemas.Any (models/any_.py)",
        ),
        (ONE + "components: {schemas: {A: {properties: {cls: {type: string}}}}}", "Choose other names here"),
        (
            ONE + "components: {schemas: {A: {properties: {D: {type: string}}}}}",
            "schemas.A: a property called 'D' breaks",
        ),
        (
            ONE + "components: {schemas: {E: {enum: [in review, in-review]}}}",
            "schemas.E: the values 'in review' and 'in-review' both become the member IN_REVIEW",
        ),
        (ONE + "components: {schemas: {E: {enum: [a, a]}}}", "schemas.E: the value 'a' appears twice"),
        (ONE + "components: {schemas: {E: {enum: ['', VALUE_0]}}}", "both become the member VALUE_0"),
        (
            ONE + "components: {schemas: {E: {enum: [1, 2], x-enum-varnames: [x, X]}}}",
            "1 and 2 both become the member X",
        ),
        (ONE + "components: {schemas: {E: {enum: [a, b], x-enum-varnames: [1, 2]}}}", "x-enum-varnames must be"),
        (
            ONE + "components: {schemas: {HTTPError: {type: object}, HttpError: {type: object}}}",
            "HTTPError and HttpError both become models/http_error.py",
        ),
        (ONE + "components: {schemas: {A_b: {type: object}, AB: {type: object}}}", 'duplicate models with name "AB"'),
        (
            ONE + "components: {schemas: {A: {properties: {a: {type: string, default: 'say \"hi\"'}}}}}",
            "schemas.A.properties.a: the default 'say \"hi\"' contains a quote or a backslash",
        ),
        (parameter("X-Id, in: header", "type: string, format: uuid"), "a header with `format: uuid` cannot be sent"),
        (parameter("X-Id, in: header", "type: [string, integer]"), "a header of type integer or string cannot be sent"),
        (parameter("x, in: cookie", "type: integer"), "paths./a.get.parameters[0]: a cookie of type integer"),
        (ONE.replace("/a:", "'/{größe}':"), "paths./{größe}: the generator does not find the parameter 'größe'"),
        (
            ONE + "components: {schemas: {K: {properties: {kind: {type: string}}}, "
            "E: {oneOf: [{$ref: '#/components/schemas/K'}], discriminator: {propertyName: kind}}}}",
            "schemas.E: the generator ignores the discriminator",
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
    """One message names the document and the problem. The old output does not change."""
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
    """400 schemas that each refer to the next need more frames of the generator than Python's stack has."""
    chain = {f"A{number}": {"properties": {"next": ref(f"A{number + 1}")}} for number in reversed(range(400))}
    spec = json.loads(json.dumps(generate.read_spec(SPEC)))
    spec["components"]["schemas"] |= {"A400": {"type": "object"}} | chain
    runner.call_generator(spec, tmp_path / "raw", "chain.json")
    assert len(list(tmp_path.glob("raw/models/a[0-9]*.py"))) == 401


@pytest.mark.parametrize("link", [lambda part: part, lambda part: {"allOf": [part]}, lambda part: {"items": part}])
def test_a_secret_is_found_at_the_end_of_a_long_chain(link):
    """A long chain of references, bases or lists works."""
    chain = {f"A{number}": link(ref(f"A{number + 1}")) for number in range(600)}
    end = {"A600": {"type": "string", "format": "password"}}
    model = {"Model": {"properties": {"a": ref("A0"), "b": {"type": "string"}}}}
    spec = {"paths": {}, "components": {"schemas": chain | end | model}}
    assert generate.secrets_by_shape(spec)[frozenset({"a", "b"})] == {"a"}


@pytest.mark.parametrize("loop", [ref("A"), {"allOf": [ref("A")]}, {"anyOf": [ref("A")]}, {"items": ref("A")}])
def test_schemas_that_refer_to_themselves_end(loop):
    """A schema that contains itself is visited once."""
    spec = {"paths": {}, "components": {"schemas": {"A": loop | {"properties": {"a": {"format": "password"}}}}}}
    assert generate.secrets_by_shape(spec) == {frozenset({"a"}): {"a"}}


def test_a_document_that_is_not_there(out, tmp_path, capsys):
    """A mistyped file name gives a message."""
    assert run("--spec", tmp_path / "nope.yaml", "--out", out) == 1
    assert capsys.readouterr().err == "nope.yaml cannot be read: No such file or directory.\n"


def test_json_is_read_as_well(tmp_path):
    """A document in JSON works like one in YAML, including dates."""
    dated = "info: {title: Dated, version: 2024-01-01}\npaths: {/a: {get: {responses: {}}}}\n"
    spec = generate.read_spec(write(tmp_path / "a.yaml", dated))
    text = json.dumps(spec, default=runner.plain)
    assert '"version": "2024-01-01"' in text
    assert generate.read_spec(write(tmp_path / "a.json", text))["paths"] == spec["paths"]


def test_a_foreign_folder_is_not_replaced(tmp_path, capsys):
    """A folder with other files is refused, because `--out` was probably mistyped."""
    mine = write(tmp_path / "mine" / "notes.txt", "mine")
    assert run("--spec", SPEC, "--out", mine.parent) == 1
    assert "mine holds files that were not generated" in capsys.readouterr().err
    assert mine.read_text("utf-8") == "mine"


def test_a_failing_swap_puts_the_old_output_back(out, raw, monkeypatch):
    """If the new folder cannot be moved into its place, the old one is restored."""
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
    """Tools are searched only beside the interpreter. If one is missing, the message names the target to run."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(generate.GenerationError, match=r"ruff is not installed .* run make setup"):
        runner.tool("ruff")


# The generator's output changes shape.


@pytest.mark.parametrize("edit", [*edits.EDITS, edits.PUBLIC], ids=lambda edit: edit.new.strip()[:40])
@pytest.mark.parametrize("times", [0, 2])
def test_each_edit_counts(edit, times, raw, tmp_path):
    """An edit that finds its text too rarely or too often fails. The message says where, what and why."""
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
    """Such a failure gives a message and exit status 1, and the old output stays complete."""
    call, before = generate.call_generator, contents(out)

    def call_and_change(spec, package, name):
        call(spec, package, name)
        (package / "types.py").write_text("# Nothing as it was.\n", "utf-8")

    monkeypatch.setattr(generate, "call_generator", call_and_change)
    assert run("--spec", SPEC, "--out", out) == 1
    assert capsys.readouterr().err.startswith("kyc_openapi/types.py: expected 1 times")
    assert contents(out) == before


def test_no_file_to_edit(tmp_path):
    """A file that is no longer generated is an error too."""
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
    """If a secret is not found in the generated model, the run fails. It never writes a `repr` that shows it."""
    package = shutil.copytree(raw, tmp_path / "raw")
    path = package / "models" / "login_form.py"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(generate.GenerationError, match=message):
        models.mask_models(package, generate.secrets_by_shape(generate.read_spec(SPEC)))


def test_a_secret_is_looked_for_in_each_model(raw, tmp_path):
    """If one model is masked, another model with the same secret that was not found is still an error."""
    package = shutil.copytree(raw, tmp_path / "raw")
    shapes = generate.secrets_by_shape(generate.read_spec(SPEC))
    with pytest.raises(generate.GenerationError, match=r"\['password'\] .* model holds \['password', 'x'\]"):
        models.mask_models(package, shapes | {frozenset({"password", "x"}): {"password"}})


def test_code_that_python_can_not_read(tmp_path):
    """Broken code is refused. The message names the place and says what to do."""
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
            r"11 operations \(2 public\)\. The generator wrote 11 \(1",
        ),
    ],
)
def test_an_operation_that_can_not_be_edited(name, old, new, message, raw_large, tmp_path):
    """Parameters, boundaries and public operations are counted. One with another form is an error."""
    spec = generate.read_spec(GROWN_SPEC)
    public = generate.write_out_security(spec)
    package = spoil(raw_large, tmp_path, name, old, new)
    with pytest.raises(generate.GenerationError, match=message) as caught:
        edits.edit_operations(package, spec, public)
    assert "The generator's output changed shape: adapt tools/generate/edits.py" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("address.py", "def to_dict(", "def as_dict("),
        ("address.py", "def from_dict(", "def from_dict(cls): ...\n    def from_dict("),
        ("health_status.py", "(StrEnum)", "(StrEnum, Flag)"),
    ],
)
def test_models_that_can_not_be_described(name, old, new, raw_large, tmp_path):
    """A method or an enum without a docstring is an error."""
    assert old in (raw_large / "models" / name).read_text("utf-8")
    package = spoil(raw_large, tmp_path, f"models/{name}", old, new)
    with pytest.raises(generate.GenerationError, match=rf"models/{name}: expected an enum, or to_dict.*adapt tools"):
        models.describe(package)


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
    """Anything unexpected in `models/__init__.py` is an error, so that it is not lost."""
    init = raw_large / "models" / "__init__.py"
    old = '""" Contains all the data models used in inputs/outputs """' if old.startswith('"""') else old
    assert old in init.read_text("utf-8")
    package = spoil(raw_large, tmp_path, "models/__init__.py", old, new)
    with pytest.raises(
        generate.GenerationError, match=r"expected one import for each model.*adapt tools/generate/models\.py"
    ):
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
    """A model that imports another one in another way is an error, because a fork may interrupt such an import."""
    package = spoil(raw_large, tmp_path, "models/applicant.py", old, new)
    with pytest.raises(generate.GenerationError, match=r"models/applicant\.py: expected the functions to import"):
        models.load_references(package)


def test_wrong_types_are_listed_by_place(tmp_path):
    """Type errors are cut to a few lines for each file, below the place in the document."""
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


# What is public.


def test_a_document_without_default_has_public_operations():
    """If neither the operation nor the document has security, none is needed."""
    spec = {"paths": {"/a": {"get": {}, "parameters": [], "summary": "x"}}}
    assert generate.write_out_security(spec) == 1
    assert spec["paths"]["/a"]["get"] == {"security": []}
