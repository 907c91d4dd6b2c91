# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
from enum import StrEnum


class LoginErrorCode(StrEnum):
    """One of the values that the document lists."""

    LOGIN_BAD_CREDENTIALS = "LOGIN_BAD_CREDENTIALS"
    LOGIN_USER_NOT_VERIFIED = "LOGIN_USER_NOT_VERIFIED"

    def __str__(self) -> str:
        return str(self.value)
