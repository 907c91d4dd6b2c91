"""Tokens that look like the API's, with a fake signature."""

from __future__ import annotations

import base64
import json
from typing import Any


def jwt(**claims: Any) -> str:
    """Return a JWT with these claims. `exp` is cut to whole seconds, because servers do that too."""
    if "exp" in claims:
        claims["exp"] = int(claims["exp"])
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "fake-user", **claims})
    return ".".join([*(_encode(json.dumps(part)) for part in parts), "fake-signature"])


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
