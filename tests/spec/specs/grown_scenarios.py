"""Calls that a service makes with the API of grown.yaml."""

from __future__ import annotations

import copy
import datetime as dt
import email
import email.policy
import io
import json
import pickle
import re
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from kyc_openapi.api.applicants import create_applicant, delete_applicant, get_applicant, list_applicants
from kyc_openapi.api.documents import download_document, upload_document
from kyc_openapi.api.health import get_health
from kyc_openapi.api.webhooks import create_webhook, get_event

from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from kyc_openapi.models import (
    Address,
    Applicant,
    ApplicantPage,
    ApplicantReviewed,
    ApplicantStatus,
    Document,
    DocumentReceived,
    Health,
    HealthStatus,
    NewApplicant,
    NewDocument,
    NewDocumentKind,
    NewWebhook,
    Problem,
    Unauthorized,
    Webhook,
)
from kyc_openapi.types import UNSET, File
from tests.support.fault_server import answer, check

if TYPE_CHECKING:
    from tests.spec.specs.drive import Drive
    from tests.support.fault_server import Behaviour, Exchange

APPLICANT = {
    "id": "a1",
    "first_name": "Ada",
    "last_name": "Fake",
    "middle_name": None,
    "date_of_birth": "1990-02-28",
    "address": {"country": "NL", "town": None},
    "status": "in review",
    "created_at": "2026-01-02T03:04:05+00:00",
    "reviewed_at": None,
}
DOCUMENT_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
DOCUMENT = {"id": str(DOCUMENT_ID), "kind": "passport"}
SECRET = "fake-tax-number"


def _protected(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Behaviour:
    """Answer with this if the token is valid."""

    def behaviour(exchange: Exchange) -> None:
        if exchange.token is not None and exchange.server.accepts(exchange.token):
            exchange.answer(status, body, headers)
        else:
            check(exchange)

    return behaviour


def a_new_operation_logs_in_by_itself(drive: Drive) -> None:
    """A new client lists applicants: one login, then each call with its token."""
    drive.server.on_resource(_protected(200, {"items": [APPLICANT], "next_cursor": None}))
    page = drive.call(list_applicants)
    assert isinstance(page, ApplicantPage)
    drive.call(list_applicants)
    assert (drive.server.login_count, len(drive.server.hits)) == (1, 2)
    assert all(drive.server.accepts(hit.token or "") for hit in drive.server.hits)


def a_revoked_token_is_replaced_once(drive: Drive) -> None:
    """After a 401, a new operation logs in once and sends the call again."""
    drive.server.on_resource(_protected(200, APPLICANT))
    drive.call(get_applicant, "a1")
    drive.server.revoke()
    assert isinstance(drive.call(get_applicant, "a1"), Applicant)
    assert (drive.server.login_count, len(drive.server.hits)) == (2, 3)


def a_lasting_401_is_a_documented_answer(drive: Drive) -> None:
    """If the call still gets a 401 after the login, the 401 is returned as the documented model."""
    drive.server.on_resource(answer(401, {"detail": "Unauthorized"}))
    assert isinstance(drive.call(get_applicant, "a1"), Unauthorized)


def a_public_operation_never_logs_in(drive: Drive) -> None:
    """The health check is sent without a token, whether or not the client has one."""
    drive.server.on_resource(answer(200, {"status": "up", "since": None}))
    health = drive.call(get_health)
    assert isinstance(health, Health)
    assert (health.status, health.since) == (HealthStatus.UP, None)
    assert drive.server.login_count == 0
    drive.server.on_resource(check)
    drive.call(get_resource)
    drive.server.on_resource(answer(200, {"status": "degraded", "since": "2026-01-02T03:04:05Z"}))
    since = drive.call(get_health).since
    assert since == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert drive.server.login_count == 1
    assert ["authorization" in hit.headers for hit in drive.server.hits] == [False, True, False]


def a_path_parameter_that_would_leave_its_segment_is_refused(drive: Drive) -> None:
    """`..`, `.` and an empty value are errors that name the parameter. Nothing is sent, not even a login."""
    for value in ("..", ".", ""):
        for operation in (get_applicant, delete_applicant):
            with pytest.raises(ValueError, match="applicant_id="):
                drive.detailed(operation, value)
        with pytest.raises(ValueError, match="applicant_id="):
            drive.call(download_document, value, DOCUMENT_ID)
    assert drive.server.exchanges == []


def any_other_path_parameter_is_one_segment(drive: Drive) -> None:
    """Slashes, dots, percent signs, queries, spaces and any script: the server decodes one segment to the value."""
    values = [
        "a/b",
        "../x",
        "..%2fx",
        "%2e%2e",
        "%2E",
        "...",
        "a?x=1",
        "a#b",
        "a;b",
        "a b",
        "größe",
        "日本",
        "🔑",
        "\n",
    ]
    drive.server.on_resource(_protected(200, APPLICANT))
    for value in values:
        drive.call(get_applicant, value)
    segments = [hit.target.removeprefix("/api/v1/applicants/") for hit in drive.server.hits]
    assert [unquote(segment) for segment in segments] == values
    assert all(re.fullmatch(r"[A-Za-z0-9._~%-]+", segment) for segment in segments)
    assert segments[values.index("größe")] == "gr%C3%B6%C3%9Fe"


def a_list_is_read_page_by_page(drive: Drive) -> None:
    """Each page's cursor leads to the next page. A filter with several values is repeated; one left out is not sent."""
    pages = [
        {"items": [APPLICANT | {"id": "a1"}], "next_cursor": "c/1&x=ü"},
        {"items": [APPLICANT | {"id": "a2"}], "next_cursor": None},
    ]
    drive.server.on_resource(*(_protected(200, page) for page in pages))
    after = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    status, cursor, found = [ApplicantStatus.IN_REVIEW, ApplicantStatus.APPROVED, "something_new"], UNSET, []
    while cursor is not None:
        page = drive.call(list_applicants, status=status, created_after=after, cursor=cursor)
        found += [applicant.id for applicant in page.items]
        cursor = page.next_cursor
    assert found == ["a1", "a2"]
    first, second = (parse_qs(urlsplit(hit.target).query) for hit in drive.server.hits)
    assert first == {
        "status": ["in review", "approved", "something_new"],
        "created_after": ["2026-01-01T00:00:00+00:00"],
        "limit": ["20"],
    }
    assert second == first | {"cursor": ["c/1&x=ü"]}


def models_read_dates_nulls_and_open_enums(drive: Drive) -> None:
    """Null, a missing field, a date and an undocumented value each have their own Python value."""
    drive.server.on_resource(_protected(200, APPLICANT), _protected(200, APPLICANT | {"status": "escalated"}))
    applicant = drive.call(get_applicant, "a1")
    assert applicant.date_of_birth == dt.date(1990, 2, 28)
    assert applicant.created_at == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert (applicant.middle_name, applicant.reviewed_at, applicant.address.town) == (None, None, None)
    assert applicant.documents is UNSET
    assert applicant.status is ApplicantStatus.IN_REVIEW
    assert applicant.to_dict() == APPLICANT
    assert drive.call(get_applicant, "a1").status == "escalated"


def models_that_refer_to_each_other_are_read(drive: Drive) -> None:
    """An applicant has documents, and each document has an applicant."""
    nested = APPLICANT | {"documents": [DOCUMENT | {"applicant": APPLICANT}]}
    drive.server.on_resource(_protected(200, nested))
    applicant = drive.call(get_applicant, "a1")
    assert isinstance(applicant.documents[0].applicant, Applicant)
    assert applicant.to_dict() == nested


def statuses_are_told_apart(drive: Drive) -> None:
    """A 201, a 204 and the documented errors are returned, each as its model."""
    problem = {"detail": "No."}
    new = NewApplicant(first_name="Ada", last_name="Fake", address=Address(country="NL"))
    drive.server.on_resource(
        _protected(201, APPLICANT, {"Location": "/api/v1/applicants/a1"}),
        _protected(409, problem),
        _protected(429, problem, {"Retry-After": "1"}),
    )
    created = drive.detailed(create_applicant, body=new, idempotency_key="fake-key")
    assert (created.status_code, created.headers["Location"]) == (201, "/api/v1/applicants/a1")
    assert isinstance(created.parsed, Applicant)
    assert drive.server.hits[-1].headers["idempotency-key"] == "fake-key"
    sent = {"first_name": "Ada", "last_name": "Fake", "address": {"country": "NL"}}
    assert json.loads(drive.server.hits[-1].body) == sent
    for status in (409, 429):
        refused = drive.detailed(create_applicant, body=new)
        assert (refused.status_code, refused.parsed) == (status, Problem("No."))
    for status in (404, 500, 503, 520, 599):
        drive.server.on_resource(_protected(status, problem))
        refused = drive.detailed(get_applicant, "a1")
        assert (refused.status_code, refused.parsed) == (status, Problem("No."))
    drive.server.on_resource(_protected(204, b""))
    deleted = drive.detailed(delete_applicant, "a1")
    assert (deleted.status_code, deleted.parsed) == (204, None)


def a_failure_is_never_none(drive: Drive) -> None:
    """J3, J2: an error without a model is raised, whether or not it is documented, for any status."""
    for status in (404, 418, 500, 520):
        drive.server.on_resource(_protected(status, b"<html>fake-body"))
        with pytest.raises(UnexpectedStatus) as caught:
            drive.detailed(delete_applicant, "a1")
        assert caught.value.status_code == status
        assert "fake-body" not in str(caught.value)
    drive.server.on_resource(answer(503, b""))
    with pytest.raises(UnexpectedStatus, match="503"):
        drive.call(get_health)


def _parts(exchange: Exchange) -> list[tuple[dict[str, str], bytes]]:
    """Read a multipart body like a server, by the boundary in its header."""
    head = b"Content-Type: " + exchange.headers["content-type"].encode() + b"\r\n\r\n"
    message = email.message_from_bytes(head + exchange.body, policy=email.policy.HTTP)
    return [
        ({key.lower(): value for key, value in part.items()}, part.get_payload(decode=True))
        for part in message.iter_parts()
    ]


def an_upload_arrives_whole(drive: Drive) -> None:
    """The file arrives unchanged, whatever it contains, and so do the fields beside it."""
    # With a fixed boundary, this would end the part and forge a field.
    forged = b'%PDF\r\n--+++\r\nContent-Disposition: form-data; name="kind"\r\n\r\nid-card\r\n--+++--\r\n\x00\xff'
    drive.server.on_resource(_protected(201, DOCUMENT))
    kind, expires = NewDocumentKind.PASSPORT, dt.date(2030, 1, 31)
    for _ in range(2):
        file = File(io.BytesIO(forged), file_name="Reisepaß.pdf", mime_type="application/pdf")
        stored = drive.call(upload_document, "a1", body=NewDocument(kind=kind, file=file, expires_on=expires))
        assert isinstance(stored, Document)
    bounds = set()
    for hit in drive.server.hits:
        (_, kind_sent), (file_head, file_sent), (_, expires_sent) = _parts(hit)
        assert (kind_sent, file_sent, expires_sent) == (b"passport", forged, b"2030-01-31")
        assert file_head["content-type"] == "application/pdf"
        bounds.add(hit.headers["content-type"])
    assert len(bounds) == 2  # The boundary is new each time, so the author of a file cannot know it.


def an_upload_is_sent_again_whole_after_a_401(drive: Drive) -> None:
    """A revoked token costs one login. The file then arrives from its first byte."""
    drive.server.on_resource(_protected(201, DOCUMENT))
    content = bytes(range(256)) * 1000
    for revoked in (False, True):
        if revoked:
            drive.server.revoke()
        file = File(io.BytesIO(content), file_name="a.bin", mime_type="application/pdf")
        drive.call(upload_document, "a1", body=NewDocument(kind=NewDocumentKind.ID_CARD, file=file))
    assert (drive.server.login_count, len(drive.server.hits)) == (2, 3)
    assert [_parts(hit)[1][1] == content for hit in drive.server.hits] == [True] * 3


def a_file_cannot_forge_headers(drive: Drive) -> None:
    """A content type of several lines is refused before anything is sent. A name of several lines is quoted."""
    for mime_type in ("text/plain\r\nX-Forged: 1", "text/plain\n", "text/plain\0"):
        file = File(io.BytesIO(b"x"), file_name="a.txt", mime_type=mime_type)
        with pytest.raises(ValueError, match="mime_type"):
            drive.call(upload_document, "a1", body=NewDocument(kind=NewDocumentKind.PASSPORT, file=file))
    assert drive.server.exchanges == []
    drive.server.on_resource(_protected(201, DOCUMENT))
    name = 'a".txt\r\nX-Forged: 1\r\n\r\nx'
    file = File(io.BytesIO(b"x"), file_name=name, mime_type="text/plain")
    drive.call(upload_document, "a1", body=NewDocument(kind=NewDocumentKind.PASSPORT, file=file))
    head, content = _parts(drive.server.hits[-1])[1]
    assert sorted(head) == ["content-disposition", "content-type"]
    assert content == b"x"


def a_download_is_the_bytes_that_were_sent(drive: Drive) -> None:
    """A binary answer is a file that can be read."""
    content = bytes(range(256)) * 4096
    drive.server.on_resource(_protected(200, content, {"Content-Type": "application/octet-stream"}))
    file = drive.call(download_document, "a1", DOCUMENT_ID)
    assert file.payload.read() == content
    assert drive.server.hits[-1].target == f"/api/v1/applicants/a1/documents/{DOCUMENT_ID}/content"


def the_discriminator_tells_what_an_event_is(drive: Drive) -> None:
    """Each kind of event becomes its own model, by its `type`. An unknown kind is an error."""
    reviewed = {"type": "applicant.reviewed", "applicant_id": "a1", "approved": True}
    received = {"type": "document.received", "document": DOCUMENT}
    # Fields of the other kind do not matter.
    drive.server.on_resource(
        _protected(200, reviewed),
        _protected(200, received),
        _protected(200, reviewed | received),
        _protected(200, reviewed | {"type": "something.new"}),
    )
    kinds = [type(drive.call(get_event, "e1")) for _ in range(3)]
    assert kinds == [ApplicantReviewed, DocumentReceived, DocumentReceived]
    with pytest.raises((ValueError, KeyError)):
        drive.call(get_event, "e1")


def a_webhook_is_registered(drive: Drive) -> None:
    """The URL that the API should call is sent. No `repr` shows its secret."""
    drive.server.on_resource(_protected(201, {"id": "w1", "url": "https://service.example.com/kyc"}))
    new = NewWebhook(url="https://service.example.com/kyc", events=["applicant.reviewed"], secret="fake-secret")
    assert "fake-secret" not in repr(new)
    assert isinstance(drive.call(create_webhook, body=new), Webhook)
    assert json.loads(drive.server.hits[-1].body) == new.to_dict()


def what_is_unset_stays_unset(drive: Drive) -> None:
    """After pickle or copy, a model sends the same as the original: nothing for fields that were never set."""
    drive.server.on_resource(_protected(201, APPLICANT))
    new = NewApplicant(first_name="Ada", last_name="Fake", tax_number=SECRET)
    assert SECRET not in repr(new)
    for twin in (pickle.loads(pickle.dumps(new)), copy.copy(new), copy.deepcopy(new)):  # noqa: S301  # Our own pickle.
        assert twin.middle_name is UNSET
        drive.call(create_applicant, body=twin)
        sent = {"first_name": "Ada", "last_name": "Fake", "tax_number": SECRET}
        assert json.loads(drive.server.hits[-1].body) == sent
