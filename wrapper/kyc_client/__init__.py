"""The client of a KYC provider's API: generated operations, and a login that the client keeps valid by itself.

import kyc_client
from kyc_openapi.api.resource import get_resource

with kyc_client.connect() as client:
    resource = get_resource.sync(client=client)
"""

from . import errors
from ._auth import LoginAuth
from ._client import Client, connect
from ._login.credentials import Credentials
from ._token.lease import Token
from ._token.policy import LoginStatus
from ._version import __version__ as __version__
from .errors import (
    BadCredentialsError,
    ConfigurationError,
    KYCClientError,
    LoginError,
    LoginRefusedError,
    LoginResponseError,
    LoginUnavailableError,
    LoginValidationError,
    UserNotVerifiedError,
)

__all__ = [
    "BadCredentialsError",
    "Client",
    "ConfigurationError",
    "Credentials",
    "KYCClientError",
    "LoginAuth",
    "LoginError",
    "LoginRefusedError",
    "LoginResponseError",
    "LoginStatus",
    "LoginUnavailableError",
    "LoginValidationError",
    "Token",
    "UserNotVerifiedError",
    "connect",
    "errors",
]
