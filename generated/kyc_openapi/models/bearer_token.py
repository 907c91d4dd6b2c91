# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="BearerToken")


@_attrs_define
class BearerToken:
    """The answer to a successful login.

    Attributes:
        access_token (str): The JWT to use for authenticated calls.
        token_type (str): Always `bearer`.
    """

    access_token: str = _attrs_field(repr=False)
    token_type: str
    additional_properties: dict[str, Any] = _attrs_field(
        repr=False, init=False, factory=dict
    )

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that can be sent as JSON."""
        access_token = self.access_token

        token_type = self.token_type

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "access_token": access_token,
                "token_type": token_type,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        """Make an object from parsed JSON. It is the reverse of `to_dict()`."""
        d = dict(src_dict)
        access_token = d.pop("access_token")

        token_type = d.pop("token_type")

        bearer_token = cls(
            access_token=access_token,
            token_type=token_type,
        )

        bearer_token.additional_properties = d
        return bearer_token

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
