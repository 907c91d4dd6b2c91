"""Find the mistakes of a built site: links without a target, and things that a page loads from another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

# For each tag, the attribute from which the browser loads something at once.
LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "input": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "track": "src",
    "video": "src",
}
# Values of `rel` for links that load nothing.
INERT = {"alternate", "author", "canonical", "edit", "license", "next", "prev"}
# Attributes whose values are anchors. redocly's script jumps to the last one.
ANCHORS = ("id", "name", "data-section-id")
CSS_URL = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""")


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads.

    Attributes:
        ids: its anchors.
        links: the targets that a reader can click.
        loads: the addresses that the browser fetches.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        self._in_style = tag == "style"
        values = {name: value or "" for name, value in attrs}
        self.ids.update(values[name] for name in ANCHORS if name in values)
        self.loads += CSS_URL.findall(values.get("style", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and INERT.intersection(values.get("rel", "").split()):
            return
        if loaded := values.get(LOADED.get(tag, "")):
            self.loads.append(loaded)
        self.loads += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]

    def handle_endtag(self, tag: str) -> None:
        """Record the end of a style sheet."""
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        """Record what a style sheet loads."""
        if self._in_style:
            self.loads += CSS_URL.findall(data)


def problems(site: Path) -> list[str]:
    """Return one line for each mistake of the site."""
    site = site.resolve()
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [] if pages else [f"{site} has no page"]
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} loads {url}, which is {why}" for url in page.loads if (why := _missing(url, path, site))]
        for url in page.links:
            if why := _dead(url, path, site, pages):
                found.append(f"{name} links to {url}, which is {why}")
    for path in sorted(site.rglob("*.css")):
        name, urls = path.relative_to(site), CSS_URL.findall(path.read_text("utf-8"))
        found += [f"{name} loads {url}, which is {why}" for url in urls if (why := _missing(url, path, site))]
    return found


def _missing(url: str, path: Path, site: Path) -> str:
    """Return why an address cannot be loaded; "" if it can."""
    parts = urlsplit(url)
    if parts.scheme in {"data", "blob"} or url.startswith("#"):
        return ""
    if parts.scheme or parts.netloc:
        return "not of this site"
    target = (path.parent / unquote(parts.path)).resolve()
    return "" if target.is_file() and target.is_relative_to(site) else "not there"


def _dead(url: str, path: Path, site: Path, pages: dict[Path, Page]) -> str:
    """Return why a link has no target; "" if it has one, or leads out of the site."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return "" if parts.scheme in {"https", "mailto"} else "neither https nor of this site"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not (target.is_file() and target.is_relative_to(site)):
        return "not there"
    fragment = unquote(parts.fragment)
    if fragment and target in pages and fragment not in pages[target].ids:
        return "an anchor that is not there"
    return ""
