"""One TLS context per set of TLS settings, shared by all clients and logins.

Loading the CA bundle is what makes an `httpx.Client` expensive: about 20 ms and 800 KiB each (measured, httpx 0.28).
"""

from __future__ import annotations

import os
import ssl
import sys
import weakref
from typing import TypeAlias

import httpx

Verify: TypeAlias = bool | str | os.PathLike[str] | ssl.SSLContext | None
Cert: TypeAlias = str | tuple[str, ...]

# Weak, so that a context lives as long as a client uses it, and the next client reads a changed CA bundle.
_contexts: weakref.WeakValueDictionary[object, ssl.SSLContext] = weakref.WeakValueDictionary()


def shared_context(
    *, verify: Verify = True, cert: Cert | None = None, trust_env: bool = True
) -> tuple[ssl.SSLContext, str | None]:
    """The context for httpx's own settings: `verify`, `cert` and `trust_env` mean what they mean there.

    It does not raise, because a certificate may come with the password of its key.

    Returns:
        The context, and what is wrong with the settings, as the message of an error. None if nothing is wrong.
    """
    if isinstance(verify, ssl.SSLContext):
        if cert:
            return verify, "Load the client certificate into the SSLContext that you pass as verify=, without cert=."
        return verify, None
    try:
        verify = verify is None or (verify if isinstance(verify, bool) else os.fspath(verify))
        cert = (cert,) if isinstance(cert, str) else tuple(cert or ())
    except TypeError:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "verify= takes True, False, a path or an SSLContext."
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR") if trust_env else ()
    environment = tuple(os.environ.get(name) for name in (*names, "SSLKEYLOGFILE"))
    context, problem = _contexts.get((verify, cert, environment)), None
    if context is None:
        context, problem = _new_context(verify, cert, trust_env=trust_env)
        if problem is None:
            _contexts[verify, cert, environment] = context
    return context, problem


def _new_context(verify: str | bool, cert: tuple[str, ...], *, trust_env: bool) -> tuple[ssl.SSLContext, str | None]:  # noqa: FBT001 - httpx's own
    """A context, and what is wrong with the settings."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Python opens this file by itself whenever it makes a context that verifies.
    if verify and (problem := _key_log_problem(context)):
        return context, problem
    try:
        if isinstance(verify, bool) and not cert:
            return httpx.create_ssl_context(verify=verify, trust_env=trust_env), None
        from .certificates import load_context  # noqa: PLC0415 - rarely needed

        return load_context(verify, cert, trust_env=trust_env), None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        if isinstance(error, ssl.SSLError):
            why = "SSLError: not in PEM, or not the key or password that belongs to it"
        what = f"The certificates of SSL_CERT_FILE, verify= or cert= cannot be loaded ({why}). Check the paths."
        return context, what


def _key_log_problem(context: ssl.SSLContext) -> str | None:
    path = os.environ.get("SSLKEYLOGFILE")
    if path and not sys.flags.ignore_environment:
        try:
            context.keylog_filename = path
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            return f"The file of SSLKEYLOGFILE cannot be written ({why}). Unset it, or make its folder."
    return None
