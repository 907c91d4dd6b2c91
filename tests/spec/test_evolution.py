"""The API grows: operations added to the document work at once, with an unchanged wrapper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import openapi_spec_validator
import pytest
from ruamel.yaml import YAML

from tests.spec.specs import drive, many
from tests.support.paths import OPENAPI, ROOT, SPECS
from tools import generate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.tools

OPERATIONS = 400
LOGIN = ["LoginForm", "BearerToken", "LoginRefusal", "LoginErrorCode", "HTTPValidationError", "ValidationError"]


def load(path: Path) -> Any:
    """Read a document."""
    return YAML(typ="safe").load(path)


def beside_the_wrapper(package: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a generated package before the installed one, and with the unchanged wrapper."""
    folders = os.pathsep.join(map(str, (package.parent, ROOT)))
    environment = os.environ | {"PYTHONPATH": folders, "PYTHONUTF8": "1"}
    return subprocess.run(  # noqa: S603 - the same Python, with our own scripts
        [sys.executable, "-W", "error", *command],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=100,
    )


def regenerate(spec: Path, folder: Path) -> Path:
    """Do what `make generate` does, including the strict type check."""
    package = folder / "kyc_openapi"
    assert generate.main(["--spec", str(spec), "--out", str(package)]) == 0
    return package


def outcomes(package: Path, module: str) -> dict[str, str]:
    """Run all scenarios in one process. Return the error of each, by scenario and colour."""
    done = beside_the_wrapper(package, "-m", "tests.spec.specs.drive", f"tests.spec.specs.{module}")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The results of the scenarios with the package generated from grown.yaml."""
    return outcomes(regenerate(SPECS / "grown.yaml", tmp_path_factory.mktemp("grown")), "grown_scenarios")


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The results of the scenarios with the package generated from awkward.yaml."""
    return outcomes(regenerate(SPECS / "awkward.yaml", tmp_path_factory.mktemp("awkward")), "awkward_scenarios")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of an API of 400 operations, before its types are checked."""
    folder = tmp_path_factory.mktemp("large")
    spec = folder / "many.json"
    spec.write_text(json.dumps(many.document(OPERATIONS)), "utf-8")
    generate.build(spec, folder / "kyc_openapi")
    return folder / "kyc_openapi"


def names(module: str) -> list[str]:
    """List the scenarios of a module without importing it, because the package that it uses does not exist yet."""
    lines = (SPECS / f"{module}.py").read_text("utf-8").splitlines()
    defined = [line.removeprefix("def ").partition("(")[0] for line in lines if line.startswith("def ")]
    return [f"{name}-{colour}" for name in defined if name[0] != "_" for colour in drive.COLOURS]


# The documents


@pytest.mark.parametrize("name", ["grown", "awkward"])
def test_the_document_is_legal_and_keeps_the_login(name: str) -> None:
    """J4: each document is OpenAPI, and has the login and the resource of openapi.yaml, word for word."""
    spec, openapi = load(SPECS / f"{name}.yaml"), load(OPENAPI)
    openapi_spec_validator.validate(spec)
    for path, item in openapi["paths"].items():
        assert spec["paths"][path] == item
    for schema, content in openapi["components"]["schemas"].items():
        assert spec["components"]["schemas"][schema] == content
    assert spec["security"] == openapi["security"]


def test_the_script_makes_a_legal_document() -> None:
    """The document of many operations is OpenAPI, and has the requested size."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.spec.specs.many", "30"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    spec = json.loads(done.stdout)
    openapi_spec_validator.validate(spec)
    assert len(spec["paths"]) == len(load(OPENAPI)["paths"]) + 30


# New operations beside the unchanged wrapper


@pytest.mark.parametrize("scenario", names("grown_scenarios"))
def test_the_grown_api_works(scenario: str, grown: dict[str, str]) -> None:
    """D12, H2, J2, J3: each scenario of tests/spec/specs/grown_scenarios.py, sync and async, over a real socket."""
    assert not grown[scenario]


@pytest.mark.parametrize("scenario", names("awkward_scenarios"))
def test_the_awkward_api_works(scenario: str, awkward: dict[str, str]) -> None:
    """Each scenario of tests/spec/specs/awkward_scenarios.py, sync and async, over a real socket."""
    assert not awkward[scenario]


LARGE = """
import json, sys
{prelude}
loaded = sorted(name for name in sys.modules if name.startswith("kyc_openapi"))
import kyc_openapi.models as models
from kyc_openapi.models import Thing7, LoginForm
from kyc_openapi.models import *
assert Thing7 is models.Thing7 and Thing399.__name__ == "Thing399" and LoginForm.__name__ == "LoginForm"
assert set(models.__all__) <= set(dir(models)), "dir() hides some"
assert len(models.__all__) > 800
for missing in ("Thing400", "thing", "", "Thing7 thing7"):
    assert not hasattr(models, missing), missing
try:
    from kyc_openapi.models import Thing400
except ImportError as error:
    assert "Thing400" in str(error)
else:
    raise AssertionError("Thing400 was imported")
print(json.dumps(loaded))
"""


@pytest.mark.parametrize(
    ("prelude", "own"),
    [
        ("from kyc_openapi.api.resource import get_resource", ["resource", "unauthorized"]),
        # The models of an answer are loaded before the first call, so no thread has to load them.
        (
            "from kyc_openapi.api.things15 import put_thing399",
            ["part_399", "thing_399", "thing_status", "unauthorized"],
        ),
        ("import kyc_client", []),
        (
            "import kyc_client._login.attempt",
            [
                "bearer_token",
                "http_validation_error",
                "login_error_code",
                "login_form",
                "login_refusal",
                "validation_error",
            ],
        ),
    ],
)
def test_imports_do_not_grow_with_the_api(prelude: str, own: list[str], large: Path) -> None:
    """One operation of 400 loads all of its own models and no others. Every model can be imported."""
    done = beside_the_wrapper(large, "-c", LARGE.format(prelude=prelude))
    assert (done.returncode, done.stderr) == (0, "")
    prefix = "kyc_openapi.models."
    loaded = [name.removeprefix(prefix) for name in json.loads(done.stdout) if name.startswith(prefix)]
    assert loaded == own


def test_a_large_api_passes_the_strict_type_check(large: Path) -> None:
    """Type checkers find the models that are loaded on demand, with 400 operations as with two."""
    generate.check_types(large, "many.json", many.document(OPERATIONS))


def test_every_operation_of_a_large_api_logs_in(large: Path) -> None:
    """The last of 400 operations accepts the connected client, like the first one."""
    script = """
from tests.spec.specs.drive import Drive
from tests.support.fault_server import answer
from kyc_openapi.api.things15 import put_thing399
from kyc_openapi.models import Part399, Thing399
for colour in ("sync", "async"):
    with Drive(colour) as drive:
        drive.server.on_resource(answer(200, {"id": "1", "parts": [{"size": 3}]}))
        thing = drive.call(put_thing399, "1", body=Thing399("1"))
        assert isinstance(thing.parts[0], Part399)
        assert drive.server.login_count == 1 and drive.server.accepts(drive.server.hits[0].token)
"""
    done = beside_the_wrapper(large, "-c", script)
    assert (done.returncode, done.stderr) == (0, "")


# Documents that break what the wrapper uses


def rename(old: str, new: str) -> Callable[[str], str]:
    """Replace a text everywhere in the document."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def without_the_login_path(text: str) -> str:
    """Remove the login from the document."""
    return text[: text.index("  /auth/jwt/login:")] + text[text.index("  /api/v1/resource:") :]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            rename("operationId: login", "operationId: log_in"),
            "kyc_openapi.api.auth has no login",
        ),
        (rename("tags: [auth]", "tags: [session]"), "kyc_openapi.api.auth has no login"),
        (without_the_login_path, "kyc_openapi.api.auth has no login"),
        (rename("      security: []\n", ""), 'Argument "client" to "sync_detailed" has incompatible type "Client"'),
        (rename("LoginForm", "LoginRequest"), '"kyc_openapi.models" has no attribute "LoginForm"'),
        (rename("LoginRefusal", "LoginError"), 'has no attribute "LoginRefusal"'),
        (rename("username", "email"), 'Unexpected keyword argument "username" for "LoginForm"'),
        (rename("access_token", "token"), '"BearerToken" has no attribute "access_token"'),
        (rename("        type:\n          type: string", "        kind:\n          type: string"), '"type_"'),
        (rename("format: password\n          minLength: 1", "minLength: 1"), "does not mark `password`"),
        (rename("format: password\n          description: The JWT", "description: The JWT"), "mark `access_token`"),
        (rename("x-secret: true", "x-secret: false"), "does not mark `input_` of the model in models/validation_error"),
    ],
)
def test_a_document_that_breaks_the_wrapper_is_refused(
    change: Callable[[str], str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """J4: if the document lacks something that the wrapper uses, the error names it and nothing is written."""
    spec = tmp_path / "changed.yaml"
    spec.write_text(change(OPENAPI.read_text("utf-8")), "utf-8")
    assert generate.main(["--spec", str(spec), "--out", str(tmp_path / "kyc_openapi")]) == 1
    error = capsys.readouterr().err
    assert "changed.yaml" in error
    assert named in error
    assert [path.name for path in tmp_path.iterdir()] == ["changed.yaml"]
