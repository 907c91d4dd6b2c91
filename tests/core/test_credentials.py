"""Credentials and where they come from: taken as they are, or refused in one error that names all and shows nothing."""

from __future__ import annotations

import inspect
import os
import pydoc
import subprocess
import sys
import threading

import pytest

from kyc_client import ConfigurationError, Credentials
from kyc_client._login import secret_file as files
from kyc_client._login.credentials import EnvironmentCredentials, check_environment, read_environment
from tests.core.test_secret import rendered

CANARY = "canary-81d2"
GOOD = {"API_LOGIN": "fake-user@example.com", "API_PASSWORD": "fake-password-for-tests"}
LIMIT = 64 * 1024

# Passwords are sent as they are, so each of these has to come through unchanged.
EXACT = {
    "ampersand, equals, plus, percent": "a&b=c+d%e",
    "inner space": "correct horse battery",
    "space at both ends": " fake ",
    "quotes and backslashes": "\"fake'\\n",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "emoji": "\N{KEY}\N{GRINNING FACE}",
    "no-break space": "fake\u00a0password",
    "long": "x" * 1024,
}


def caught(environ):
    """The error of these variables, as text."""
    with pytest.raises(ConfigurationError) as info:
        Credentials.from_env(environ)
    return str(info.value)


def problems(environ):
    """The lines of that error, one for each variable."""
    return [line.removeprefix("  - ") for line in caught(environ).splitlines()[1:]]


@pytest.fixture
def secret_file(tmp_path):
    """Writes a secret file and returns the environment that names it."""

    def write(content: bytes) -> dict[str, str]:
        path = tmp_path / f"{CANARY}-path"
        path.write_bytes(content)
        return {"API_LOGIN": GOOD["API_LOGIN"], "API_PASSWORD_FILE": str(path)}

    return write


# The caller's own


@pytest.mark.parametrize("text", [*EXACT.values(), "tab\tinside", "line\nfeed", " "], ids=repr)
def test_given_by_the_caller(text):
    """E1, E15: credentials that the caller makes are taken as they are, control characters included."""
    credentials = Credentials(text, text)
    assert (credentials.username, credentials.password) == (text, text)


BAD_VALUES = {
    "empty": ("", "not empty"),
    "None": (None, "must be a string"),
    "bytes": (b"canary-81d2", "must be a string"),
    "surrogate": ("canary-81d2\udc80", "UTF-8"),
}


@pytest.mark.parametrize("field", ["username", "password"])
@pytest.mark.parametrize(("value", "why"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_given_by_the_caller_and_unusable(field, value, why):
    """E3: what cannot be a login or password is refused by name, and the message does not repeat it."""
    values = {"username": "fake", "password": "fake", field: value}
    with pytest.raises(ConfigurationError, match=rf"^The {field} of Credentials .*{why}") as info:
        Credentials(**values)
    assert CANARY not in str(info.value)


@pytest.mark.parametrize("field", ["username", "password"])
def test_no_frame_shows_what_the_caller_gave(field):
    """H3: a crash report of refused credentials shows neither the bad value nor, in a frame's locals, the good one."""
    values = {"username": f"{CANARY}-good", "password": f"{CANARY}-good", field: f"{CANARY}\udc80"}
    with pytest.raises(ConfigurationError) as info:
        Credentials(**values)
    assert CANARY not in rendered(info.value)


# The environment


@pytest.mark.parametrize("text", EXACT.values(), ids=EXACT)
def test_environment(text):
    """E1, E15: `API_LOGIN` and `API_PASSWORD` are taken as they are: not stripped, normalised or folded."""
    assert Credentials.from_env({"API_LOGIN": text, "API_PASSWORD": text}) == Credentials(text, text)


def test_environment_of_the_process(monkeypatch):
    """E5: without an argument the process's own environment is read, as it is at that moment."""
    for password in ("first-fake", "second-fake"):
        monkeypatch.setenv("API_LOGIN", "fake-user")
        monkeypatch.setenv("API_PASSWORD", password)
        assert Credentials.from_env() == Credentials("fake-user", password)


def test_the_default_is_the_environment_of_the_moment(monkeypatch):
    """E5: the default is `os.environ`, not a copy made at import."""
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert Credentials.from_env() == Credentials(GOOD["API_LOGIN"], GOOD["API_PASSWORD"])


def test_help_shows_no_environment(monkeypatch):
    """A default of `os.environ` would be printed by `help()`, and in the hints of editors, with all that is in it."""
    monkeypatch.setenv("API_PASSWORD", CANARY)
    assert CANARY not in pydoc.render_doc(Credentials)
    assert CANARY not in str(inspect.signature(Credentials.from_env))


BAD_ENVIRONMENT = {
    "unset": (None, "API_PASSWORD is not set"),
    "empty": ("", "API_PASSWORD is empty"),
    "spaces": ("   ", "API_PASSWORD is empty"),
    "only a newline": ("\n", "API_PASSWORD is empty"),
    "newline at the end": (f"{CANARY}\n", "API_PASSWORD ends with a newline"),
    "CRLF at the end": (f"{CANARY}\r\n", "API_PASSWORD ends with a newline"),
    "newline inside": (f"{CANARY}\n{CANARY}", "API_PASSWORD holds a control character"),
    "carriage return at the end": (f"{CANARY}\r", "API_PASSWORD holds a control character"),
    "tab": (f"{CANARY}\t{CANARY}", "API_PASSWORD holds a control character"),
    "NUL": (f"{CANARY}\0", "API_PASSWORD holds a control character"),
    "DEL": (f"{CANARY}\x7f", "API_PASSWORD holds a control character"),
    "C1": (f"{CANARY}\x85", "API_PASSWORD holds a control character"),
    "undecodable bytes": (os.fsdecode(CANARY.encode() + b"\xff"), "API_PASSWORD is not valid UTF-8"),
}


@pytest.mark.parametrize(("value", "problem"), BAD_ENVIRONMENT.values(), ids=BAD_ENVIRONMENT)
def test_bad_environment(value, problem):
    """E2, E3: what is certainly not meant as a password is refused, with the variable's name and without its value."""
    environ = {"API_LOGIN": GOOD["API_LOGIN"]} | ({} if value is None else {"API_PASSWORD": value})
    (line,) = problems(environ)
    assert line.startswith(problem)
    assert CANARY not in line


@pytest.mark.parametrize("value", [None, "", " "])
def test_missing_says_how_to_set_it(value):
    """E3: where nothing is set, the error tells of both ways to set it."""
    environ = {"API_LOGIN": GOOD["API_LOGIN"]} | ({} if value is None else {"API_PASSWORD": value})
    assert problems(environ)[0].endswith("(set it, or set API_PASSWORD_FILE to the path of a file that holds it)")


def test_all_problems_at_once(tmp_path):
    """E3: one error names every variable that is missing or unusable, each on a line of its own."""
    environ = {"API_LOGIN": "", "API_PASSWORD_FILE": str(tmp_path / "nowhere")}
    values, problem = read_environment(environ, "API_BASE_URL", "API_LOGIN", "API_PASSWORD")
    assert values == {}
    first, *lines = str(problem).splitlines()
    assert first == "The environment is not usable for the KYC API:"
    assert [line.split()[:2] for line in lines] == [
        ["-", "API_BASE_URL"],
        ["-", "API_LOGIN"],
        ["-", "API_PASSWORD_FILE"],
    ]


def test_only_what_is_asked_for():
    """Only the variables that are asked for are read and complained about."""
    environ = {"API_BASE_URL": "https://kyc.example.com"}
    assert read_environment(environ, "API_BASE_URL") == (environ, None)


def test_base_url_has_no_file():
    """A base URL is no secret, so `API_BASE_URL_FILE` means nothing and is not offered."""
    _, problem = read_environment({"API_BASE_URL_FILE": os.devnull}, "API_BASE_URL")
    (line,) = str(problem).splitlines()[1:]
    assert line.startswith("  - API_BASE_URL is not set (set it to")
    assert "_FILE" not in line


def test_mended():
    """E3: a complaint is not remembered: once the variable is set, the next reading works."""
    environ = {"API_LOGIN": GOOD["API_LOGIN"]}
    assert "API_PASSWORD is not set" in caught(environ)
    environ["API_PASSWORD"] = GOOD["API_PASSWORD"]
    assert Credentials.from_env(environ).password == GOOD["API_PASSWORD"]


# Secret files


@pytest.mark.parametrize("text", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["no newline", "LF", "CRLF"])
def test_file(secret_file, text, end):
    """E2: a secret file holds the secret as it is, and may end with the one newline that editors and `echo` add."""
    assert Credentials.from_env(secret_file((text + end).encode())).password == text


def test_both_from_files(tmp_path):
    """The login may come from a file as well."""
    for name in ("login", "password"):
        (tmp_path / name).write_text(f"fake-{name}\n")
    environ = {"API_LOGIN_FILE": str(tmp_path / "login"), "API_PASSWORD_FILE": str(tmp_path / "password")}
    assert Credentials.from_env(environ) == Credentials("fake-login", "fake-password")


def test_file_is_read_each_time(secret_file):
    """E5: a secret that is rotated in its file is picked up by the next reading."""
    for password in ("first-fake", "second-fake"):
        assert Credentials.from_env(secret_file(password.encode())).password == password


def test_longest_file(secret_file):
    """A file of 64 KiB is read whole."""
    assert Credentials.from_env(secret_file(b"x" * LIMIT)).password == "x" * LIMIT


BAD_FILES = {
    "empty": (b"", "names a file that is empty"),
    "only a newline": (b"\n", "names a file that is empty"),
    "blank": (b" \n", "names a file that is empty"),
    "two newlines": (f"{CANARY}\n\n".encode(), "names a file that ends with a newline"),
    "two lines": (f"{CANARY}\n{CANARY}\n".encode(), "names a file that holds a control character"),
    "carriage return": (f"{CANARY}\r".encode(), "names a file that holds a control character"),
    "NUL": (f"{CANARY}\0".encode(), "names a file that holds a control character"),
    "too long by one byte": (CANARY.encode().ljust(LIMIT + 1, b"x"), "names a file that is longer than 65536 bytes"),
    "not UTF-8": (CANARY.encode() + b"\xff", "names a file that is not UTF-8"),
    "UTF-16": (CANARY.encode("utf-16"), "names a file that is not UTF-8"),
}


@pytest.mark.parametrize(("content", "problem"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file(secret_file, content, problem):
    """E2, E3: a file that holds no credential is refused under its variable's name, without its content or its path."""
    (line,) = problems(secret_file(content))
    assert line.startswith(f"API_PASSWORD_FILE {problem}")
    assert CANARY not in line


BAD_PATHS = {
    "nowhere": (f"/{CANARY}/nowhere", "names a file that cannot be read (No such file or directory)"),
    # The commonest mistake: the secret itself in the variable for the path.
    "the password itself": (f"{CANARY} password", "names a file that cannot be read (No such file or directory)"),
    "too long for a path": (CANARY * 1000, "names a file that cannot be read (File name too long)"),
    "below a file": (f"{os.devnull}/{CANARY}", "names a file that cannot be read (Not a directory)"),
    "NUL": (f"{CANARY}\0", "names a file that cannot be read (this is not a path)"),
    "surrogates that are no bytes": (f"{CANARY}\ud800", "names a file that cannot be read (this is not a path)"),
    "empty": ("", "names a file that cannot be read (No such file or directory)"),
    "endless": ("/dev/zero", "names a file that is longer than 65536 bytes"),
}


@pytest.mark.parametrize(("path", "problem"), BAD_PATHS.values(), ids=BAD_PATHS)
def test_bad_path(path, problem):
    """A file that cannot be read is refused under its variable's name; the path may be a secret and is not shown."""
    (line,) = problems({"API_LOGIN": GOOD["API_LOGIN"], "API_PASSWORD_FILE": path})
    assert line.startswith(f"API_PASSWORD_FILE {problem}")
    assert CANARY not in line


def test_directory(tmp_path):
    """A directory is refused; this is what a container mounts where the secret does not exist."""
    (line,) = problems({"API_LOGIN": GOOD["API_LOGIN"], "API_PASSWORD_FILE": str(tmp_path)})
    assert line == "API_PASSWORD_FILE names a file that cannot be read (Is a directory)"


def test_unreadable(secret_file, monkeypatch):
    """A file that this user may not read is refused with the system's reason."""
    environ = secret_file(CANARY.encode())

    def forbid(*_: object, **__: object) -> None:
        # Root, as which containers run tests, may read every file.
        raise PermissionError(13, "Permission denied", CANARY)

    monkeypatch.setattr("kyc_client._login.secret_file.open", forbid, raising=False)
    (line,) = problems(environ)
    assert line == "API_PASSWORD_FILE names a file that cannot be read (Permission denied)"


def test_error_without_a_reason(secret_file, monkeypatch):
    """Where the system gives no reason, the kind of its error is named."""
    environ = secret_file(CANARY.encode())

    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr("kyc_client._login.secret_file.open", fail, raising=False)
    assert problems(environ) == ["API_PASSWORD_FILE names a file that cannot be read (BlockingIOError)"]


@pytest.mark.parametrize("value", [CANARY, ""], ids=["set", "set to nothing"])
def test_both_set(secret_file, value):
    """A variable and its file at the same time are refused: one of them would be ignored in silence."""
    environ = {**secret_file(CANARY.encode()), "API_PASSWORD": value}
    assert problems(environ) == ["API_PASSWORD and API_PASSWORD_FILE are both set; unset one of them"]


# What a crash reporter sees


@pytest.mark.parametrize("missing", ["API_LOGIN", "API_PASSWORD"])
def test_no_frame_shows_the_other_variable(missing):
    """H3: where one variable is missing, a crash report shows neither the value nor the file of the other one."""
    environ = {"API_LOGIN": f"{CANARY}-login", "API_PASSWORD": f"{CANARY}-password", "OTHER": f"{CANARY}-other"}
    del environ[missing]
    with pytest.raises(ConfigurationError) as info:
        Credentials.from_env(environ)
    assert CANARY not in rendered(info.value)


def test_no_frame_shows_the_environment(monkeypatch):
    """H3: nor does it show the process's environment, in which the secrets of others lie too."""
    monkeypatch.setenv("API_LOGIN", f"{CANARY}-login")
    monkeypatch.setenv("ANOTHER_SECRET", f"{CANARY}-other")
    with pytest.raises(ConfigurationError) as info:
        Credentials.from_env()
    assert CANARY not in rendered(info.value)


@pytest.mark.parametrize("value", [value for value, _ in BAD_ENVIRONMENT.values() if value and CANARY in value])
def test_no_frame_shows_the_bad_value(value):
    """H3: a crash report of a value that was refused does not show it."""
    with pytest.raises(ConfigurationError) as info:
        Credentials.from_env({"API_LOGIN": GOOD["API_LOGIN"], "API_PASSWORD": value})
    assert CANARY not in rendered(info.value)


@pytest.mark.parametrize(("content", "_"), BAD_FILES.values(), ids=BAD_FILES)
def test_no_frame_shows_the_file(secret_file, content, _):
    """H3: a crash report of a file that was refused shows neither its content nor its path, which may be the secret."""
    with pytest.raises(ConfigurationError) as info:
        Credentials.from_env(secret_file(content))
    assert CANARY not in rendered(info.value)


@pytest.mark.parametrize("path", [path for path, _ in BAD_PATHS.values() if CANARY in path])
def test_no_frame_shows_the_path(path):
    """H3: a crash report of a path that cannot be read does not show it."""
    with pytest.raises(ConfigurationError) as info:
        Credentials.from_env({"API_LOGIN": GOOD["API_LOGIN"], "API_PASSWORD_FILE": path})
    assert CANARY not in rendered(info.value)


# What can be read only once


@pytest.fixture
def fifo(tmp_path, monkeypatch):
    """A FIFO as API_PASSWORD_FILE, and a function that writes to it in a thread."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    monkeypatch.setenv("API_LOGIN", GOOD["API_LOGIN"])
    monkeypatch.setenv("API_PASSWORD_FILE", str(path))
    writers = []

    def write(*pieces: bytes) -> None:
        def run() -> None:
            with path.open("wb", buffering=0) as file:
                for piece in pieces:
                    file.write(piece)
                    threading.Event().wait(0.02)

        writers.append(threading.Thread(target=run, daemon=True))
        writers[-1].start()

    yield write
    for writer in writers:
        writer.join(10)
        assert not writer.is_alive()


def test_fifo_is_read_once(fifo):
    """`connect()` looks at a FIFO without reading it. The first login reads it, and the others use what it read."""
    assert check_environment("API_LOGIN", "API_PASSWORD") == (None, None)
    source = EnvironmentCredentials()
    fifo(f"{CANARY}-".encode(), b"password\n")
    for _ in range(3):
        assert source() == Credentials(GOOD["API_LOGIN"], f"{CANARY}-password")
    assert CANARY not in repr(source)
    assert not hasattr(source, "__dict__")


def test_fifo_that_nobody_writes_to(fifo, monkeypatch):
    """A FIFO without a writer is an error after a while. It is tried again by the next login."""
    monkeypatch.setattr(files, "_MAX_WAIT", 0.05)
    source = EnvironmentCredentials()
    with pytest.raises(ConfigurationError, match=r"cannot be read \(nothing came within 0.05 s\)"):
        source()
    monkeypatch.setattr(files, "_MAX_WAIT", 10.0)
    fifo(b"fake")
    assert source().password == "fake"


def test_fifo_whose_writer_says_nothing(fifo, monkeypatch):
    """A FIFO that is open for writing and stays empty does not hold up a login for ever."""
    monkeypatch.setattr(files, "_MAX_WAIT", 0.05)
    path = os.environ["API_PASSWORD_FILE"]
    both = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(ConfigurationError, match="nothing came"):
            EnvironmentCredentials()()
    finally:
        os.close(both)


def test_descriptor(monkeypatch):
    """A shell's `API_PASSWORD_FILE=<(command)` is a pipe, which is read once."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"fake-password\n")
        monkeypatch.setenv("API_LOGIN", GOOD["API_LOGIN"])
        monkeypatch.setenv("API_PASSWORD_FILE", f"/dev/fd/{reading}")
        assert check_environment("API_LOGIN", "API_PASSWORD") == (None, None)
        os.close(writing)
        source = EnvironmentCredentials()
        assert [source().password for _ in range(2)] == ["fake-password"] * 2
    finally:
        os.close(reading)


def test_regular_file_is_read_each_time(secret_file, monkeypatch):
    """A secret that was rotated in its file is picked up."""
    for name, value in secret_file(b"first").items():
        monkeypatch.setenv(name, value)
    source = EnvironmentCredentials()
    assert source().password == "first"
    secret_file(b"second")
    assert source().password == "second"


def test_environment_is_read_at_each_login(monkeypatch):
    """So is one in the environment, and what is missing is an error that shows nothing."""
    source = EnvironmentCredentials()
    monkeypatch.setenv("API_LOGIN", CANARY)
    with pytest.raises(ConfigurationError, match="API_PASSWORD is not set") as info:
        source()
    assert CANARY not in rendered(info.value)
    monkeypatch.setenv("API_PASSWORD", "fake")
    assert source() == Credentials(CANARY, "fake")


def test_check(monkeypatch, secret_file, tmp_path):
    """A check names all that is missing or unusable, and returns the base URL and no secret."""
    monkeypatch.setenv("API_BASE_URL", "https://kyc.example.com")
    value, problem = check_environment("API_BASE_URL", "API_LOGIN", "API_PASSWORD")
    assert value == "https://kyc.example.com"
    assert "API_LOGIN is not set" in problem
    assert "API_PASSWORD is not set" in problem
    for name, text in secret_file(b"fake").items():
        monkeypatch.setenv(name, text)
    assert check_environment("API_BASE_URL", "API_LOGIN", "API_PASSWORD") == ("https://kyc.example.com", None)
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        monkeypatch.setenv("API_PASSWORD_FILE", str(path))
        assert why in check_environment("API_PASSWORD")[1]
    assert files.look_at("\0") == ("", "cannot be read (this is not a path)")


def test_fifo_that_vanishes(fifo):
    """What was read once is used even if its file has gone."""
    source = EnvironmentCredentials()
    fifo(b"fake")
    assert source().password == "fake"
    os.unlink(os.environ["API_PASSWORD_FILE"])  # noqa: PTH108 - a string
    assert source().password == "fake"


@pytest.mark.parametrize(("raw", "good"), [("caf\u00e9-\N{KEY}".encode(), True), (b"caf\xe9", False)])
def test_password_in_another_locale(raw, good):
    """With `LC_ALL=C` Python reads UTF-8 as ASCII. The password is taken as it is, and what is not UTF-8 is refused."""
    code = """
from kyc_client import ConfigurationError, Credentials
try:
    print(ascii(Credentials.from_env().password))
except ConfigurationError as error:
    print(ascii(str(error)))
"""
    environ = {b"LC_ALL": b"C", b"PYTHONUTF8": b"0", b"PYTHONCOERCECLOCALE": b"0"}
    environ |= {b"API_LOGIN": b"fake", b"API_PASSWORD": raw, b"PATH": os.environb[b"PATH"]}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True, timeout=60)  # noqa: S603 - our own code
    assert (done.stdout.decode().strip() == ascii(raw.decode("utf-8", "replace"))) is good
    assert (b"API_PASSWORD is not valid UTF-8" in done.stdout) is not good
