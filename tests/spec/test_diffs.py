"""make spec-diff, api-diff and check-version: what changed since a commit, and which version it needs."""

from __future__ import annotations

import inspect
import operator
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kyc_openapi.models
from tests.support.paths import ROOT
from tools import node
from tools.compare import api_diff, spec_diff, surface
from tools.compare.base import find_base
from tools.compare.changes import Change, Impact, wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    import griffe

    from tools.compare.base import Version
    from tools.node import Tool

GIT = shutil.which("git") or ""
pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(not GIT, reason="compares with the past, which git knows; git is not installed"),
]
SPEC = Path("openapi.yaml")
VERSION = Path("wrapper/kyc_client/_version.py")
FORM = Path("generated/kyc_openapi/models/login_form.py")
RESOURCE = Path("generated/kyc_openapi/api/resource/get_resource.py")
CONNECT = Path("wrapper/kyc_client/_client.py")
AUTH = Path("wrapper/kyc_client/_auth.py")
BREAKS, ADDS, OTHER = Impact
# Ignore the settings of this machine.
CLEAN = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Repository:
    """A copy of this project with its own history."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *arguments: str) -> None:
        """Run git in the copy."""
        command = [GIT, "-c", "init.defaultBranch=main", *arguments]
        subprocess.run(command, cwd=self.root, env=os.environ | CLEAN, check=True, capture_output=True)  # noqa: S603

    def commit(self, *, tag: str | None = None) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=State")
        if tag is not None:
            self.git("tag", tag)

    def edit(self, path: Path, was: str, is_now: str) -> None:
        """Replace a text that must be in the file."""
        text = (self.root / path).read_text("utf-8")
        assert was in text
        (self.root / path).write_text(text.replace(was, is_now), "utf-8")

    def set_version(self, version: str) -> None:
        """Change the version of the package."""
        (self.root / VERSION).write_text(f'__version__ = "{version}"\n', "utf-8")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """This project, released as v0.1.0."""
    original = Repository(tmp_path_factory.mktemp("original"))
    for folder in ("generated", "wrapper"):
        shutil.copytree(ROOT / folder, original.root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / SPEC, original.root / SPEC)
    original.set_version("0.1.0")
    original.git("init", "--quiet")
    original.commit(tag="v0.1.0")
    return original


@pytest.fixture
def repository(original: Repository, tmp_path: Path) -> Repository:
    """A copy of the released project that a test may change."""
    return Repository(shutil.copytree(original.root, tmp_path / "project"))


def rows(shown: str) -> list[tuple[str, ...]]:
    """The rows of a table: impact, where, what."""
    _, rule, body = re.split(r"^(  -+  -+  -+)$", shown, maxsplit=1, flags=re.MULTILINE)
    return [tuple(re.split(r"  +", line.strip())) for line in body.partition("\n\n")[0].strip().splitlines() if rule]


# Which version


@pytest.mark.parametrize(
    ("base", "impact", "expected"),
    [
        ((0, 1, 3), BREAKS, ("minor", (0, 2, 0))),
        ((0, 1, 3), ADDS, ("patch", (0, 1, 4))),
        ((0, 1, 3), OTHER, ("patch", (0, 1, 4))),
        ((1, 2, 3), BREAKS, ("major", (2, 0, 0))),
        ((1, 2, 3), ADDS, ("minor", (1, 3, 0))),
        ((1, 2, 3), OTHER, ("patch", (1, 2, 4))),
    ],
)
def test_version_that_a_change_asks_for(base: Version, impact: Impact, expected: tuple[str, Version]) -> None:
    """The version follows Semantic Versioning. Before 1.0, a minor version announces a break."""
    assert wanted(base, impact) == expected


def test_nothing_changed(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a change, there is no table and no new version."""
    assert api_diff.main([], root=repository.root) == 0
    shown = capsys.readouterr().out
    assert "compared with v0.1.0 (the last release)" in shown
    assert shown.endswith("Nothing changed: no new version is needed.\n")


# The Python surface


@pytest.fixture(scope="module")
def released() -> dict[str, griffe.Module]:
    """Both packages, unchanged."""
    return surface.load(ROOT / "generated", ROOT / "wrapper")


@pytest.mark.parametrize(
    ("path", "was", "is_now", "expected"),
    [
        (CONNECT, "timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT", "timeout: float | None = DEFAULT_TIMEOUT",
         Change(BREAKS, "kyc_client.connect(timeout)", "no longer takes httpx.Timeout")),
        (CONNECT, "raise_on_unexpected_status: bool = True", "raise_on_unexpected_status: bool = False",
         Change(BREAKS, "kyc_client.connect(raise_on_unexpected_status)",
          "parameter default was changed from True to False")),
        (CONNECT, "raise_on_unexpected_status: bool = True,", "tenant: str, raise_on_unexpected_status: bool = True,",
         Change(BREAKS, "kyc_client.connect(tenant)", "parameter was added as required")),
        (CONNECT, "raise_on_unexpected_status: bool = True,", "raise_on_unexpected_status: bool = True, x: str = '',",
         Change(ADDS, "kyc_client.connect(x)", "new parameter, which may be left out")),
        (AUTH, "def reset(", "def forget(",
         Change(BREAKS, "kyc_client.LoginAuth.reset", "public object was removed")),
        (AUTH, "def get_token(self) -> Token", "def get_token(self) -> Token | None",
         Change(BREAKS, "kyc_client.LoginAuth.get_token", "may now be None")),
        (Path("wrapper/kyc_client/__init__.py"), '    "UserNotVerifiedError",\n', "",
         Change(BREAKS, "kyc_client.UserNotVerifiedError", "no longer public")),
        (Path("wrapper/kyc_client/errors.py"), "LoginRefusedError(LoginError)", "LoginRefusedError(Exception)",
         Change(BREAKS, "kyc_client.LoginRefusedError.code", "public object was removed")),
        (FORM, '    grant_type: Literal["password"] | Unset = UNSET\n', '    grant_type: Literal["password"]\n',
         Change(BREAKS, "kyc_openapi.models.LoginForm.__init__(grant_type)", "parameter is now required")),
        (FORM, "    password: str =", "    otp: str\n    password: str =",
         Change(BREAKS, "kyc_openapi.models.LoginForm.__init__(otp)", "parameter was added as required")),
        (FORM, "    grant_type: Literal", "    otp: str | Unset = UNSET\n    grant_type: Literal",
         Change(BREAKS, "kyc_openapi.models.LoginForm.__init__(grant_type)", "positional parameter was moved")),
        (FORM, "    username: str\n", "    username: str | None\n",
         Change(BREAKS, "kyc_openapi.models.LoginForm.username", "may now be None")),
        (FORM, "    username: str\n", "    username: int\n",
         Change(BREAKS, "kyc_openapi.models.LoginForm.__init__(username)", "no longer takes str")),
        (RESOURCE, "Resource | Unauthorized", "Problem | Resource | Unauthorized",
         Change(BREAKS, "kyc_openapi.api.resource.get_resource.sync", "may now be Problem")),
        (RESOURCE, "Resource | Unauthorized", "Problem | Resource | Unauthorized",
         Change(BREAKS, "kyc_openapi.api.resource.get_resource.sync_detailed", "may now be Response[Problem]")),
        (Path("generated/kyc_openapi/models/login_error_code.py"), "    LOGIN_USER_NOT_VERIFIED =",
         '    LOGIN_LOCKED = "LOGIN_LOCKED"\n    LOGIN_USER_NOT_VERIFIED =',
         Change(ADDS, "kyc_openapi.models.LoginErrorCode.LOGIN_LOCKED", "new attribute")),
    ],
)  # fmt: skip
def test_change_of_the_surface(
    released: dict[str, griffe.Module], repository: Repository, path: Path, was: str, is_now: str, expected: Change
) -> None:
    """A change that affects services is reported in both packages, under the name that services import."""
    repository.edit(path, was, is_now)
    changed = surface.load(repository.root / "generated", repository.root / "wrapper")
    assert expected in surface.changes(released, changed)


@pytest.mark.parametrize(
    ("was", "is_now", "row", "status", "asks_for"),
    [
        ("def reset(", "def forget(", "breaks  kyc_client.LoginAuth.reset   public object was removed", 1,
         "needs a minor version, 0.1.0 -> 0.2.0, because it breaks something, and before 1.0"),
        ("    def reset(", "    def forget(self) -> None:\n        ...\n\n    def reset(",
         "adds    kyc_client.LoginAuth.forget  new function", 0,
         "needs a patch version, 0.1.0 -> 0.1.1, because it adds something and breaks nothing."),
    ],
    ids=["breaks", "adds"],
)  # fmt: skip
def test_report(
    repository: Repository,
    capsys: pytest.CaptureFixture[str],
    was: str,
    is_now: str,
    row: str,
    status: int,
    asks_for: str,
) -> None:
    """The output has a table and the needed version. The status says whether anything breaks."""
    repository.edit(AUTH, was, is_now)
    assert api_diff.main([], root=repository.root) == status
    shown = capsys.readouterr().out
    assert f"\n  {row}\n" in shown
    assert asks_for in shown
    assert "_version.py says 0.1.0: raise it, and tell the users in CHANGELOG.md." in shown


def test_private_names_may_change(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """A change of a private module, function or field, or of the version, is not reported."""
    repository.edit(RESOURCE, "def _parse_response(", "def _read_response(")
    repository.edit(CONNECT, "_outside_of_loops", "_without_a_loop")
    repository.edit(Path("wrapper/kyc_client/_login/wire.py"), "def read_http_date(", "def read_date(")
    loops = repository.root / "wrapper/kyc_client/_token/loops.py"
    loops.rename(loops.with_name("wait.py"))
    repository.set_version("0.1.1")
    assert api_diff.main([], root=repository.root) == 0
    assert "Nothing changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seen_by_type_checkers", "models_all"),
    [
        ("from .a_form import AForm", ""),
        ("from ._all import *", 'from .a_form import AForm\n__all__ = ("AForm",)\n'),
    ],
    ids=["one by one", "all at once"],
)
def test_lazy_models_are_read_as_they_are_typed(tmp_path: Path, seen_by_type_checkers: str, models_all: str) -> None:
    """Names that a package loads on demand, and shows to type checkers only, are public too."""
    files = {
        "kyc_client/__init__.py": "",
        "kyc_openapi/__init__.py": "",
        "kyc_openapi/models/__init__.py": (
            "from typing import TYPE_CHECKING\n"
            f"if TYPE_CHECKING:\n    {seen_by_type_checkers}\n"
            "else:\n    def __getattr__(name):\n        raise AttributeError(name)\n"
            '__all__ = ("AForm",)\n'
        ),
        "kyc_openapi/models/_all.py": models_all,
        "kyc_openapi/models/a_form.py": "class AForm:\n    name: str\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    package = surface.load(tmp_path)["kyc_openapi"]
    assert [path for path, _ in surface.surface(package, "kyc_openapi")] == [
        "kyc_openapi.models",
        "kyc_openapi.models.AForm",
        "kyc_openapi.models.AForm.name",
    ]


@pytest.mark.parametrize(
    "path", ["models.LoginForm", "models.ValidationError", "models.Resource", "AuthenticatedClient"]
)
def test_class_of_attrs_is_read_as_it_is_called(released: dict[str, griffe.Module], path: str) -> None:
    """Griffe does not know attrs. The parameters that we compute are the ones that Python sees, in the same order."""
    reckoned = dict(surface.surface(released["kyc_openapi"], "kyc_openapi"))[f"kyc_openapi.{path}.__init__"]
    real = inspect.signature(operator.attrgetter(path)(kyc_openapi).__init__)
    assert [(each.name, each.required) for each in reckoned.parameters] == [
        (each.name, each.default is each.empty) for each in real.parameters.values()
    ]


@pytest.mark.parametrize(
    ("annotation", "alternatives"),
    [
        ("A", {"A"}),
        ("A | B | None", {"A", "B", "None"}),
        ("'A | B'", {"A", "B"}),
        ("Response[A | B]", {"Response[A]", "Response[B]"}),
        ("dict[str, A | B]", {"dict[str, A | B]"}),
        ("Literal['a', 'b'] | Unset", {"Literal['a', 'b']", "Unset"}),
        (None, set()),
    ],
)
def test_type_is_taken_apart(annotation: str | None, alternatives: set[str]) -> None:
    """A type is split into alternatives, so that a new one is not confused with another order."""
    assert surface.union(annotation) == alternatives


def test_code_that_cannot_be_read(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken file is a misuse, and one line names it."""
    (repository.root / "generated/kyc_openapi/__init__.py").unlink()
    shutil.rmtree(repository.root / "generated/kyc_openapi")
    assert api_diff.main([], root=repository.root) == 2
    error = capsys.readouterr().err
    assert "the packages cannot be read" in error
    assert error.count("\n") == 1


# The HTTP contract


def test_change_of_the_contract(redocly: Tool, repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """Each change has its impact on a client and its operation. The worst comes first."""
    for was, is_now in [
        ("operationId: get_resource", "operationId: read_resource"),
        ("required: [username, password]", "required: [username, password, grant_type]"),
        ("required: [access_token, token_type]", "required: [access_token]"),
        ("enum: [LOGIN_BAD_CREDENTIALS,", "enum: [LOGIN_LOCKED, LOGIN_BAD_CREDENTIALS,"),
        ('        "401":\n', '        "404":\n          description: Not there.\n        "401":\n'),
        ("summary: Log in\n", "summary: Exchange credentials\n"),
    ]:
        repository.edit(SPEC, was, is_now)
    assert spec_diff.main([], root=repository.root, redocly=redocly) == 1
    shown = capsys.readouterr().out
    assert [row[:2] for row in rows(shown)] == [
        ("breaks", "GET /api/v1/resource operationId"),
        ("breaks", "POST /auth/jwt/login requestBody required"),
        ("breaks", "POST /auth/jwt/login responses 200 required"),
        ("adds", "GET /api/v1/resource responses 404"),
        ("adds", "POST /auth/jwt/login responses 400 detail anyOf 0 enum"),
        ("other", "POST /auth/jwt/login summary"),
    ]
    assert "needs a minor version, 0.1.0 -> 0.2.0, because it breaks something, and before 1.0" in shown


def test_value_of_a_closed_enum(redocly: Tool, repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """If an enum does not also accept any string, a new value breaks its readers."""
    repository.edit(SPEC, "        - type: string\n\n", "        - type: integer\n\n")
    repository.commit()
    repository.edit(SPEC, "enum: [LOGIN_BAD_CREDENTIALS,", "enum: [LOGIN_LOCKED, LOGIN_BAD_CREDENTIALS,")
    assert spec_diff.main(["--base=HEAD"], root=repository.root, redocly=redocly) == 1
    assert [row[0] for row in rows(capsys.readouterr().out)] == ["breaks"]


def test_rules_that_are_off(
    redocly: Tool,
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without rules, redocly reports that nothing breaks. That is not an answer, and the exit status shows it."""
    rules = tmp_path / "redocly.yaml"
    rules.write_text("extends: [recommended-strict]\n", "utf-8")
    monkeypatch.setattr(spec_diff, "RULES", rules)
    repository.edit(SPEC, "operationId: get_resource", "operationId: read_resource")
    assert spec_diff.main([], root=repository.root, redocly=redocly) == 2
    assert "must extend diff-recommended" in capsys.readouterr().err


def test_document_that_cannot_be_read(
    redocly: Tool, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """A document that is not YAML, or does not exist, gives a message of one line."""
    (repository.root / SPEC).write_text("{", "utf-8")
    assert spec_diff.main([], root=repository.root, redocly=redocly) == 2
    assert spec_diff.main(["--spec=other.yaml"], root=repository.root, redocly=redocly) == 2
    broken, missing = capsys.readouterr().err.splitlines()
    assert "redocly cannot compare openapi.yaml" in broken
    assert "there is no file other.yaml" in missing


@pytest.mark.parametrize(("option", "status"), [("--base=HEAD", 3), ("--since-release", 0)])
def test_contract_without_node(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    status: int,
) -> None:
    """The command reports that there is no answer. `make check` says so and continues."""

    def nowhere() -> tuple[Path, list[str]]:
        raise node.NoToolError("there is no Node here")

    monkeypatch.setattr(node, "find_node", nowhere)
    assert spec_diff.main([option], root=repository.root) == status
    assert "NOT CHECKED: there is no Node here" in capsys.readouterr().err


# Since when


def remote_main(repository: Repository) -> None:
    """A repository like a clone of a project that was never released."""
    repository.git("tag", "--delete", "v0.1.0")
    repository.git("update-ref", "refs/remotes/origin/main", "HEAD")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: None, "v0.1.0 (the last release)"),
        (lambda repository: repository.commit(tag="v0.1.1"), "v0.1.1 (the last release)"),
        (lambda repository: repository.commit(tag="0.1.1"), "0.1.1 (the last release)"),
        (lambda repository: repository.commit(tag="very-nightly"), "v0.1.0 (the last release)"),
        (lambda repository: repository.git("tag", "--delete", "v0.1.0"), "HEAD (no release is tagged here)"),
        (remote_main, "origin/main (no release is tagged here)"),
    ],
    ids=["tag", "later tag", "tag without v", "tag of no version", "nothing", "remote"],
)
def test_default_base(repository: Repository, change: Callable[[Repository], None], expected: str) -> None:
    """The base is the last release, else origin/main, else the last commit. The output names it."""
    change(repository)
    assert str(find_base(repository.root, "")) == expected


@pytest.mark.parametrize("ref", ["nowhere", "--output=x", "v9.9.9", "HEAD:openapi.yaml"])
def test_unknown_base(repository: Repository, capsys: pytest.CaptureFixture[str], ref: str) -> None:
    """An unknown commit is a misuse, and one line says so."""
    assert api_diff.main([f"--base={ref}"], root=repository.root) == 2
    error = capsys.readouterr().err
    assert f"{ref!r} is not a commit, tag or branch here" in error
    assert error.count("\n") == 1


def test_base_before_the_packages(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """A commit without the folder cannot be compared. It is not treated as a commit with an empty folder."""
    repository.git("checkout", "--quiet", "--orphan", "old")
    repository.git("rm", "-r", "--quiet", "--cached", "generated")
    repository.git("commit", "--quiet", "--message=Before")
    assert api_diff.main(["--base=old"], root=repository.root) == 2
    assert "generated is not there in old" in capsys.readouterr().err


def test_no_repository(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """An unpacked archive has no history. The command says so, and `make check` continues."""
    shutil.rmtree(repository.root / ".git")
    assert api_diff.main([], root=repository.root) == 2
    assert "is not a git repository" in capsys.readouterr().err
    assert api_diff.main(["--since-release"], root=repository.root) == 0
    assert "no release is tagged here" in capsys.readouterr().out


def test_no_git(repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a machine without git, it is the same."""
    monkeypatch.setenv("PATH", str(repository.root))
    assert api_diff.main([], root=repository.root) == 2
    assert "git is not installed" in capsys.readouterr().err


# Since the last release, as `make check` asks


@pytest.mark.parametrize(
    ("version", "status"), [("0.1.0", 1), ("0.1.1", 1), ("0.2.0", 0), ("0.2.0rc1", 0), ("1.0.0", 0)]
)
def test_breaking_change_has_to_be_announced(
    repository: Repository, capsys: pytest.CaptureFixture[str], version: str, status: int
) -> None:
    """A break passes if the version announces it."""
    repository.edit(AUTH, "def reset(", "def forget(")
    repository.set_version(version)
    assert api_diff.main(["--since-release"], root=repository.root) == status
    shown = capsys.readouterr().out
    assert ("raise it, and tell the users in CHANGELOG.md" in shown) == bool(status)


def test_announced_or_not_it_breaks(repository: Repository) -> None:
    """With an explicit base, a break is an error whether or not the version announces it."""
    repository.edit(AUTH, "def reset(", "def forget(")
    repository.set_version("0.2.0")
    assert api_diff.main([], root=repository.root) == 1


def test_addition_need_not_be_announced_at_once(repository: Repository) -> None:
    """An addition passes, because the next release has a new version anyway."""
    repository.edit(AUTH, "    def reset(", "    def forget(self) -> None:\n        ...\n\n    def reset(")
    assert api_diff.main(["--since-release"], root=repository.root) == 0


def test_clone_without_a_release(repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a known release, nothing can break. In a shallow clone, which may lack the tag, the output says so."""
    repository.edit(AUTH, "def reset(", "def forget(")
    repository.commit()
    repository.git("clone", "--quiet", "--depth=1", "--no-tags", f"file://{repository.root}", str(tmp_path / "shallow"))
    for main in (api_diff.main, spec_diff.main):
        assert main(["--since-release"], root=tmp_path / "shallow") == 0
        shown = capsys.readouterr().out
        assert "no release is tagged here, so there is nothing to break (this clone is shallow" in shown
    repository.git("tag", "--delete", "v0.1.0")
    assert api_diff.main(["--since-release"], root=repository.root) == 0
    assert capsys.readouterr().out.endswith("no release is tagged here, so there is nothing to break\n")


def test_version_that_cannot_be_read(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a version, the next one is unknown."""
    repository.edit(AUTH, "def reset(", "def forget(")
    (repository.root / VERSION).write_text("__version__ = compute()\n", "utf-8")
    assert api_diff.main([], root=repository.root) == 2
    assert "wrapper/kyc_client/_version.py has no line such as" in capsys.readouterr().err
