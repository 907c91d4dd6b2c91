"""Certificates of the caller's: `verify=` with a path, and `cert=`. Loaded only where there are some."""

from __future__ import annotations

import os
import ssl

import httpx


def load_context(verify: bool | str, cert: tuple[str, ...], *, trust_env: bool) -> ssl.SSLContext:  # noqa: FBT001 - httpx's own type
    """A context with these certificates.

    Raises:
        OSError: a file cannot be read, or holds something else (`ssl.SSLError`).
        ValueError: a path cannot be one.
    """
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
    return context
