"""The generated code: the changes that `make generate` makes in the generator's output work."""

import asyncio
import copy
import importlib
import inspect
import pickle
import pkgutil
import sys
from http import HTTPStatus
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
from tests.support.paths import ROOT
from tools import generate

PACKAGE = ROOT / "generated" / "kyc_openapi"
SECRET = "s3cret-Pa55"

# Secrets in every place that a document allows, and every way to make an operation public or protected.
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


@pytest.fixture(scope="session")
def grown(tmp_path_factory):
    """The package generated from `GROWN`, imported as `grown`."""
    folder = tmp_path_factory.mktemp("grown")
    (folder / "grown.yaml").write_text(GROWN, "utf-8")
    generate.build(folder / "grown.yaml", folder / "grown")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("grown")
    sys.path.remove(str(folder))


def transport(status, content=b"", seen=None):
    """Answer every request in the same way, and record the requests."""

    def answer(request):
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, content=content)

    return httpx.MockTransport(answer)


class Stamp(httpx.Auth):
    """The caller's own auth: it records the header that it finds, and sets its own."""

    def __init__(self):
        self.found = []

    def auth_flow(self, request):
        """Record the header that is there, and set another one."""
        self.found.append(request.headers.get("Authorization"))
        request.headers["Authorization"] = "Stamp"
        yield request


# The generated files.


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_file_says_that_it_is_generated(path):
    """The first line names the document and the command, and says what to do instead of editing."""
    first = path.read_text("utf-8").partition("\n")[0]
    assert first.startswith("# Generated from openapi.yaml by `make generate`. Do not edit: ")


def test_the_package_is_typed():
    """The package has `py.typed`, so that type checkers read its annotations."""
    assert (PACKAGE / "py.typed").read_bytes() == b""


def undescribed(module):
    """List the public classes, functions, methods and properties of a module without their own docstring."""
    members = {name: it for name, it in vars(module).items() if getattr(it, "__module__", "") == module.__name__}
    for name, member in list(members.items()):
        if inspect.isclass(member):
            members |= {f"{name}.{key}": getattr(it, "__func__", it) for key, it in vars(member).items()}
    told = {
        name: inspect.cleandoc(vars(it).get("__doc__", "") or "" if inspect.isclass(it) else it.__doc__ or "")
        for name, it in members.items()
        if not any(part.startswith("_") for part in name.split("."))
        and (inspect.isroutine(it) or inspect.isclass(it) or isinstance(it, property))
    }
    # attrs and enum add methods without docstrings.
    return [name for name, text in told.items() if not text or text.startswith("Method generated by attrs")]


@pytest.mark.parametrize("package", ["kyc_openapi", "grown"])
def test_every_public_name_has_a_docstring(package, grown):
    """Every public name has a docstring, for this API and for a larger one, because editors show it."""
    root = grown if package == "grown" else kyc_openapi
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(root.__path__, f"{package}.")]
    assert {module.__name__ for module in modules} >= {f"{package}.{name}" for name in ("client", "types", "errors")}
    assert {module.__name__: lacks for module in modules if (lacks := undescribed(module))} == {}


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
    """H1: `repr` shows neither a secret nor an undocumented field beside it. The code can still read both."""
    instance = model.from_dict(data)
    for text in (repr(instance), str(instance), f"{instance}", repr([instance])):
        assert SECRET not in text
        assert shown in text
    assert instance.to_dict() == data


def test_defaults_survive_masking():
    """A hidden optional field can still be left out."""
    assert ValidationError(loc=[], msg="m", type_="t").to_dict() == {"loc": [], "msg": "m", "type": "t"}


def test_a_response_hides_the_raw_answer():
    """H1: `repr` of the detailed answer shows the status and the masked model, not the body or the headers."""
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
    """H1, H10: `repr` of a client shows its base URL, and nothing that could contain a credential."""
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
    """In references, lists, unions, maps, `allOf` and unnamed models, secrets are hidden and other fields shown."""
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
    """`dir()`, `__all__`, an import and an attribute find every model. A name that does not exist is an error."""
    module = importlib.import_module("kyc_openapi.models")
    assert set(module.__all__) <= set(dir(module))
    assert module.LoginForm is LoginForm
    assert importlib.import_module("kyc_openapi.models.login_form").LoginForm is LoginForm
    with pytest.raises(AttributeError, match=r"module 'kyc_openapi\.models' has no attribute 'LoginFor'"):
        module.LoginFor  # noqa: B018  # The test is about the attribute.


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
    """D12: a value that would lead to another path is refused. The error names the parameter."""
    with pytest.raises(ValueError, match=rf"applicant_id='{value}' cannot be sent"):
        path_segment("applicant_id", value)


@pytest.mark.parametrize("value", ["a/b", "../x", "a?x", "a#b", "%2e%2e", "...", "ü", 7, "-"])
def test_any_other_path_parameter_is_one_segment(value):
    """D12: every other value is quoted, so that decoding the segment gives the same value."""
    segment = path_segment("applicant_id", value)
    assert not set(segment) & set("/?#")
    assert segment.isascii()
    assert unquote(segment) == str(value)


def test_public_operations_are_sent_without_auth(grown):
    """An operation without security, in either spelling, has no auth. Default and optional security have it."""
    kwargs = {
        name: importlib.import_module(f"grown.api.x.{name}")._get_kwargs()
        for name in ("health", "nothing", "either", "default")
    }
    assert {name for name, given in kwargs.items() if "auth" in given and given["auth"] is None} == {
        "health",
        "nothing",
    }


def test_login_is_sent_without_auth_and_the_rest_with_it():
    """Only the protected call reaches the auth, because the login must not wait for its own token."""
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
    """Without such an auth, the client sets the header as before."""
    seen = []
    args = {"transport": transport(200, b"{}", seen)}
    fetch(kyc_openapi.AuthenticatedClient("https://api.test", SECRET, httpx_args=args), colour)
    assert [request.headers["Authorization"] for request in seen] == [f"Bearer {SECRET}"]


# How answers are read.


@COLOURS
@pytest.mark.parametrize("status", [520, 599, 499])
def test_a_status_without_a_name(status, colour):
    """A status that only a proxy knows is an answer like any other."""
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
    """The message and `repr` show only the status. The body is an attribute."""
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
    """A documented code becomes a member of the enum. Any other code stays a string."""
    detail = LoginRefusal.from_dict({"detail": sent}).detail
    assert (detail, type(detail)) == (read, type(read))


def test_a_resource_is_any_object():
    """The result of a protected call has its fields under their own names."""
    assert Resource.from_dict({"id": 7})["id"] == 7
