"""
The pages of the site, as far as they can be looked at without building it; ``make docs`` checks their links' headings.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

import pytest

import spark_batchintory
from website import outward, pages

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The site's pages, without what the command line says of itself.
    """
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "COMMAND_LINE", "none")
        pages.lay_out(folder)
    return folder


class TestPages:
    """
    website/pages.py.
    """

    def test_every_link_leads_to_a_file_of_the_site(self, site: Path) -> None:
        """
        What can be clicked in the repository can be clicked in the site.
        """
        broken = [
            (str(page.relative_to(site)), link)
            for page in site.rglob("*.md")
            for link in _links(page)
            if not (page.parent / link).resolve().is_file()
        ]

        assert broken == []

    def test_front_page_is_the_readme(self, site: Path) -> None:
        """
        Nothing is written twice: the front page is README.md, and its links lead to the same pages.
        """
        front = (site / "index.md").read_text("utf-8")

        assert front.startswith("# spark_batchintory\n")
        assert "[Late items](late-items.md)" in front
        assert "[quickstart notebook](notebooks/01_quickstart.md)" in front
        assert "(../index.md#settings)" in (site / "reference" / "settings.md").read_text("utf-8")

    def test_comments_are_left_out(self, site: Path) -> None:
        """
        Examples that readers need not see are not in the pages; a comment that is shown as code is.
        """
        texts = {page.name: page.read_text("utf-8") for page in site.glob("*.md")}

        assert not any("invisible-code-block" in text for text in texts.values())
        assert '<!-- skip: next "needs a Databricks workspace" -->' in texts["contributing.md"]

    def test_bars_in_code_lose_their_backslash(self, site: Path) -> None:
        """
        A row of a table shows code as it is typed.
        """
        assert "retry JOB [failed|dead]`" in (site / "index.md").read_text("utf-8")

    def test_link_to_what_is_no_page_is_an_error(self) -> None:
        """
        A page that links to a file which the site lacks is not built with a dead link.
        """
        file = PurePosixPath("docs/lease.md")

        with pytest.raises(pages.NoPlace, match=r"docs/lease.md links to ../Makefile"):
            pages.relinked("See [that](../Makefile).", file, {file: pages.place(file)})

    def test_notebooks_are_pages(self) -> None:
        """
        Text stays text, and code becomes a block that no backtick in it ends.
        """
        cells = [("markdown", ["# Title\n", "Words."]), ("code", ["x = '''\n", "```\n", "'''"])]
        notebook = json.dumps({"cells": [{"cell_type": kind, "source": source} for kind, source in cells]})

        assert pages.of_notebook(notebook) == "# Title\nWords.\n\n````python\nx = '''\n```\n'''\n````\n\n"

    def test_navigation_leads_to_every_page(self) -> None:
        """
        A page that was added to docs/ is found by whoever looks for it.
        """
        navigation = pages.in_navigation((ROOT / "mkdocs.yml").read_text("utf-8"))

        assert pages.unnamed(navigation) == []

    def test_reference_has_every_public_name(self) -> None:
        """
        Whatever the package offers is in the reference.
        """
        texts = [page.read_text("utf-8") for page in (ROOT / "docs" / "reference").glob("*.md")]
        named = {name for text in texts for name in re.findall(r"^::: spark_batchintory\.(\w+)$", text, re.MULTILINE)}

        assert "errors" in named
        assert set(spark_batchintory.__all__) <= named | set(spark_batchintory.errors.__all__)


class TestOutward:
    """
    website/outward.py.
    """

    @pytest.mark.parametrize(
        "text",
        [
            '<script src="https://cdn.example/x.js"></script>',
            '<link rel="stylesheet" href="//fonts.example/css">',
            '<img alt="" src="http://badges.example/x.svg">',
            "<style>@import 'https://fonts.example/css';</style>",
        ],
    )
    def test_what_a_browser_would_fetch_is_found(self, tmp_path: Path, text: str) -> None:
        """
        Who looks at a page tells nobody.
        """
        (tmp_path / "page.html").write_text(text)

        assert len(outward.fetches(tmp_path)) == 1

    def test_links_and_own_files_are_no_finding(self, tmp_path: Path) -> None:
        """
        A link is followed by people; what lies in the site is the site's own.
        """
        (tmp_path / "page.html").write_text('<a href="https://spark.apache.org">Spark</a> <script src="x.js"></script>')

        assert outward.fetches(tmp_path) == []


def _links(page: Path) -> list[str]:
    prose = re.sub(r"^( *`{3,}).*?^\1", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [link for link in LINK.findall(prose) if "://" not in link]
