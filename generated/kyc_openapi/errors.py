# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
"""Contains shared errors types that can be raised from API functions"""

from typing import Any


class UnexpectedStatus(Exception):
    """Raised by api functions when the response status an undocumented status and Client.raise_on_unexpected_status is True"""

    def __init__(self, status_code: int, content: bytes):
        self.status_code = status_code
        self.content = content

        super().__init__(f"Unexpected status code: {status_code}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the arguments of `__init__`, because `args` holds only the message."""
        return type(self), (self.status_code, self.content), self.__dict__


__all__ = ["UnexpectedStatus"]
