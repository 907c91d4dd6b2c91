# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.login_error_code import LoginErrorCode

T = TypeVar("T", bound="LoginRefusal")


@_attrs_define
class LoginRefusal:
    """Why the credentials were not accepted.

    Attributes:
        detail (LoginErrorCode | str): Why a login was refused:

            - `LOGIN_BAD_CREDENTIALS`: the username or the password is wrong, or the user is inactive. The API does not tell
            which.
            - `LOGIN_USER_NOT_VERIFIED`: the user exists but is not verified.

            More codes may follow, so that any other string has to be expected as well.
    """

    detail: LoginErrorCode | str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that can be sent as JSON."""
        detail: str
        if isinstance(self.detail, LoginErrorCode):
            detail = self.detail.value
        else:
            detail = self.detail

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "detail": detail,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        """Make an object from parsed JSON. It is the reverse of `to_dict()`."""
        d = dict(src_dict)

        def _parse_detail(data: object) -> LoginErrorCode | str:
            try:
                if not isinstance(data, str):
                    raise TypeError()
                componentsschemas_login_error_code_login_error_code = LoginErrorCode(
                    data
                )

                return componentsschemas_login_error_code_login_error_code
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(LoginErrorCode | str, data)

        detail = _parse_detail(d.pop("detail"))

        login_refusal = cls(
            detail=detail,
        )

        login_refusal.additional_properties = d
        return login_refusal

    @property
    def additional_keys(self) -> list[str]:
        """The names of the fields that the document does not describe."""
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
