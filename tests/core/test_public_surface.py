"""The public surface: exactly the names of the design, documented, and cheap to import."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest

import kyc_client
from kyc_client import Client, Credentials, LoginAuth, LoginStatus, Token, connect, errors, events, testing
from kyc_openapi import AuthenticatedClient

if TYPE_CHECKING:
    from types import ModuleType

# Section 3 of the design.
ERRORS = {
    "KYCClientError": Exception,
    "ConfigurationError": errors.KYCClientError,
    "LoginError": errors.KYCClientError,
    "BadCredentialsError": errors.LoginError,
    "UserNotVerifiedError": errors.LoginError,
    "LoginValidationError": errors.LoginError,
    "LoginRefusedError": errors.LoginError,
    "LoginUnavailableError": errors.LoginError,
    "LoginResponseError": errors.LoginError,
}
TESTING = {"Call", "FakeKYC", "Handler", "Route"}
NAMES = {"Client", "Credentials", "LoginAuth", "LoginStatus", "Token", "connect", "errors", *ERRORS}

# What comes with an extra, what only async callers need, and what nobody needs at run time.
NOT_IMPORTED = {
    "aiohttp",
    "aiosqlite",
    "anyio",
    "argparse",
    "asyncio",
    "fastapi",
    "fastapi_users",
    "kyc_client.cli",
    "kyc_client.cli._commands",
    "kyc_client.cli._doctor",
    "kyc_client.cli._exit",
    "kyc_client.cli._options",
    "kyc_client.cli._terminal",
    "kyc_client.sandbox",
    "kyc_client.sandbox._server",
    "kyc_client.testing",
    "kyc_client.testing._clock",
    "kyc_client.testing._fake",
    "kyc_client.testing._login",
    "kyc_client.testing._routes",
    "kyc_client.testing._server",
    "kyc_client.testing._sources",
    "kyc_client.testing._transport",
    "pydantic",
    "pytest",
    "redis",
    "sqlalchemy",
    "starlette",
    "trio",
    "uvicorn",
}

POSITIONAL, KEYWORD, REST = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
)
TIMEOUT = httpx.Timeout(30.0, connect=10.0)


def modules_after(script: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a script."""
    script += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - this very Python, with a script from this file
        [sys.executable, "-I", "-W", "error", "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    return set(json.loads(done.stdout))


def literal_all(module: ModuleType) -> list[str]:
    """`__all__` as it is written in the source: a tool that does not run the code must be able to read it."""
    assert module.__file__ is not None
    (value,) = (
        node.value
        for node in ast.parse(Path(module.__file__).read_text()).body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    )
    names: list[str] = ast.literal_eval(value)
    return names


# Names


@pytest.mark.parametrize(
    ("module", "names"),
    [(kyc_client, NAMES), (errors, set(ERRORS)), (testing, TESTING)],
    ids=["package", "errors", "testing"],
)
def test_all_is_the_designs(module: ModuleType, names: set[str]) -> None:
    """`__all__` is a sorted literal without a name twice, and holds exactly the names of the design."""
    written = literal_all(module)
    assert written == module.__all__ == sorted(written)
    assert len(written) == len(set(written))
    assert set(written) == names
    assert all(hasattr(module, name) for name in written)


def test_all_else_in_the_package_is_private_or_a_module() -> None:
    """What `dir()` shows of the package is the public surface, submodules, and names with an underscore."""
    others = {name: value for name, value in vars(kyc_client).items() if name not in NAMES and name[0] != "_"}
    modules = {name for name, value in others.items() if sys.modules.get(f"kyc_client.{name}") is value}
    assert others.keys() == modules


def test_modules_are_private_or_known() -> None:
    """A module without an underscore is public: the errors, the events, the fake, the sandbox, the command line."""
    folder = Path(kyc_client.__file__).parent
    paths = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py"))
    names = (".".join(path.parts).removesuffix(".__init__") for path in paths)
    assert {name for name in names if not any(part[0] == "_" for part in name.split("."))} == {
        "cli",
        "errors",
        "events",
        "sandbox",
        "testing",
    }


@pytest.mark.parametrize("name", ERRORS)
def test_error_is_in_its_place_in_the_tree(name: str) -> None:
    """The tree of the design. Each error is the same class in both places, and says where it can be imported from."""
    error = getattr(kyc_client, name)
    assert error is getattr(errors, name)
    assert error.__bases__ == (ERRORS[name],)
    assert (error.__module__, error.__qualname__) == ("kyc_client.errors", name)


# Documentation


def public_members() -> list[Any]:
    """Every public name, and every public method and property of the public classes."""
    members = []
    values = {name: getattr(kyc_client, name) for name in NAMES}
    values |= {f"testing.{name}": getattr(testing, name) for name in ("Call", "FakeKYC", "Route")}
    for name, value in sorted(values.items()):
        members.append(pytest.param(value, id=name))
        if inspect.isclass(value):
            members += [
                pytest.param(member, id=f"{name}.{attribute}")
                for attribute, member in vars(value).items()
                if attribute[0] != "_" and (callable(member) or isinstance(member, property | classmethod))
            ]
    return members


@pytest.mark.parametrize("member", public_members())
def test_public_member_is_documented(member: Any) -> None:
    """A docstring of its own, whose first line is a sentence."""
    # Not `inspect.getdoc`, which would find the one of the base class.
    docstring = inspect.cleandoc(member.__doc__ or "")
    assert len(docstring.split()) >= 2
    assert docstring.splitlines()[0][-1] in ".:…"


@pytest.mark.parametrize(
    "value",
    [getattr(kyc_client, name) for name in sorted(NAMES - ERRORS.keys() - {"Client", "errors"})]
    + [testing.Call, testing.FakeKYC, testing.FakeKYC.on, testing.FakeKYC.fail_login],
    ids=lambda value: value.__name__,
)
def test_every_argument_is_explained(value: Any) -> None:
    """Each parameter is named in the docstring of its function or class. No caller makes errors, or a `Client`."""
    docstring = inspect.getdoc(value) or ""
    parameters = inspect.signature(value).parameters.keys() - {"self"}
    assert parameters
    assert [parameter for parameter in parameters if f"{parameter}: " not in docstring] == []


# Signatures


def shape(function: Any) -> list[tuple[str, Any, Any]]:
    """Name, kind and default of each parameter."""
    return [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("module", [kyc_client, errors, events, testing], ids=lambda module: module.__name__)
def test_annotations_can_be_evaluated(module: ModuleType) -> None:
    """As frameworks do that inject or serialize what they are given."""
    values = [getattr(module, name) for name in module.__all__]
    methods = [
        method
        for value in values
        if inspect.isclass(value)
        for name, method in vars(value).items()
        # The generated initializer of an attrs class is for `connect()` only.
        if inspect.isfunction(method) and (name[0] != "_" or (name == "__init__" and not attrs.has(value)))
    ]
    looked_at = [value for value in (*values, *methods) if inspect.isclass(value) or inspect.isfunction(value)]
    hints = [typing.get_type_hints(value) for value in looked_at]
    assert any(hints)


def test_signature_of_connect() -> None:
    """One positional argument, the rest by name. The defaults are the safe ones. Other arguments are httpx's."""
    assert shape(connect) == [
        ("base_url", POSITIONAL, None),
        ("credentials", KEYWORD, None),
        ("timeout", KEYWORD, TIMEOUT),
        ("allow_insecure_http", KEYWORD, False),
        ("raise_on_unexpected_status", KEYWORD, True),
        ("on_event", KEYWORD, None),
        ("login_headers", KEYWORD, None),
        ("login_transport", KEYWORD, None),
        ("httpx_args", REST, inspect.Parameter.empty),
    ]
    assert inspect.signature(connect, eval_str=True).return_annotation is Client


def test_signature_of_login_auth() -> None:
    """As connect(), without what is for calls only."""
    assert issubclass(LoginAuth, httpx.Auth)
    assert shape(LoginAuth) == [
        ("base_url", POSITIONAL, None),
        ("credentials", KEYWORD, None),
        ("timeout", KEYWORD, TIMEOUT),
        ("allow_insecure_http", KEYWORD, False),
        ("on_event", KEYWORD, None),
        ("headers", KEYWORD, None),
        ("connection_args", REST, inspect.Parameter.empty),
    ]


def test_methods_of_login_auth() -> None:
    """Four of its own, without arguments. Every other public one is httpx's."""
    own = {name for name in vars(LoginAuth) if name[0] != "_"} - set(dir(httpx.Auth))
    assert own == {"aget_token", "get_token", "reset", "status"}
    for name in own:
        assert shape(getattr(LoginAuth, name)) == [("self", POSITIONAL, inspect.Parameter.empty)]
    assert inspect.iscoroutinefunction(LoginAuth.aget_token)
    assert not inspect.iscoroutinefunction(LoginAuth.get_token)


def test_signatures_of_the_values() -> None:
    """What a service constructs, and reads."""
    empty = inspect.Parameter.empty
    assert shape(Credentials) == [("username", POSITIONAL, empty), ("password", POSITIONAL, empty)]
    assert [(name, kind) for name, kind, _ in shape(Credentials.from_env)] == [("environ", POSITIONAL)]
    assert {name for name in dir(Credentials) if name[0] != "_"} == {"from_env", "password", "username"}
    assert {name for name in dir(Token) if name[0] != "_"} == {"expires_at", "value"}
    assert LoginStatus._fields == (
        "phase",
        "expires_at",
        "last_failure",
        "next_attempt_in",
        "logins",
        "failed_logins",
    )


def test_client() -> None:
    """The generated client and its login. The generated code takes it wherever it takes its own."""
    assert issubclass(Client, AuthenticatedClient)
    own = {name for name in dir(Client) if name[0] != "_"} - set(dir(AuthenticatedClient))
    assert own == {"login"}
    assert typing.get_type_hints(Client)["login"] is LoginAuth


def test_attributes_of_login_errors() -> None:
    """Each login error has the four attributes. The one of a 422 has the fields' errors too."""
    common = {"status_code", "code", "retry_after", "cached"}
    for name in ERRORS:
        error = getattr(errors, name)
        if issubclass(error, errors.LoginError):
            extra = {"errors"} if name == "LoginValidationError" else set()
            assert vars(error("A message.")).keys() == common | extra


# Imports


def test_import_brings_nothing_that_a_service_does_not_need() -> None:
    """Neither an extra nor an event loop; only threads, which a login needs."""
    loaded = modules_after("import kyc_client, kyc_openapi.api.resource.get_resource")
    assert "kyc_client" in loaded
    assert loaded & NOT_IMPORTED == set()


def test_import_of_the_names_that_must_not_be_imported_is_noticed() -> None:
    """The test above can fail: the names are those under which the modules are known."""
    loaded = modules_after(
        "import aiosqlite, argparse, asyncio, pytest, trio\n"
        "import kyc_client.cli, kyc_client.cli._doctor, kyc_client.sandbox, kyc_client.testing"
    )
    assert NOT_IMPORTED - {"aiohttp", "redis"} <= loaded


def test_import_of_the_fake_needs_nothing_else() -> None:
    """`kyc_client.testing` imports neither pytest nor the sandbox, and starts no thread."""
    loaded = modules_after("""
import threading
import kyc_client.testing
assert threading.enumerate() == [threading.main_thread()]
""")
    assert (
        loaded & {"pytest", "_pytest", "pytest_kyc_client", "kyc_client.sandbox", "fastapi", "trio", "anyio"} == set()
    )


def test_import_starts_nothing() -> None:
    """No thread, no event loop policy, no environment needed; and importing twice is importing once."""
    script = """
import os, threading
os.environ.clear()
import kyc_client, importlib
assert threading.enumerate() == [threading.main_thread()]
assert importlib.import_module("kyc_client") is kyc_client
"""
    assert "kyc_client" in modules_after(script)


def test_generated_code_imports_nothing_of_ours() -> None:
    """All of `kyc_openapi` can be imported without a trace of `kyc_client`."""
    loaded = modules_after("""
import importlib, pkgutil
import kyc_openapi

for module in pkgutil.walk_packages(kyc_openapi.__path__, "kyc_openapi."):
    importlib.import_module(module.name)
""")
    assert "kyc_openapi.api.auth.login" in loaded
    assert {name for name in loaded if name.split(".")[0] == "kyc_client"} == set()


@pytest.mark.parametrize("package", ["kyc_client", "kyc_openapi"])
def test_package_is_typed(package: str) -> None:
    """`py.typed` stands next to the code, or type checkers would look away."""
    (folder,) = sys.modules[package].__path__
    assert (Path(folder) / "py.typed").is_file()
