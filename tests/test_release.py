"""
What a release says of itself: one version, a changelog in the form of Keep a Changelog, the extras there are.

What is built, and that it works where nothing else is installed, `make dist` sees (.ci/check-dist).
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import spark_batchintory

ROOT = Path(__file__).parent.parent
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]  # in the order of keepachangelog.com


def _text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def _sections(text: str, mark: str) -> dict[str, str]:
    """
    Title → text below it, of the headings that begin with `mark`.
    """
    parts = re.split(rf"^{mark} (.+)\n", text, flags=re.MULTILINE)[1:]
    assert len(set(parts[::2])) == len(parts[::2]), "a heading is there twice"
    return dict(zip(parts[::2], parts[1::2], strict=True))


class TestVersion:
    """
    spark_batchintory/version.py; that the command line prints it is a test of the command line.
    """

    def test_packaging_reads_it_from_the_package(self) -> None:
        """
        A release is raised in one line of one file.
        """
        text = _text("pyproject.toml")

        assert 'dynamic = ["version"]' in text
        assert '[tool.hatch.version]\npath = "spark_batchintory/version.py"\n' in text
        assert not re.search(r"^version =", text, re.MULTILINE)

    def test_changelog_ends_with_it(self) -> None:
        """
        Whoever looks up what is new in the version that is installed finds it, and nothing newer than that is released.
        """
        newest = next(title for title in _sections(_text("CHANGELOG.md"), "##") if title != "Unreleased")

        assert newest.split(" - ")[0] == spark_batchintory.__version__

    def test_no_page_repeats_it(self) -> None:
        """
        A page that names a version would be forgotten at the next; what was measured names its own.
        """
        pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
        said = re.compile(r"spark[-_]batchintory(\[[\w,]+\])?(==| |>=|~=)\d+\.\d")

        assert [page.name for page in pages if said.search(page.read_text("utf-8"))] == ["performance.md"]


class TestChangelog:
    """
    CHANGELOG.md.
    """

    def test_versions_are_dated_and_the_newest_is_first(self) -> None:
        """
        A heading is what is not released yet, or a version with its day.
        """
        titles = [title for title in _sections(_text("CHANGELOG.md"), "##") if title != "Unreleased"]
        releases = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)", title) for title in titles]
        found = [((int(at[1]), int(at[2]), int(at[3])), date.fromisoformat(at[4])) for at in releases if at]

        assert len(found) == len(titles)
        assert found == sorted(found, reverse=True)

    def test_kinds_are_those_of_the_form(self) -> None:
        """
        Changes stand under the kinds of Keep a Changelog, in its order, each as a list.
        """
        for title, text in _sections(_text("CHANGELOG.md"), "##").items():
            kinds = _sections(text, "###")

            assert list(kinds) == [kind for kind in KINDS if kind in kinds], title
            assert all(text.lstrip().startswith("- ") for text in kinds.values()), title


def test_readme_names_every_extra() -> None:
    """
    What can be installed along is in the table of README.md, and nothing else is.
    """
    extras = _text("pyproject.toml").split("[project.optional-dependencies]\n")[1].split("\n\n")[0]
    table = _text("README.md").split("| extra | brings |\n")[1].split("\n\n")[0]

    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == re.findall(r"^([\w-]+) = ", extras, re.MULTILINE)
