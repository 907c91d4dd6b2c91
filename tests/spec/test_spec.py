"""openapi.yaml says the same as the API's guide, with the names that services use."""

import openapi_spec_validator
import pytest
from openapi_schema_validator import OAS31Validator
from ruamel.yaml import YAML

from tests.support.paths import ROOT

pytestmark = pytest.mark.tools

SPEC = YAML(typ="safe").load(ROOT / "openapi.yaml")
LOGIN = SPEC["paths"]["/auth/jwt/login"]["post"]
RESOURCE = SPEC["paths"]["/api/v1/resource"]["get"]
SCHEMAS = SPEC["components"]["schemas"]
CODES = ["LOGIN_BAD_CREDENTIALS", "LOGIN_USER_NOT_VERIFIED"]


def resolve(node):
    """Follow a reference within the document."""
    while "$ref" in node:
        reference, node = node["$ref"], SPEC
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    return node


def mistakes(name, value):
    """List the errors of a value by the schema of this name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": SPEC["components"]}
    return [error.message for error in OAS31Validator(schema).iter_errors(value)]


def examples():
    """List each example of a body with its schema."""
    found = [("LoginForm", LOGIN["requestBody"]["content"]["application/x-www-form-urlencoded"]["example"])]
    for operation in (LOGIN, RESOURCE):
        for response in operation["responses"].values():
            media = resolve(response)["content"]["application/json"]
            name = media["schema"]["$ref"].rpartition("/")[2]
            values = [media["example"]] if "example" in media else []
            values += [example["value"] for example in media.get("examples", {}).values()]
            found += [(name, value) for value in values]
    return found


def test_valid():
    """The document is OpenAPI 3.1 by the standard's own schema."""
    assert SPEC["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(SPEC)


def test_operations_have_the_names_that_services_import():
    """The guide's two operations have the names and tags of `from kyc_openapi.api.<tag> import <operation>`."""
    names = {
        (method, path): (operation["tags"], operation["operationId"])
        for path, item in SPEC["paths"].items()
        for method, operation in item.items()
    }
    assert names[("post", "/auth/jwt/login")] == (["auth"], "login")
    assert names[("get", "/api/v1/resource")] == (["resource"], "get_resource")
    tags = {tag["name"] for tag in SPEC["tags"]}
    assert tags >= {"auth", "resource"}
    assert all(set(used) <= tags for used, _ in names.values()), "every tag of an operation is described under `tags`"


def test_schemas_have_the_names_that_services_import():
    """Each model of the guide that a service may name has its own schema."""
    assert set(SCHEMAS) >= {
        "BearerToken",
        "HTTPValidationError",
        "LoginErrorCode",
        "LoginForm",
        "LoginRefusal",
        "Resource",
        "Unauthorized",
        "ValidationError",
    }


def test_everything_but_the_login_needs_a_token():
    """The bearer scheme is the document's default, so that a new operation has it too."""
    assert SPEC["security"] == [{"bearer": []}]
    assert LOGIN["security"] == []
    assert "security" not in RESOURCE
    scheme = SPEC["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")


def test_the_host_is_a_variable():
    """The API is served by https, at the domain that the integrator received."""
    [server] = SPEC["servers"]
    assert server["url"] == "https://{kyc_domain}"
    assert set(server["variables"]) == {"kyc_domain"}


def test_the_login_takes_a_form():
    """Username and password are required, the grant type may be left out, and no other type of body is offered."""
    assert LOGIN["requestBody"]["required"]
    [(content_type, media)] = LOGIN["requestBody"]["content"].items()
    assert content_type == "application/x-www-form-urlencoded"
    form = resolve(media["schema"])
    assert form["required"] == ["username", "password"]
    assert set(form["properties"]) == {"username", "password", "grant_type"}
    assert form["properties"]["grant_type"]["const"] == "password"


def test_documented_answers():
    """The login answers 200, 400 and 422; a protected call 200 and 401."""
    assert list(LOGIN["responses"]) == ["200", "400", "422"]
    assert list(RESOURCE["responses"]) == ["200", "401"]


def test_examples_are_there():
    """The form, every answer of the login, and the 401 come with examples, the 400 with one per code."""
    assert [name for name, _ in examples()] == [
        "LoginForm",
        "BearerToken",
        "LoginRefusal",
        "LoginRefusal",
        "HTTPValidationError",
        "Unauthorized",
    ]
    refusals = LOGIN["responses"]["400"]["content"]["application/json"]["examples"]
    assert {name: example["value"] for name, example in refusals.items()} == {code: {"detail": code} for code in CODES}


@pytest.mark.parametrize(("name", "value"), examples())
def test_examples_are_right(name, value):
    """What an example shows is valid by the schema beside it."""
    assert mistakes(name, value) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LoginForm", {"username": "user@example.com"}),
        ("LoginForm", {"username": "user@example.com", "password": "x", "grant_type": "client_credentials"}),
        ("BearerToken", {"token_type": "bearer"}),
        ("LoginRefusal", {}),
        ("LoginRefusal", {"detail": {"code": CODES[0]}}),
        ("HTTPValidationError", {"detail": "Field required"}),
        ("ValidationError", {"loc": "body", "msg": "Field required", "type": "missing"}),
        ("Resource", ["not", "an", "object"]),
    ],
)
def test_schemas_refuse(name, value):
    """The schemas refuse values of another shape."""
    assert mistakes(name, value)


@pytest.mark.parametrize("detail", [*CODES, "LOGIN_TOO_OLD", "Field exceeded maximum size of 1024KB."])
def test_codes_are_open(detail):
    """An undocumented code is a valid answer, because the server may add codes."""
    assert mistakes("LoginRefusal", {"detail": detail}) == []
    known, others = SCHEMAS["LoginErrorCode"]["anyOf"]
    assert known["enum"] == CODES
    assert others == {"type": "string"}


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "missing", "loc": ["body", "password"], "msg": "Field required", "input": None},
        {"type": "string_type", "loc": ["body", 0], "msg": "Not a string", "input": {"password": "x"}},
        {"type": "pattern", "loc": ["body"], "msg": "No match", "input": "x", "ctx": {"pattern": "^password$"}},
    ],
)
def test_validation_errors_as_the_server_sends_them(entry):
    """The server echoes what was submitted, of any type, and may add context."""
    assert mistakes("HTTPValidationError", {"detail": [entry]}) == []
    assert {"input", "ctx"} <= set(SCHEMAS["ValidationError"]["properties"])


def test_secrets_are_marked():
    """The password, the token and fields that may echo them are marked, so that no repr shows them. Others are not."""
    marked = {
        (name, field)
        for name, schema in SCHEMAS.items()
        for field, value in schema.get("properties", {}).items()
        if value.get("format") == "password" or value.get("x-secret") is True
    }
    of_the_guide = {
        "LoginForm",
        "BearerToken",
        "LoginRefusal",
        "HTTPValidationError",
        "ValidationError",
        "Unauthorized",
    }
    assert {(name, field) for name, field in marked if name in of_the_guide} == {
        ("LoginForm", "password"),
        ("BearerToken", "access_token"),
        ("ValidationError", "input"),
        ("ValidationError", "ctx"),
    }


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (SPEC["info"]["description"], ["no refresh token", "log in again", "out of band"]),
        (SPEC["info"]["description"], ["POST /auth/jwt/login", "Authorization: Bearer <your_access_token>"]),
        (LOGIN["description"], ["no refresh endpoint", "as a form"]),
        (RESOURCE["description"], ["Authorization: Bearer <your_access_token>", "401"]),
        (SCHEMAS["LoginForm"]["description"], ["out of band"]),
        (SCHEMAS["LoginErrorCode"]["description"], [*CODES, "inactive", "not verified", "More codes"]),
        (SCHEMAS["BearerToken"]["properties"]["token_type"]["description"], ["Always `bearer`"]),
        (LOGIN["responses"]["422"]["description"], ["required field", "missing"]),
        (SPEC["components"]["responses"]["Unauthorized"]["description"], ["expired", "Log in again"]),
    ],
)
def test_descriptions_tell_what_the_guide_tells(text, facts):
    """The document contains every fact of the guide."""
    assert [fact for fact in facts if fact not in text] == []


def test_every_part_is_described():
    """Every operation, answer, schema, and field of the form and token has a description."""
    undescribed = [name for name, schema in SCHEMAS.items() if not schema.get("description")]
    assert undescribed == [], "give these schemas a description"
    parts = [LOGIN, RESOURCE]
    parts += [resolve(answer) for operation in (LOGIN, RESOURCE) for answer in operation["responses"].values()]
    parts += [field for name in ("LoginForm", "BearerToken") for field in SCHEMAS[name]["properties"].values()]
    assert [part for part in parts if not part.get("description")] == []


def test_no_lint_rule_is_off_without_a_reason():
    """In redocly.yaml, each rule has a comment above it, and nothing is reported over the network."""
    text = (ROOT / "redocly.yaml").read_text("utf-8")
    rules = text.partition("rules:\n")[2].partition("\n\n")[0].splitlines()
    changed = [number for number, line in enumerate(rules) if not line.lstrip().startswith("#")]
    assert [rules[number].strip() for number in changed] == ["info-license: off"]
    assert [number for number in changed if not rules[number - 1].lstrip().startswith("# ")] == []
    assert "\ntelemetry: off\n" in text
