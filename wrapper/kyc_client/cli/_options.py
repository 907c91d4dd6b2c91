"""The options, the help and the exit of `kyc-client COMMAND`."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from kyc_client._version import __version__

from . import _commands
from ._exit import Exit, exit_table
from ._terminal import discard, fail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EXAMPLES = """\
examples:
  kyc-client check                  find out why the API does not work from here
  kyc-client get /api/v1/resource   log in, and call the API
  curl -H "Authorization: Bearer $(kyc-client token)" \\
      "$API_BASE_URL/api/v1/resource"
  kyc-client sandbox                run the API's login at http://127.0.0.1:8000

Address, login and password come from API_BASE_URL, API_LOGIN and API_PASSWORD.
API_LOGIN_FILE and API_PASSWORD_FILE may name files instead. No argument takes
a password, because other users of the machine can see arguments.
"""

# For each command: its line in the list of commands, its description, its examples.
_TEXTS: Mapping[str, tuple[str, str, str]] = {
    "check": (
        "find out why the API does not work from here",
        """\
Find out why the API does not work from this machine. The checks are, in this
order: variables, base URL, host name, connection, TLS, login, token, clock.
Checks that depend on a failed one are skipped. The report shows no password
and no token. Over https, the password is sent only after TLS has succeeded.
""",
        f"""\
examples:
  kyc-client check
  kyc-client check > /dev/null || echo "not ready: $?"

The exit status is the status of the first failed line.

{exit_table()}
""",
    ),
    "get": (
        "call the API and print the answer",
        """\
Call the API with GET and print the body of the answer on stdout, unchanged.
On a terminal, JSON is indented, and control characters are replaced by "?".
""",
        """\
examples:
  kyc-client get /api/v1/resource
  kyc-client get -i /api/v1/resource      with the status and the headers
  kyc-client get '/api/v1/items?page=2'   quotes keep the shell off the ?

Exit statuses: see kyc-client --help.
""",
    ),
    "token": (
        "log in and print the token",
        """\
Log in and print only the token on stdout, for curl or another HTTP client.
""",
        """\
examples:
  curl -H "Authorization: Bearer $(kyc-client token)" \\
      "$API_BASE_URL/api/v1/resource"
  kyc-client token --json           with token_type, expires_at and expires_in

Exit statuses: see kyc-client --help.
""",
    ),
    "sandbox": (
        "run the API's login on this machine, for trials and tests",
        """\
Run a real server with the API's login and one protected resource, until Ctrl-C.
It listens on 127.0.0.1 only. It prints the environment variables for your
service on stdout, and one line for each request on stderr.
""",
        """\
examples:
  kyc-client sandbox                      paste its lines into another shell
  kyc-client sandbox > sandbox.env        or let that shell read the file
  kyc-client sandbox --port 0             on any free port
  kyc-client sandbox --token-lifetime 10  tokens that expire after 10 s
  kyc-client sandbox --no-verification    let the unverified user log in as well
""",
    ),
}

_LONGEST_TIMEOUT = 3600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments without the program's name; None takes the arguments of the process.

    Returns:
        The exit status (see `Exit`). The reason for a status other than `OK` is on stderr, or in the report of `check`.

    Raises:
        SystemExit: With 0 after `--help` and `--version`, with 2 after a usage error, always with a message printed.
    """
    _open_what_is_closed()
    try:
        try:
            options = _parser().parse_args(argv)
            status: int = options.run(options)
        finally:
            # Flush now: if this failed while Python exits, we could not choose the exit status.
            sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        discard(sys.stdout)
        return Exit.PIPE_CLOSED
    except OSError as error:
        discard(sys.stdout)
        return fail(f"The output cannot be written ({error.strerror}).")
    return status


def _open_what_is_closed() -> None:
    """Open the null device as stdout or stderr where the shell has closed it (`>&-`): Python sets it to None."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the end
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as above


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kyc-client",
        description="Tools of the KYC API's Python client.",
        epilog=f"{_EXAMPLES}\n{exit_table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    options = {"check": _check_options, "get": _get_options, "token": _token_options, "sandbox": _sandbox_options}
    for name, (summary, description, examples) in _TEXTS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        options[name](command)
    return parser


def _check_options(command: argparse.ArgumentParser) -> None:
    _add_connection_options(command, timeout=10.0)
    command.set_defaults(run=_commands.check)


def _get_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", metavar="PATH", help="a path below API_BASE_URL, or a URL of the same origin")
    command.add_argument("-i", "--include", action="store_true", help="print the status and the headers too")
    _add_connection_options(command, timeout=30.0)
    command.set_defaults(run=_commands.get)


def _token_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print a JSON object with the token and its expiry")
    _add_connection_options(command, timeout=30.0)
    command.set_defaults(run=_commands.token)


def _add_connection_options(command: argparse.ArgumentParser, *, timeout: float) -> None:
    command.add_argument(
        "--timeout",
        type=_seconds,
        default=timeout,
        metavar="SECONDS",
        help="for each connect, read and write; a whole login ends after 20 s (default: %(default)g)",
    )
    command.add_argument(
        "--allow-insecure-http",
        action="store_true",
        help="for test networks: accept an http:// API_BASE_URL of another machine",
    )


def _sandbox_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--port",
        type=partial(_whole_number, highest=65_535),
        default=8000,
        help="TCP port to listen on; 0 takes a free one (default: %(default)s)",
    )
    command.add_argument(
        "--token-lifetime",
        type=partial(_whole_number, highest=1_000_000_000),
        default=3600,
        metavar="SECONDS",
        help="how long a token is valid; 0 means forever (default: %(default)s)",
    )
    command.add_argument(
        "--no-verification",
        dest="require_verification",
        action="store_false",
        help="let unverified users log in",
    )
    command.set_defaults(run=_commands.sandbox)


def _whole_number(text: str, highest: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= highest):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {highest}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    # `not 0 < seconds` refuses NaN too. `seconds <= 0` would accept it.
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds greater than 0 and at most {_LONGEST_TIMEOUT:g}"
        )
    return seconds
