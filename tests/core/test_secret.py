"""Value objects that hold a secret: nothing that logs, crash reporters or pickles look at shows it."""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import json
import logging
import pickle
import pprint
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest

from kyc_client import Credentials, Token
from kyc_client._clock import Moment
from kyc_client._login.secret import MaskedHeader
from kyc_client._token.lease import Lease
from tests.support.paths import TESTS

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "canary-3f9c"
EXPIRES_AT = datetime(2030, 1, 1, tzinfo=UTC)
_FOLDER = str(TESTS)


def rendered(error: BaseException) -> str:
    """All that a crash reporter sends: messages, attributes, frames with their locals; also of causes and contexts.

    The test's own frames, which have to know the secret, are left out.
    """
    texts: list[str] = []
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or current in seen:
            continue
        seen.append(current)
        frames = current.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_FOLDER):
            frames = frames.tb_next
        report = traceback.TracebackException(type(current), current, frames)
        texts += [*report.format(chain=False), repr(current), repr(current.args), repr(vars(current))]
        for frame, _ in traceback.walk_tb(frames):
            for value in frame.f_locals.values():
                # Half an object of another library's, for one, has no `repr`.
                with contextlib.suppress(Exception):
                    texts.append(repr(value))
        waiting += [current.__cause__, current.__context__]
    return "\n".join(texts)


def _jwt() -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(EXPIRES_AT.timestamp())}).encode()).decode().rstrip("=")
    return f"{CANARY}.{claims}.fake-signature"


def credentials() -> Credentials:
    """A login and password that can be recognised."""
    return Credentials(f"{CANARY}-login", f"{CANARY}-password")


def token() -> Token:
    """A token that can be recognised."""
    return Token(f"{CANARY}-token", EXPIRES_AT)


def lease() -> Lease:
    """The same with the windows of its life."""
    began = Moment(0.0, 0.0)
    return Lease(_jwt(), issued_at=None, began=began, arrived=began, jitter=0.0)


HOLDERS: list[Callable[[], Any]] = [credentials, token, lease]

LOOKS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "format": format,
    "%s": lambda holder: "%s" % holder,  # noqa: UP031 - the old way is one of the ways
    "%r": lambda holder: "%r" % holder,  # noqa: UP031 - as above
    "in a container": lambda holder: repr([{"holder": holder}]),
    "pprint": pprint.pformat,
    "copy": lambda holder: repr(copy.copy(holder)),
    "deepcopy": lambda holder: repr(copy.deepcopy(holder)),
    "deepcopy in a container": lambda holder: repr(copy.deepcopy([holder])),
    "log record": lambda holder: logging.makeLogRecord({"msg": "%s %r", "args": (holder, holder)}).getMessage(),
}

REFUSED: dict[str, tuple[Callable[[Any], object], type[Exception]]] = {
    **{
        f"pickle protocol {protocol}": (lambda holder, protocol=protocol: pickle.dumps(holder, protocol), TypeError)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "pickle in a container": (lambda holder: pickle.dumps([holder]), TypeError),
    "vars": (vars, TypeError),
    "dataclasses.asdict": (dataclasses.asdict, TypeError),
    "attrs.asdict": (attrs.asdict, attrs.exceptions.NotAnAttrsClassError),
    "json": (json.dumps, TypeError),
}


@pytest.fixture(params=HOLDERS, ids=lambda make: make.__name__)
def holder(request):
    """Each object that holds a secret."""
    return request.param()


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_looks(holder, look):
    """H1: whatever turns it into text names its class, and does not show the secret."""
    text = look(holder)
    assert type(holder).__name__ in text
    assert CANARY not in text


@pytest.mark.parametrize(("take", "kind"), REFUSED.values(), ids=REFUSED)
def test_refused(holder, take, kind):
    """H1: whatever would take it apart is refused, with an error that does not show the secret either."""
    with pytest.raises(kind) as caught:
        take(holder)
    assert CANARY not in rendered(caught.value)


def test_pickle_says_what_to_do(holder):
    """The refusal to pickle says which object it is about, why, and what to do instead."""
    with pytest.raises(TypeError, match=rf"^{type(holder).__name__} .*secret.*each process read its own credentials"):
        pickle.dumps(holder)


def test_copies_are_the_object_itself(holder):
    """H1: a copy is the object itself, as for every other thing in Python that cannot change."""
    assert copy.copy(holder) is holder
    assert copy.deepcopy({"holder": holder})["holder"] is holder


@pytest.mark.parametrize("name", ["password", "_password", "value", "_value", "token", "new"])
def test_frozen(holder, name):
    """No attribute can be set, replaced or removed."""
    before = getattr(holder, name, None)
    with pytest.raises(AttributeError, match="frozen"):
        setattr(holder, name, "another")
    with pytest.raises(AttributeError, match="frozen"):
        delattr(holder, name)
    assert getattr(holder, name, None) == before


def test_what_is_shown():
    """H1: of a token the expiry is seen, of credentials nothing: a login is often a person's e-mail address."""
    assert repr(token()) == f"Token(expires_at={EXPIRES_AT!r}, value=***)"
    assert repr(credentials()) == "Credentials(password=***, username=***)"
    assert repr(EXPIRES_AT) in repr(lease())


def test_values_are_there_for_the_asking():
    """The attributes give the values unchanged."""
    assert (credentials().username, credentials().password) == (f"{CANARY}-login", f"{CANARY}-password")
    assert (token().value, token().expires_at) == (f"{CANARY}-token", EXPIRES_AT)
    assert lease().authorization == f"Bearer {_jwt()}"
    assert lease().token == Token(_jwt(), EXPIRES_AT)


def test_token_without_an_expiry():
    """A token need not say when it expires."""
    assert Token("fake").expires_at is None


OTHERS = {
    "another password": Credentials(f"{CANARY}-login", "other"),
    "another login": Credentials("other", f"{CANARY}-password"),
    "the two swapped": Credentials(f"{CANARY}-password", f"{CANARY}-login"),
    "a token": Token(f"{CANARY}-password"),
    "a token of the same values": Token(f"{CANARY}-login", f"{CANARY}-password"),
    "a tuple": (f"{CANARY}-password", f"{CANARY}-login"),
}


def test_equal_by_value():
    """Two credentials with the same values are equal and find each other in a dict."""
    assert credentials() == credentials()
    assert {credentials(): "found"}[credentials()] == "found"


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_unequal(other):
    """Whatever differs in a value or in kind is not equal, and is not found."""
    assert credentials() != other
    assert {credentials(): "found"}.get(other) is None


def test_rendered_sees_what_it_must():
    """The helper of these tests does find a secret in the locals of a frame, a cause or a suppressed context."""

    def fail() -> None:
        try:
            json.loads(f'"{CANARY}')
        except ValueError:
            raise RuntimeError("harmless") from None

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert CANARY in rendered(caught.value)


# The header of a request


HEADER = MaskedHeader(f"Bearer {CANARY}")


@pytest.mark.parametrize("secret", [HEADER, HEADER.encode("ascii")], ids=["text", "bytes"])
def test_masked_header(secret):
    """A header shows nothing, is pickled as `***`, and is still itself in a copy, which may be sent."""
    assert CANARY not in repr(secret)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps([secret], protocol)
        assert CANARY.encode() not in pickled
        assert pickle.loads(pickled) == ["***" if secret is HEADER else b"***"]  # noqa: S301 - our own pickle


def test_pickled_response():
    """A response that is pickled takes no token with it."""
    request = httpx.Request("GET", "https://kyc.example.com", headers={"Authorization": HEADER})
    pickled = pickle.dumps(httpx.Response(200, request=request))
    assert CANARY.encode() not in pickled
    assert pickle.loads(pickled).request.headers["Authorization"] == "***"  # noqa: S301 - our own pickle
    assert request.headers["Authorization"] == f"Bearer {CANARY}"
