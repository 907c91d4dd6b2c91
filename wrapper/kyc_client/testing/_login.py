"""What the API's login answers: its refusals, its validation errors, its tokens."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

    from kyc_client._login.credentials import Credentials


class LoginFault:
    """The answer of failing logins, and how many more logins fail. Its user holds a lock."""

    def __init__(self, answer: Callable[[], httpx.Response], times: float) -> None:
        self._answer = answer
        self._left = times

    def answer(self) -> httpx.Response | None:
        """Return the answer to the next login; None if it should succeed."""
        if self._left <= 0:
            return None
        self._left -= 1
        return self._answer()


def refusal(content: bytes, credentials: Credentials) -> httpx.Response | None:
    """Return the answer to a login that the API refuses; None if it succeeds.

    Args:
        content: The body of the login, a form.
        credentials: The ones that may log in.
    """
    form = parse_qs(content.decode("utf-8", "replace"))
    username, password = (form.get(name, [""])[-1] for name in ("username", "password"))
    problems = [("missing", name) for name in ("username", "password") if not form.get(name)]
    if form.get("grant_type", ["password"]) != ["password"]:
        problems.insert(0, ("string_pattern_mismatch", "grant_type"))
    if problems:
        return httpx.Response(422, json={"detail": _validation_errors(*problems)})
    # The API compares e-mail addresses without regard to case.
    if (username.lower(), password) != (credentials.username.lower(), credentials.password):
        return httpx.Response(400, json={"detail": default_detail(400)})
    return None


def default_detail(status: int) -> Any:
    """Return the `detail` that the API sends with a status."""
    if status == 422:
        return _validation_errors(("missing", "password"))
    return "LOGIN_BAD_CREDENTIALS" if status == 400 else httpx.codes.get_reason_phrase(status)


def make_token(number: int, expires_at: int | None) -> str:
    """Return a token that looks like the API's, with a signature that proves nothing.

    Args:
        number: Makes the token different from all others.
        expires_at: Its `exp`, in seconds since 1970; None leaves `exp` out.
    """
    claims: dict[str, Any] = {"sub": "fake-user", "aud": ["fastapi-users:auth"], "jti": number}
    if expires_at is not None:
        claims["exp"] = expires_at
    return ".".join(_base64url(json.dumps(part)) for part in ({"alg": "none"}, claims, "fake-signature"))


def _validation_errors(*problems: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"type": kind, "loc": ["body", name], "msg": f"The fake does not accept the {name}", "input": None}
        for kind, name in problems
    ]


def _base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
