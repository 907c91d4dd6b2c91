"""The errors: one tree, and values that survive every way in which services pass errors on."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest

import kyc_client
from kyc_client import errors

if TYPE_CHECKING:
    from collections.abc import Callable

# As the design has it: each class, and the class that it is a kind of.
TREE = {
    "KYCClientError": "Exception",
    "ConfigurationError": "KYCClientError",
    "LoginError": "KYCClientError",
    "BadCredentialsError": "LoginError",
    "UserNotVerifiedError": "LoginError",
    "LoginValidationError": "LoginError",
    "LoginRefusedError": "LoginError",
    "LoginUnavailableError": "LoginError",
    "LoginResponseError": "LoginError",
}
FIELDS = ((("body", "password"), "Field required", "missing"), (("body", 0), "Too long", "string_too_long"))
DETAILS = {"status_code": 429, "code": "SLOW_DOWN", "retry_after": 7.5, "cached": True}

PLAIN = [kind for kind, parent in TREE.items() if "LoginError" not in {kind, parent}]
LOGIN = [kind for kind, parent in TREE.items() if "LoginError" in {kind, parent}]

WAYS: dict[str, Callable[[BaseException], BaseException]] = {
    **{
        f"pickle protocol {protocol}": lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own pickle
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def make(name: str) -> errors.KYCClientError:
    """One error of this class with all its attributes set."""
    kind = getattr(errors, name)
    if name in PLAIN:
        return kind("Do this next.")
    if name == "LoginValidationError":
        return kind("Do this next.", errors=FIELDS, **DETAILS)
    return kind("Do this next.", **DETAILS)


def test_tree():
    """The classes are those of the design, each with one parent, and there are no others."""
    classes = {name: kind for name, kind in vars(errors).items() if getattr(kind, "__module__", "") == errors.__name__}
    assert {name: [base.__name__ for base in kind.__bases__] for name, kind in classes.items()} == {
        name: [parent] for name, parent in TREE.items()
    }


def test_tree_in_the_docstring():
    """The tree drawn in the module's docstring is the real one, class by class and parent by parent."""
    drawn: dict[str, str] = {}
    above: dict[int, str] = {-4: "Exception"}
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip(" │├└─").partition(" ")[0]
        if name in TREE:
            column = line.index(name) - 4
            drawn[name] = above[column - 4]
            above[column] = name
    assert drawn == TREE


def test_exported():
    """Each class is exported from `kyc_client.errors` and from `kyc_client`, under its own name."""
    assert errors.__all__ == sorted(TREE)
    for name in TREE:
        assert name in kyc_client.__all__
        assert getattr(kyc_client, name) is getattr(errors, name)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", TREE)
def test_round_trip(name, way):
    """H4: an error that was pickled or copied is a new one of the same class with the same message and attributes."""
    error = make(name)
    twin = way(error)
    assert twin is not error
    assert type(twin) is type(error)
    assert str(twin) == "Do this next."
    assert twin.args == error.args
    assert vars(twin) == vars(error)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_round_trip_of_field_errors(way):
    """Of the fields that were refused, each `(loc, msg, type)` survives too."""
    assert way(make("LoginValidationError")).errors == FIELDS


@pytest.mark.parametrize("name", LOGIN)
def test_attributes(name):
    """Every login error says with which status, code and remaining pause, and whether it is known from before."""
    error = make(name)
    assert (error.status_code, error.code, error.retry_after, error.cached) == (429, "SLOW_DOWN", 7.5, True)


@pytest.mark.parametrize("name", LOGIN)
def test_attributes_that_are_not_known(name):
    """What is not known is None, an error is fresh unless it says otherwise, and a message is enough to make one."""
    error = getattr(errors, name)("Do this next.")
    assert (error.status_code, error.code, error.retry_after, error.cached) == (None, None, None, False)


def test_no_field_errors():
    """A 422 that names no field has an empty tuple of errors, so that callers may loop without asking."""
    assert errors.LoginValidationError("Do this next.").errors == ()


@pytest.mark.parametrize("name", TREE)
def test_only_the_message_is_shown(name):
    """H4: `str` is the message, and `args` is nothing but the message: logs that print either show no more than it."""
    error = make(name)
    assert str(error) == "Do this next."
    assert error.args == ("Do this next.",)


def test_details_are_keywords():
    """A misspelt detail is a mistake of ours that shows, not an attribute that nobody reads."""
    with pytest.raises(TypeError, match="retry_afer"):
        errors.LoginValidationError("Do this next.", retry_afer=1.0)
