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

Verify: TypeAlias = bool | str | os.PathLike[str] | ssl.SSLContext
Cert: TypeAlias = str | tuple[str, str] | tuple[str, str, str]

# Weak, so that a context lives as long as a client uses it, and a changed CA bundle is read by the next one.
_contexts: weakref.WeakValueDictionary[object, ssl.SSLContext] = weakref.WeakValueDictionary()


def shared_context(*, verify: Verify = True, cert: Cert | None = None, trust_env: bool = True) -> ssl.SSLContext:
    """The context for httpx's own settings: `verify`, `cert` and `trust_env` mean what they mean there.

    Raises:
        ConfigurationError: a certificate can not be loaded, or `cert` comes together with a context of the caller's.
    """
    if isinstance(verify, ssl.SSLContext):
        if not cert:
            return verify
        problem = "Load the client certificate into the SSLContext that you pass as verify=, without cert=."
    else:
        problem = None
        verify = verify if isinstance(verify, bool) else os.fspath(verify)
        environment = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")) if trust_env else None
        key = (verify, (cert,) if isinstance(cert, str) else tuple(cert or ()), environment)
        context = _contexts.get(key)
        if context is None:
            context, problem = _new_context(verify, key[1], trust_env=trust_env)
        if not problem:
            _contexts[key] = context
            return context
        del key
    del cert  # A crash reporter shows the locals of the frame that raises, and a key may come with its password.
    raise ConfigurationError(problem)


def _new_context(
    verify: bool | str,  # noqa: FBT001 - httpx's own type
    cert: tuple[str, ...],
    *,
    trust_env: bool,
) -> tuple[ssl.SSLContext, str | None]:
    """A context, and what is wrong with the settings. It does not raise, because its frame holds them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if isinstance(verify, bool):
            context = httpx.create_ssl_context(verify=verify, trust_env=trust_env)
        elif os.path.isdir(verify):  # noqa: PTH112 - httpx tells the two apart in the same way
            context = ssl.create_default_context(capath=verify)
        else:
            context = ssl.create_default_context(cafile=verify)
        if cert:
            chain, key, password = (*cert, None, None)[:3]
            # Without a password, OpenSSL would ask for one on the terminal, and a service would hang.
            context.load_cert_chain(str(chain), key, password or "")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
        why = why or type(error).__name__
        return (
            context,
            f"The certificates of verify=, cert= or SSL_CERT_FILE can not be loaded ({why}). Check the paths.",
        )
    return context, None
