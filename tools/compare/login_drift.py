"""The differences between the login that a server publishes and ours, and what each means for us.

Only what this client uses is compared. It posts the form of a `LoginForm`, needs a 200 with a bearer token, reads the
codes of a 400, and handles every other status by its class. Everything else in the document is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from openapi_schema_validator import OAS30Validator, OAS31Validator

if TYPE_CHECKING:
    from collections.abc import Iterator

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
TRIED_AGAIN = {"408", "429"}


class Verdict(Enum):
    """The meaning of a difference, the worst first."""

    BREAKS = "breaks us"
    TELL = "tell the provider"
    HARMLESS = "harmless"


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes:
        verdict: its meaning.
        where: the part of the operation.
        what: how theirs differs from ours, and the consequence.
    """

    verdict: Verdict
    where: str
    what: str


@dataclass(frozen=True)
class Document:
    """An OpenAPI document of any shape. Looking for what is missing gives an empty value, not an error."""

    content: Any

    def at(self, node: Any, *keys: str) -> Any:
        """Go down from a node by these keys, following references. An empty mapping stands for a missing place."""
        node = self.resolve(node)
        for key in keys:
            node = self.resolve(node.get(key)) if isinstance(node, dict) else {}
        return {} if node is None else node

    def resolve(self, node: Any) -> Any:
        """Follow references within the document."""
        for _ in range(20):  # ends a circle of references; no real chain is longer
            if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
                return node
            reference, node = node["$ref"], self.content
            for step in reference.removeprefix("#/").split("/"):
                node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        return {}

    def paths(self) -> dict[str, Any]:
        """Return the paths of the document."""
        return _mapping(self.at(self.content, "paths"))

    def mapping(self, node: Any, *keys: str) -> dict[str, Any]:
        """Return the mapping at a place; an empty one if there is none."""
        return _mapping(self.at(node, *keys))

    def types(self, schema: Any) -> set[str]:
        """Return the JSON types that a schema allows. An empty set means that it names none and allows all."""
        schema = self.mapping(schema)
        found = schema.get("type", [])
        types = {found} if isinstance(found, str) else set(found)
        if schema.get("nullable") is True:
            types.add("null")
        for part in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
            types |= self.types(part)
        return types

    def accepts(self, schema: Any, value: object) -> bool:
        """Return whether a value is valid by a schema."""
        components = self.content.get("components", {})
        old = str(self.content.get("openapi")).startswith("3.0")
        validator = (OAS30Validator if old else OAS31Validator)({"allOf": [schema], "components": components})
        return bool(validator.is_valid(value))


def _mapping(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


def find_login(document: Document) -> tuple[str, str]:
    """Return the path and the method of our login: the operation with `operationId: login`.

    Raises:
        LookupError: there is none.
    """
    for path, item in document.paths().items():
        for method, operation in _mapping(item).items():
            if _mapping(operation).get("operationId") == "login":
                return path, method
    raise LookupError("it has no operation with `operationId: login`")


def differences(ours: Document, theirs: Document) -> Iterator[Difference]:
    """Yield every difference between our login and theirs."""
    path, method = find_login(ours)
    own, other = ours.paths()[path][method], theirs.at(theirs.content, "paths", path, method)
    name = f"{method.upper()} {path}"
    if not other:
        elsewhere = ", ".join(_form_logins(theirs)) or "none"
        yield Difference(Verdict.BREAKS, name, f"not published; published operations that take this form: {elsewhere}")
        return
    security = other.get("security", theirs.content.get("security"))
    if security and {} not in security:
        yield Difference(Verdict.BREAKS, name, "needs a token or key; we send none with a login")
    yield from _form(ours, theirs, own, other)
    yield from _statuses(own, other)
    yield from _token(ours, theirs, own, other)
    yield from _codes(ours, theirs, own, other)
    for status in sorted(_statuses_of(own) & _statuses_of(other) - {"200"}):
        yield from _error(ours, theirs, own["responses"][status], other["responses"][status], status)


def _form_logins(theirs: Document) -> Iterator[str]:
    for path, item in theirs.paths().items():
        for method, operation in _mapping(item).items():
            form = theirs.at(operation, "requestBody", "content", FORM, "schema", "properties")
            if isinstance(operation, dict) and {"username", "password"} <= _mapping(form).keys():
                yield f"{method.upper()} {path}"


def _form(ours: Document, theirs: Document, own: Any, other: Any) -> Iterator[Difference]:
    offered = theirs.mapping(other, "requestBody", "content")
    if FORM not in offered:
        yield Difference(Verdict.BREAKS, "request", f"takes {', '.join(offered) or 'no body'}; we send {FORM}")
        return
    form, schema = ours.mapping(own, "requestBody", "content", FORM, "schema"), theirs.mapping(offered, FORM, "schema")
    fields, published = form["properties"], theirs.mapping(schema, "properties")
    required = set(schema.get("required", []))
    for name in sorted(published.keys() - fields.keys()):
        if name in required:
            yield Difference(Verdict.BREAKS, f"request, {name}", "required; we do not send it")
        else:
            yield Difference(Verdict.HARMLESS, f"request, {name}", "optional; we do not send it")
    for name, field in fields.items():
        where = f"request, {name}"
        sample = ours.at(field).get("const", "user@example.com")
        if name not in published:
            yield Difference(Verdict.BREAKS, where, "not published; we send it")
        elif not theirs.accepts(published[name], sample):
            yield Difference(Verdict.BREAKS, where, f"does not accept {sample!r}; we send values like this")
        elif name in form["required"] and name not in required:
            yield Difference(Verdict.HARMLESS, where, "optional; we always send it")


def _statuses_of(operation: Any) -> set[str]:
    return {str(status) for status in _mapping(operation.get("responses"))}


def _statuses(own: Any, other: Any) -> Iterator[Difference]:
    documented, published = _statuses_of(own), _statuses_of(other)
    for status in sorted(documented - published):
        if status == "200":
            yield Difference(Verdict.BREAKS, "status 200", "not published; we accept no other answer as a success")
        else:
            yield Difference(Verdict.TELL, f"status {status}", "not published; we handle it even so")
    for status in sorted(published - documented):
        if status[0] in "123":
            yield Difference(Verdict.BREAKS, f"status {status}", "new; we treat a login with this answer as failed")
        elif status == "default":
            yield Difference(Verdict.HARMLESS, "status default", "new; we handle every status by its class")
        elif status in TRIED_AGAIN or status[0] == "5":
            yield Difference(Verdict.HARMLESS, f"status {status}", "new; LoginUnavailableError, and we try again")
        else:
            yield Difference(Verdict.HARMLESS, f"status {status}", "new; LoginRefusedError. Add it to our document")


def _token(ours: Document, theirs: Document, own: Any, other: Any) -> Iterator[Difference]:
    content = theirs.mapping(other, "responses", "200", "content")
    if "200" not in _statuses_of(other):
        return
    if JSON not in content:
        yield Difference(Verdict.BREAKS, "status 200", f"comes as {', '.join(content) or 'no body'}; we read {JSON}")
        return
    schema = theirs.mapping(content, JSON, "schema")
    published = theirs.mapping(schema, "properties")
    for name in ours.at(own, "responses", "200", "content", JSON, "schema")["required"]:
        where = f"status 200, {name}"
        types = theirs.types(published.get(name))
        if name not in published:
            yield Difference(Verdict.BREAKS, where, "not published; we cannot use an answer without it")
        elif types and "string" not in types:
            yield Difference(Verdict.BREAKS, where, f"is {' or '.join(sorted(types))}; we need a string")
        elif types > {"string"}:
            yield Difference(Verdict.TELL, where, f"may be {' or '.join(sorted(types - {'string'}))}; we need a string")
        elif name not in schema.get("required", []):
            yield Difference(Verdict.TELL, where, "may be left out; we cannot use an answer without it")
    if "token_type" in published and not any(
        theirs.accepts(published["token_type"], each) for each in ("bearer", "Bearer")
    ):
        yield Difference(Verdict.BREAKS, "status 200, token_type", "is never bearer; we can send only bearer tokens")


def _codes(ours: Document, theirs: Document, own: Any, other: Any) -> Iterator[Difference]:
    known, published = set(_codes_of(ours, own)), set(_codes_of(theirs, other))
    for status, code in sorted(known - published):
        elsewhere = sorted(other_status for other_status, other_code in published if other_code == code)
        if elsewhere:
            what = f"published for {', '.join(elsewhere)}; we do not read it there"
            yield Difference(Verdict.BREAKS, f"code {code}", what)
        elif any(other_status == status for other_status, _ in published):
            what = f"not among the codes published for {status}; its error would never be raised"
            yield Difference(Verdict.BREAKS, f"code {code}", what)
        else:
            yield Difference(Verdict.TELL, f"code {code}", f"no code is published for {status}; we rely on this one")
    for status, code in sorted(published - known):
        if code not in {each for _, each in known}:
            yield Difference(Verdict.HARMLESS, f"code {code}", f"new, for {status}; LoginRefusedError, with this code")


def _codes_of(document: Document, operation: Any) -> Iterator[tuple[str, str]]:
    """Yield the status and the code of each code in an operation's schemas and examples."""
    for status in _statuses_of(operation):
        media = document.mapping(operation, "responses", status, "content", JSON)
        examples = [document.at(example, "value") for example in document.mapping(media, "examples").values()]
        found = [document.mapping(example).get("detail") for example in [*examples, media.get("example")]]
        schema = document.mapping(media, "schema", "properties", "detail")
        for part in [schema, *map(document.mapping, [*schema.get("anyOf", []), *schema.get("oneOf", [])])]:
            found += [*part.get("enum", []), part.get("const")]
        yield from ((status, code) for code in found if isinstance(code, str) and code.isupper() and " " not in code)


def _error(ours: Document, theirs: Document, own: Any, other: Any, status: str) -> Iterator[Difference]:
    where = f"status {status}"
    content = theirs.mapping(other, "content")
    if JSON not in content:
        what = f"comes as {', '.join(content) or 'no body'}; its error has no details then"
        yield Difference(Verdict.TELL, where, what)
        return
    form, schema = ours.mapping(own, "content", JSON, "schema"), theirs.mapping(content, JSON, "schema")
    published = theirs.mapping(schema, "properties")
    for name in form["required"]:
        types, known = theirs.types(published.get(name)), ours.types(form["properties"][name])
        if name not in published:
            yield Difference(Verdict.TELL, f"{where}, {name}", "not published; its error has no details then")
        elif types and not types & known:
            what = f"is {' or '.join(sorted(types))}, not {' or '.join(sorted(known))}; its error has no details then"
            yield Difference(Verdict.TELL, f"{where}, {name}", what)
        elif types > known:
            what = f"may also be {' or '.join(sorted(types - known))}; its error has no details then"
            yield Difference(Verdict.HARMLESS, f"{where}, {name}", what)
        elif name not in schema.get("required", []):
            yield Difference(Verdict.HARMLESS, f"{where}, {name}", "may be left out; its error has no details then")
