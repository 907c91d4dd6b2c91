"""`tools/size.py`: what counts as a line of code, and what is too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools import size

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        pytest.param("", set(), id="nothing"),
        pytest.param("a = 1\n\n\nb = 2\n", {1, 4}, id="blank lines"),
        pytest.param("# why\na = 1  # what\n    # indented\n", {2}, id="comments"),
        pytest.param('"""One line."""\na = 1\n', {2}, id="docstring of a module"),
        pytest.param('def f():\n    """Two\n\n    lines."""\n    return 1\n', {1, 5}, id="docstring of several lines"),
        pytest.param('class A:\n    """Only this."""\n', {1}, id="docstring alone"),
        pytest.param('a = 1\n"""What `a` is,\nin two lines."""\nb = 2\n', {1, 4}, id="text below a name"),
        pytest.param("f(\n    1,\n    2,\n)\n", {1, 2, 3, 4}, id="statement of several lines"),
        pytest.param("f(\n    1,\n    # why\n\n    2,\n)\n", {1, 2, 5, 6}, id="comment and blank line inside of one"),
        pytest.param('a = """one\n\nthree"""\n', {1, 2, 3}, id="string that is a value"),
        pytest.param('f("""\ntext\n""")\n', {1, 2, 3}, id="string that is an argument"),
        pytest.param("a = 1; b = 2\n", {1}, id="two statements on a line"),
        pytest.param("@d\ndef f(): ...\n", {1, 2}, id="decorator"),
    ],
)
def test_lines_of_code(source: str, lines: set[int]) -> None:
    """A line counts if it holds anything except a comment or a part of a docstring."""
    assert size.lines_of_code(source) == lines


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_function_that_is_too_long(tmp_path: Path, kind: str) -> None:
    """A function may have exactly as many lines of code as its limit. Its docstring and comments do not count."""
    head = f'{kind} f():\n    """A docstring."""\n\n    # A comment.\n'
    path = tmp_path / "module.py"
    path.write_text(f"a = 1\n{head}" + "    a = 1\n" * (size.FUNCTION - 1), "utf-8")
    assert list(size.too_long(path)) == []
    path.write_text(f"a = 1\n{head}" + "    a = 1\n" * size.FUNCTION, "utf-8")
    assert list(size.too_long(path)) == ["module.py:2: f has 41 lines of code. The limit is 40."]


def test_class_that_is_too_long(tmp_path: Path) -> None:
    """The methods of a class count for it, and a class may be longer than a function."""
    method = "    def f(self):\n        return 1\n\n"
    path = tmp_path / "module.py"
    path.write_text("class A:\n    a = 1\n" + method * (size.CLASS // 2 - 1), "utf-8")
    assert list(size.too_long(path)) == []
    path.write_text("class A:\n    a = 1\n" + method * (size.CLASS // 2), "utf-8")
    assert list(size.too_long(path)) == ["module.py:1: A has 202 lines of code. The limit is 200."]


def test_method_that_is_too_long(tmp_path: Path) -> None:
    """A function counts by itself wherever it is defined."""
    path = tmp_path / "module.py"
    path.write_text("class A:\n    def f(self):\n" + "        a = 1\n" * size.FUNCTION, "utf-8")
    assert list(size.too_long(path)) == ["module.py:2: f has 41 lines of code. The limit is 40."]


@pytest.mark.parametrize(
    "path", sorted(size.PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(size.PACKAGE))
)
def test_this_repository(path: Path) -> None:
    """No class and no function of the library is too long."""
    assert list(size.too_long(path)) == []


def test_loaded() -> None:
    """What a plain `connect()` loads includes the core, and not what it never needs."""
    names = {path.relative_to(size.PACKAGE).as_posix(): lines for path, lines in size.loaded().items()}
    assert names.keys() >= {"__init__.py", "_auth.py", "_client.py"}
    assert {name for name in names if name.startswith(("cli/", "testing/", "sandbox/"))} == set()
    assert names["_auth.py"] == len(size.lines_of_code((size.PACKAGE / "_auth.py").read_text("utf-8")))


@pytest.mark.parametrize(
    ("lines", "status", "verdict"),
    [(size.LOADED, 0, f"{size.LOADED:6} lines of code"), (size.LOADED + 1, 1, f"{size.LOADED + 1:6} lines of code")],
)
def test_exit_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    lines: int,
    status: int,
    verdict: str,
) -> None:
    """The status is 1 if the core as a whole has more lines than its limit."""
    monkeypatch.setattr(size, "PACKAGE", tmp_path)
    monkeypatch.setattr(size, "loaded", lambda: {tmp_path / "module.py": lines})
    monkeypatch.setattr("sys.argv", ["size"])
    assert size.main() == status
    assert capsys.readouterr().out == (
        f"{lines:6} module.py\n{verdict} that a plain connect() loads. The limit is {size.LOADED}.\n"
    )


def test_exit_status_of_a_function_that_is_too_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The status is 1, and the function is named."""
    (tmp_path / "module.py").write_text("def f():\n" + "    a = 1\n" * size.FUNCTION, "utf-8")
    monkeypatch.setattr(size, "PACKAGE", tmp_path)
    monkeypatch.setattr(size, "loaded", dict)
    monkeypatch.setattr("sys.argv", ["size"])
    assert size.main() == 1
    assert capsys.readouterr().out.endswith("module.py:1: f has 41 lines of code. The limit is 40.\n")
