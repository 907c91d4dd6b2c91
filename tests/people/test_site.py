"""The documentation's site: whole, quiet, and readable in a browser, opened as files."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

import kyc_client
from kyc_client import errors, events, sandbox, testing
from tests.support.browser import CHROMIUM, Browser
from tests.support.paths import ROOT
from tools import docs
from tools.docs.site import problems
from tools.node import NoToolError

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = pytest.mark.tools

PAGES = ROOT / "docs"
# True once the page shows something: redocly's comes late, since it is made by its script.
SHOWN = """
new Promise((done) => {
  const look = () => (document.body.innerText.length > 300 ? done(true) : setTimeout(look, 20));
  setTimeout(() => done(false), 30000);
  look();
})
"""
# Types into the search, and waits for what it finds.
SEARCH = """
new Promise((done, fail) => {
  document.querySelector(".md-search__button").click();
  const late = setTimeout(() => fail(new Error("nothing was found")), 30000);
  const look = () => {
    const roots = [...document.body.children].map((child) => child.shadowRoot);
    const root = roots.find((root) => root?.querySelector("input"));
    const input = root?.querySelector("input");
    if (input && !input.value) {
      input.value = "LoginRefusedError";
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }
    const found = [...(root?.querySelectorAll("a") ?? [])].map((link) => link.href);
    if (!found.length) return setTimeout(look, 20);
    clearTimeout(late);
    done(found);
  };
  look();
})
"""


class NoTool:
    """What stands for a tool where there is no Node."""

    def run(self, *_arguments: str | Path) -> subprocess.CompletedProcess[str]:
        raise NoToolError("there is no Node here")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed here")
def test_every_page_opens_in_a_browser(tmp_path: Path) -> None:
    """On a desk and on a phone, by day and by night: no error, no request elsewhere, nothing wider than the screen."""
    site = tmp_path / "site"
    docs.build(site)
    pages = sorted(site.rglob("*.html"))
    assert {path.stem for path in pages} >= {"contract", *(page.stem for page in PAGES.glob("*.md"))}
    with Browser() as browser:
        for width, dark in ((1280, False), (390, True)):
            tabs = browser.open(pages, width=width, dark=dark)
            for tab in tabs:
                assert tab.evaluate(SHOWN), f"{tab.path} stays empty"
                assert tab.evaluate("document.documentElement.scrollWidth") <= width, tab.path
                background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
                red, green, blue = (int(number) for number in re.findall(r"\d+", background)[:3])
                # Redocly's page paints another element than its body.
                assert (red + green + blue < 300) is dark or tab.path.stem == "contract", (tab.path, background)
            assert {tab.path.stem: tab.troubles for tab in tabs if tab.troubles} == {}
        (tab,) = browser.open([site / "index.html"], width=1280, dark=False)
        assert (site / "errors.html").as_uri() + "#loginrefusederror" in tab.evaluate(SEARCH)
        assert tab.troubles == []


def test_each_error_has_a_heading_that_its_docstring_names() -> None:
    """Whoever reads the docstring of an error finds what to do, and so does whoever looks it up."""
    headings = [line.removeprefix("## ") for line in (PAGES / "errors.md").read_text("utf-8").splitlines()]
    for name in errors.__all__:
        assert name in headings
        assert f"[docs/errors.md](errors.md#{name.lower()})" in (getattr(errors, name).__doc__ or "")


def test_reference_has_every_public_name() -> None:
    """Whatever can be imported is described, where it is defined or under the name by which it is imported."""
    text = "".join((PAGES / f"{page}.md").read_text("utf-8") for page in ("reference", "events"))
    described = set(re.findall(r"^::: kyc_client\.(\S+)$", text, re.MULTILINE))
    for module in (errors, events, sandbox, testing):
        short = module.__name__.removeprefix("kyc_client.")
        assert {f"{short}.{name}" for name in module.__all__} <= described
    assert set(kyc_client.__all__) - {"errors", *errors.__all__} <= described


def test_the_site_without_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without Node the site has the contract as plain text, and `make docs` says so."""
    docs.build(tmp_path / "site", redocly=NoTool())  # type: ignore[arg-type]  # a double
    assert "there is no Node here" in capsys.readouterr().out
    page = (tmp_path / "site" / "contract.html").read_text("utf-8")
    assert "operationId: login" in page
    assert "&lt;your_access_token&gt;" in page
    assert problems(tmp_path / "site") == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the site is made from, to break."""
    for name in ("docs", "examples", "wrapper", "generated"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("zensical.toml", "openapi.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for page in PAGES.glob("*.md"):
        for link in docs.LINK_OUT.finditer(page.read_text("utf-8")):
            (tmp_path / link["target"]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / link["target"]).touch()
    return tmp_path


def refusal(project: Path) -> str:
    """Why the site is not built; what was there before is left alone."""
    old = project / "site"
    old.mkdir()
    with pytest.raises(docs.SiteError) as error:
        docs.build(old, project, NoTool())  # type: ignore[arg-type]  # a double
    assert old.exists()
    return str(error.value)


def test_pages_and_navigation_agree(project: Path) -> None:
    """A page that nobody could find is an error, and so is an entry that leads to none, or stands there twice."""
    (project / "docs" / "new.md").write_text("# New\n", "utf-8")
    (project / "docs" / "events.md").unlink()
    config = project / "zensical.toml"
    config.write_text(config.read_text("utf-8").replace('"errors.md"', '"index.md"'), "utf-8")
    assert refusal(project).splitlines() == [
        "zensical.toml names events.md, which is not in docs/",
        "docs/errors.md is not in the navigation of zensical.toml",
        "docs/new.md is not in the navigation of zensical.toml",
        "zensical.toml names index.md twice",
    ]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_the_pages_beside_docs(name: str) -> None:
    """Each link to a file leads to one, and to a heading that is there."""
    text = (ROOT / name).read_text("utf-8")
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\((?!https:)([^)]+)\)", text)):
        path = ROOT / (target or name)
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_out_of_the_pages(project: Path) -> None:
    """A link to a file of the repository has to be right there; the site has only its words."""
    page = project / "docs" / "index.md"
    page.write_text("# A\n\n[the contract](../openapi.yaml) and [b](../gone.py#here)\n", "utf-8")
    assert refusal(project) == "docs/index.md links to ../gone.py, which is not there"
    page.write_text("# A\n\n[the contract](../openapi.yaml)\n", "utf-8")
    docs.strip_links_out(project / "docs", project)
    assert page.read_text("utf-8") == "# A\n\nthe contract\n"


def test_dead_links_of_pages(project: Path) -> None:
    """The builder finds links to a page or a heading that is not there, and its words are passed on."""
    (project / "docs" / "index.md").write_text("# A\n\n[b](gone.md)\n[c](errors.md#gone)\n", "utf-8")
    told = refusal(project)
    assert "page does not exist" in told
    assert "anchor does not exist" in told
    assert "index.md:3" in told
    assert "Traceback" not in told


def test_dead_links_and_loads_of_the_site(project: Path) -> None:
    """What the builder lets pass is found in what it has built."""
    text = '# A\n\n<a href="gone.html">b</a>\n\n![c](https://example.com/c.png)\n'
    (project / "docs" / "index.md").write_text(text, "utf-8")
    told = refusal(project)
    assert "index.html links to gone.html, which is not there" in told
    assert "index.html loads https://example.com/c.png, which is not of this site" in told


def test_redoclys_page_is_sealed_or_refused() -> None:
    """What the page would load is taken out of it, and it may load nothing; a page of another make is not trusted."""
    logo = "`https://cdn.redoc.ly/redoc/logo-mini{}.svg`"
    page = f'<html><head></head><a class="x" href="/auth">auth</a>{logo.format("-full")}{logo.format("")}'
    sealed = docs.sealed(page)
    assert "cdn.redoc.ly" not in sealed
    assert "default-src 'none'" in sealed
    assert 'href="#/auth"' in sealed
    for other in (page.replace("<head>", "<header>"), page.replace("-full", "-new"), page.replace("/auth", "auth")):
        with pytest.raises(docs.SiteError, match="not as expected"):
            docs.sealed(other)


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<script src="https://cdn.example.com/a.js"></script>', "loads https://cdn.example.com/a.js"),
        ('<script src="//cdn.example.com/a.js"></script>', "loads //cdn.example.com/a.js"),
        ('<link rel="stylesheet" href="https://fonts.example.com/css">', "loads https://fonts.example.com/css"),
        ('<link rel="preconnect" href="https://fonts.example.com">', "loads https://fonts.example.com"),
        ('<style>@import "https://fonts.example.com/css";</style>', "loads https://fonts.example.com/css"),
        ('<p style="background: url(http://example.com/a.png)">a</p>', "loads http://example.com/a.png"),
        ('<img srcset="a.svg 1x, https://example.com/b.png 2x">', "loads https://example.com/b.png"),
        ('<link rel="stylesheet" href="gone.css">', "loads gone.css, which is not there"),
        ('<a href="http://example.com">b</a>', "neither https nor of this site"),
        ('<a href="../outside.html">b</a>', "links to ../outside.html, which is not there"),
        ('<a href="#gone">b</a>', "an anchor that is not there"),
        ('<a href="https://example.com">b</a><a href="#here" id="here">c</a><img src="a.svg">', None),
    ],
)
def test_what_the_check_sees(html: str, problem: str | None, tmp_path: Path) -> None:
    """Each way to load from another host, and each kind of dead link; a link that a reader may follow is none."""
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.html").touch()
    (site / "a.svg").touch()
    (site / "index.html").write_text(html, "utf-8")
    found = problems(site)
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert problem in found[0]


def test_an_empty_site_is_not_right(tmp_path: Path) -> None:
    """No page is no site, and a style sheet is looked into as well."""
    (tmp_path / "a.css").write_text("body { background: url(https://example.com/a.png) }", "utf-8")
    assert problems(tmp_path) == [
        f"{tmp_path.resolve()} has no page",
        "a.css loads https://example.com/a.png, which is not of this site",
    ]
