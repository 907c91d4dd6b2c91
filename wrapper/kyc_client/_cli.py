"""The command line, `kyc-client COMMAND`. A command imports what it needs when it runs: `--help` is quick."""

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import sleep

from kyc_client._version import __version__

_EXAMPLES = """\
examples:
  kyc-client sandbox                        the API's login on this machine, at http://127.0.0.1:8000
  kyc-client sandbox --port 0               the same on any free port
  kyc-client sandbox --token-lifetime 10    tokens that expire after 10 s: watch a client renew them
"""

_SANDBOX = """\
Run a real server with the API's login and one protected resource, on 127.0.0.1 only, until Ctrl-C.
The variables with which a service finds it go to stdout; one line for each request goes to stderr.
"""

_SANDBOX_EXAMPLES = """\
examples:
  kyc-client sandbox                        then paste the printed lines into the shell of your service
  kyc-client sandbox > sandbox.env          or let that shell read them: . ./sandbox.env
  kyc-client sandbox --no-verification      let the unverified user log in as well
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments, without the program's name; None takes the process's own.

    Returns:
        The exit status: 0, or 1 after one line on stderr that says what went wrong.

    Raises:
        SystemExit: 0 after `--help` and `--version`, 2 after a usage error; what there is to say is printed.
    """
    arguments = _parser().parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kyc-client",
        description="Tools of the KYC API's Python client.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # Each command adds its options here and names the function that runs it.
    _add_sandbox(commands.add_parser)
    return parser


def _add_sandbox(add_command: Callable[..., argparse.ArgumentParser]) -> None:
    command = add_command(
        "sandbox",
        help="run the API's login on this machine, to try things against",
        description=_SANDBOX,
        epilog=_SANDBOX_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
        help="how long a token is valid; 0 means for ever (default: %(default)s)",
    )
    command.add_argument(
        "--no-verification",
        dest="require_verification",
        action="store_false",
        help="let unverified users log in",
    )
    command.set_defaults(run=_sandbox)


def _whole_number(text: str, highest: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= highest):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {highest}")
    return int(text)


def _sandbox(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, also where the shell had SIGINT ignored (a background job)."""
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _serve_sandbox(arguments)
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _serve_sandbox(arguments: argparse.Namespace) -> int:
    try:
        from kyc_client.sandbox import Sandbox, SandboxError  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        return _fail(error)
    try:
        with Sandbox(
            port=arguments.port,
            token_lifetime=arguments.token_lifetime,
            require_verification=arguments.require_verification,
            log=_tell,
        ) as sandbox:
            _tell(f"The sandbox serves at {sandbox.base_url}. Paste this into the shell of your service:")
            for name, value in sandbox.environ.items():
                print(f"export {name}={shlex.quote(value)}", flush=True)
            unverified = "LOGIN_USER_NOT_VERIFIED" if arguments.require_verification else "may log in"
            _tell("Other users, with the same password:")
            _tell(f"  {sandbox.inactive.username}    LOGIN_BAD_CREDENTIALS")
            _tell(f"  {sandbox.unverified.username}  {unverified}")
            _tell("Requests (Ctrl-C ends the sandbox):")
            while True:
                # A sleep, since that is what a signal interrupts on every platform.
                sleep(1)
    except SandboxError as error:
        return _fail(error)


def _fail(error: Exception) -> int:
    _tell(f"kyc-client: error: {error}")
    return 1


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
