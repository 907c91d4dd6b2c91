"""One TLS context per set of TLS settings, shared by all clients and logins.

Loading the CA bundle is what makes an `httpx.Client` expensive: about 20 ms and 800 KiB each (measured, httpx 0.28).
"""

from __future__ import annotations

import os
import ssl
import weakref
from typing import TypeAlias

import httpx

from .errors import ConfigurationError

Verify: TypeAlias = bool | str | ssl.SSLContext
Cert: TypeAlias = str | tuple[str, str] | tuple[str, str, str]

# Weak, so that a context lives as long as a client uses it, and a changed CA bundle is read by the next one.
_contexts: weakref.WeakValueDictionary[object, ssl.SSLContext] = weakref.WeakValueDictionary()


def shared_context(*, verify: Verify = True, cert: Cert | None = None, trust_env: bool = True) -> ssl.SSLContext:
    """The context for httpx's own settings: `verify`, `cert` and `trust_env` mean what they mean there.

    Raises:
        ConfigurationError: a certificate can not be loaded, or `cert` comes together with a context of the caller's.
    """
    if isinstance(verify, ssl.SSLContext):
        if cert:
            raise ConfigurationError(
                "Load the client certificate into the SSLContext that you pass as verify=, without cert=."
            )
        return verify
    environment = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")) if trust_env else None
    key = (verify, cert, environment)
    context = _contexts.get(key)
    if context is None:
        context = _contexts[key] = _new_context(verify=verify, cert=cert, trust_env=trust_env)
    return context


def _new_context(*, verify: bool | str, cert: Cert | None, trust_env: bool) -> ssl.SSLContext:
    try:
        if isinstance(verify, str):
            is_folder = os.path.isdir(verify)  # noqa: PTH112 - httpx tells the two apart in the same way
            context = ssl.create_default_context(
                cafile=None if is_folder else verify, capath=verify if is_folder else None
            )
        else:
            context = httpx.create_ssl_context(verify=verify, trust_env=trust_env)
        if cert:
            context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    except (OSError, ssl.SSLError) as error:
        problem = type(error).__name__ if isinstance(error, ssl.SSLError) else error.strerror
    else:
        return context
    # Raised outside of the `except`: the frames of the failure hold the password of the key.
    raise ConfigurationError(
        f"The certificates given as verify= or cert= can not be loaded ({problem}). Check the paths."
    )
