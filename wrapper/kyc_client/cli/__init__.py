"""The command line: `kyc-client COMMAND`."""

from ._options import main

__all__ = ["main"]
