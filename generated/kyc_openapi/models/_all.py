# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
"""Contains all the data models used in inputs/outputs"""

from .bearer_token import BearerToken
from .http_validation_error import HTTPValidationError
from .login_error_code import LoginErrorCode
from .login_form import LoginForm
from .login_refusal import LoginRefusal
from .resource import Resource
from .unauthorized import Unauthorized
from .validation_error import ValidationError

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
