"""Calls that a service makes with the API of awkward.yaml."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from kyc_openapi.api.class_ import import_
from kyc_openapi.api.tag2nd_tag import field_123_go

import kyc_openapi
from kyc_openapi import models
from kyc_openapi.models import AwkwardEnum, Class
from tests.support.fault_server import answer

if TYPE_CHECKING:
    from tests.spec.specs.drive import Drive

ENUM = ["class", "None", "", "1st", "two words", "größe", 'quo"te', "back\\slash", "日本語", "+1", "-1"]
FULL = {
    "class": '"""',
    "def": "\\",
    "true": False,
    "None": None,
    "self": "s",
    "type": "t",
    "a-b": "dash",
    "a_b": "underscore",
    '"quoted"': "q",
    "back\\slash": "b",
    "日本語": "日本",
    "2nd": "2",
    "with space": "w",
    "$dollar": "$",
    "_leading": "_",
    "json": "{}",
    "enum": "two words",
    "list": [{"名前": "x"}],
    "default": "d",
    "not in the document": 1,
}


def every_name_and_text_survives(drive: Drive) -> None:
    """All properties come back unchanged, each under its own name on the wire."""
    drive.server.on_resource(lambda exchange: exchange.answer(200, json.loads(exchange.body)))
    model = Class.from_dict(FULL)
    answered = drive.call(field_123_go, body=model)
    assert json.loads(drive.server.hits[-1].body) == FULL
    assert answered == model
    assert answered.to_dict() == FULL
    assert drive.server.login_count == 1


def parameters_keep_their_names_and_values(drive: Drive) -> None:
    """Paths with other letters than ASCII, names that are keywords or have brackets and quotes, and a default work."""
    drive.server.on_resource(answer(200, FULL))
    value = "a/ü \\\"'"
    drive.call(import_, value, value, lambda_=value, id=value, filterstatus=value, x_quoted=value, x_class="fake")
    hit = drive.server.hits[-1]
    path, query = urlsplit(hit.target).path, urlsplit(hit.target).query
    assert [unquote(segment) for segment in path.split("/")] == ["", "überprüfung", value, value]
    assert dict(parse_qsl(query)) == {
        "lambda": value,
        "id": value,
        "filter[status]": value,
        "größe": "it's größer",
        'X-"Quoted': value,
    }
    assert hit.headers["x-class"] == "fake"


def no_enum_value_is_lost(drive: Drive) -> None:
    """Each value of the document is its own member, and equals itself."""
    assert {member.value for member in AwkwardEnum} == set(ENUM)
    assert [str(AwkwardEnum(value)) for value in ENUM] == ENUM


def defaults_are_what_the_document_says(drive: Drive) -> None:
    """Apostrophes and braces in a default are neither escaped nor filled in."""
    minimal = Class(class_="", true_=True, quoted="", back_slash="")
    assert minimal.default == "it's {fine} %s 日本語"


def a_class_called_like_its_module_is_a_class(drive: Drive) -> None:
    """A name without capitals is the class, even after the module with the same name has been loaded."""
    importlib.import_module("kyc_openapi.models.日本")
    assert isinstance(getattr(models, "日本"), type)  # noqa: B009 - written as an attribute, ruff reports ambiguous letters
    assert "日本" in models.__all__


def the_docstring_says_what_the_document_says(drive: Drive) -> None:
    """Descriptions keep their quotes and backslashes."""
    assert '"KYC" API: """quoted""" \\ back\\slashed' in (kyc_openapi.__doc__ or "")
    assert '"""class""" \\ of its own, \\N{BELL} {x}' in (Class.__doc__ or "")
    assert 'Get """it""" \\ with \\" and \\' in (import_.sync.__doc__ or "")
