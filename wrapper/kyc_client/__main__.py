"""`python -m kyc_client`, the same as `kyc-client`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
