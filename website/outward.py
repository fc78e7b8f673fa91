"""
What a page of the site would fetch from elsewhere: nothing, or the build fails.

Links to other sites are not meant, only what a browser fetches by itself: scripts, styles, pictures, frames, fonts.
Scripts are not looked into; that they fetch nothing either was tried in a browser without a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")
_INERT = {"canonical", "prev", "next", "alternate", "edit"}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in _FETCHED:
            self.fetched.append(values.get(_FETCHED[tag], ""))
        elif tag == "link" and not _INERT & set(values.get("rel", "").split()):
            self.fetched.append(values.get("href", ""))


def fetches(site: Path) -> list[str]:
    """
    Each page or style of a site that fetches something from another one, and what.
    """
    found = [(file, url) for file in sorted(site.rglob("*.html")) for url in _of_page(file.read_text("utf-8"))]
    found += [(file, url) for file in sorted(site.rglob("*.css")) for url in _STYLE.findall(file.read_text("utf-8"))]
    return [f"{file.relative_to(site)}: {url}" for file, url in found]


def _of_page(text: str) -> Iterator[str]:
    tags = _Tags()
    tags.feed(text)
    yield from (url for url in tags.fetched if re.match(r"(https?:)?//", url))
    for style in re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL):
        yield from _STYLE.findall(style)
