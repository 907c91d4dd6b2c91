# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
"""Contains all the data models used in inputs/outputs. Each is loaded when it is first asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bearer_token import BearerToken
    from .http_validation_error import HTTPValidationError
    from .login_error_code import LoginErrorCode
    from .login_form import LoginForm
    from .login_refusal import LoginRefusal
    from .resource import Resource
    from .unauthorized import Unauthorized
    from .validation_error import ValidationError
else:
    from importlib import import_module as _import_module

    _MODULES = {
        "BearerToken": "bearer_token",
        "HTTPValidationError": "http_validation_error",
        "LoginErrorCode": "login_error_code",
        "LoginForm": "login_form",
        "LoginRefusal": "login_refusal",
        "Resource": "resource",
        "Unauthorized": "unauthorized",
        "ValidationError": "validation_error",
    }

    def __getattr__(name):
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(_import_module(f".{module}", __name__), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = (
    "BearerToken",
    "HTTPValidationError",
    "LoginErrorCode",
    "LoginForm",
    "LoginRefusal",
    "Resource",
    "Unauthorized",
    "ValidationError",
)
