"""Build the documentation's site, and check it.

Every page must be in the navigation, every link must have a target, and no page may load anything from another host.
The site needs no server: open its index.html.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from html import escape
from pathlib import Path

from tools.node import REDOCLY, NoToolError, Tool

from .site import problems

ROOT = Path(__file__).parents[2]
CONFIG = "zensical.toml"
SPEC = "openapi.yaml"
CONTRACT = "contract.html"
SECONDS = 120  # it normally takes three
# The logo that redocly's page loads from another host, and the empty image that replaces it.
LOGO = re.compile(r"`https://cdn\.redoc\.ly/redoc/logo-mini(?:-full)?\.svg`")
NOTHING = "`data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>`"
LINK_OUT = re.compile(r"\[(?P<words>[^\]]+)\]\(\.\./(?P<target>[^)#]+)(?:#[^)]*)?\)")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
# With this policy, the browser refuses anything else that a later version of the page may load.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:"
)


class SiteError(Exception):
    """The site cannot be built, or has mistakes. The message has one line for each reason."""


def build(out: Path, root: Path = ROOT, redocly: Tool = REDOCLY) -> None:
    """Build the site, check it, and put it in the place of the folder `out`.

    Raises:
        SiteError: something is wrong with the pages.
    """
    with tempfile.TemporaryDirectory(prefix="kyc-docs-") as folder:
        stage = Path(folder).resolve()
        # Copy all sources, because the builder reads nothing outside its folder.
        for name in ("docs", "examples", "wrapper", "generated"):
            shutil.copytree(root / name, stage / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(root / CONFIG, stage)
        check_navigation(stage)
        strip_links_out(stage / "docs", root)
        (stage / "docs" / CONTRACT).write_text(contract_page(root / SPEC, redocly), "utf-8")
        result = subprocess.run(
            [Path(sys.executable).with_name("zensical"), "build", "--strict"],
            cwd=stage,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        if result.returncode:
            # Remove the colours, which cannot be turned off, and the traceback that follows a list of dead links.
            raise SiteError(COLOUR.sub("", result.stdout + result.stderr).partition("Traceback")[0])
        site = stage / "site"
        # Remove the 404 page, because its links work only if a server has the site at its root.
        (site / "404.html").unlink()
        if found := problems(site):
            raise SiteError("\n".join(found))
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(site, out)


def check_navigation(stage: Path) -> None:
    """Compare the navigation with the pages in docs/, because the builder does not.

    Raises:
        SiteError: a page is missing, is named twice, or is not in the navigation.
    """
    config = tomllib.loads((stage / CONFIG).read_text("utf-8"))
    named = [page for entry in config["project"]["nav"] for page in entry.values()]
    there = {path.relative_to(stage / "docs").as_posix() for path in (stage / "docs").rglob("*.md")}
    wrong = [f"{CONFIG} names {page}, which is not in docs/" for page in named if page not in there]
    wrong += [f"docs/{page} is not in the navigation of {CONFIG}" for page in sorted(there.difference(named))]
    wrong += [f"{CONFIG} names {page} twice" for page in sorted(set(named)) if named.count(page) > 1]
    if wrong:
        raise SiteError("\n".join(wrong))


def strip_links_out(pages: Path, root: Path) -> None:
    """Replace links to files outside docs/ by their text, because these files exist only in a checkout.

    Raises:
        SiteError: such a file does not exist.
    """
    dead = []
    for page in sorted(pages.rglob("*.md")):
        text = page.read_text("utf-8")
        dead += [
            f"docs/{page.relative_to(pages).as_posix()} links to ../{link['target']}, which is not there"
            for link in LINK_OUT.finditer(text)
            if not (root / link["target"]).exists()
        ]
        page.write_text(LINK_OUT.sub(r"\g<words>", text), "utf-8")
    if dead:
        raise SiteError("\n".join(dead))


def contract_page(spec: Path, redocly: Tool) -> str:
    """Return redocly's page of the contract. If redocly is not available, return the plain document and say so.

    Raises:
        SiteError: redocly fails.
    """
    with tempfile.TemporaryDirectory(prefix="kyc-contract-") as folder:
        page = Path(folder) / CONTRACT
        try:
            result = redocly.run("build-docs", "--inlineBundle", f"--output={page}", spec)
        except NoToolError as error:
            print(f"docs: {CONTRACT} shows the plain document, because {error}")
            return plain_page(spec)
        if result.returncode:
            raise SiteError(result.stdout + result.stderr)
        return sealed(page.read_text("utf-8"))


def sealed(page: str) -> str:
    """Return redocly's page without the logo from another host, and with a policy that lets it load nothing.

    Raises:
        SiteError: the page has an unexpected form.
    """
    page, logos = LOGO.subn(lambda _: NOTHING, page)
    # The page's script turns these links into anchors on a click. We do it now, so that they also open in a new tab.
    page, links = re.subn(r'(<a\b[^>]*\shref=")(?=/)', r"\1#", page)
    page, heads = re.subn(
        "<head>", f'<head>\n  <meta http-equiv="Content-Security-Policy" content="{POLICY}">', page, count=1
    )
    if (logos, heads) != (2, 1) or not links:
        raise SiteError(
            f"redocly's page is not as expected: {logos} logos (2), {heads} heads (1), {links} links (some)"
        )
    return page


def plain_page(spec: Path) -> str:
    """Return a page with the document itself."""
    title = "The HTTP API"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n</head>\n<body>\n'
        f"<h1>{title}</h1>\n<p>This is the plain {spec.name}, because Node was missing when the page was built.</p>\n"
        f"<pre>{escape(spec.read_text('utf-8'))}</pre>\n</body>\n</html>\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and return its exit status: 0, or 1 if the site has mistakes."""
    parser = argparse.ArgumentParser(prog="docs", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="the folder of the site (default: %(default)s)")
    out = parser.parse_args(arguments).out
    try:
        build(out)
    except SiteError as error:
        print(f"docs: the site has mistakes:\n{error}", file=sys.stderr)
        return 1
    print(f"docs: open {out / 'index.html'}")
    return 0
