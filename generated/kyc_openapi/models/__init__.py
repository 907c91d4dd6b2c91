# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
"""Contains all the data models used in inputs/outputs. Each is loaded at its first use."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._all import *
else:
    from importlib import import_module as _import_module

    # The module of each model. Python loads one string much faster than a dictionary with many entries.
    _MODULES = """
BearerToken bearer_token
HTTPValidationError http_validation_error
LoginErrorCode login_error_code
LoginForm login_form
LoginRefusal login_refusal
Resource resource
Unauthorized unauthorized
ValidationError validation_error
"""

    def __getattr__(name):
        module = _MODULES.partition(f"\n{name} ")[2].partition("\n")[0]
        if not module:
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
