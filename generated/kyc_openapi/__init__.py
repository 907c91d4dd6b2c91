# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard

"""A client library for accessing KYC API"""

from .client import AuthenticatedClient, Client

__all__ = (
    "AuthenticatedClient",
    "Client",
)
