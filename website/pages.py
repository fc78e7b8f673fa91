"""
Where a file of the repository lies in the site, and its text there.

A generator of sites wants one folder of Markdown. Here the front page is README.md, pages lie in docs/, notebooks and
examples are pages too, and they link to one another as files of the repository, so that the links work for whoever
reads them there. `place` says where each of them goes, and every link is written anew by it; a link to a file that has
no place is an error. Whether a heading is there that a link names, MkDocs finds out.

Besides links two things are changed: comments (which hold examples that readers need not see) are left out, and a bar
within code in a table loses the backslash that GitHub wants there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
COMMAND_LINE = "reference/command-line.md"

_RENAMED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_FOLDERS = ("docs", "notebooks", "examples")
_CODE = {
    ".py": "python",
    ".sql": "sql",
    ".sh": "shell",
    ".yml": "yaml",
    ".yaml": "yaml",
    ".json": "json",
    ".toml": "toml",
}
_LISTS = {
    "decisions": ("Decisions", "What was chosen, what else there was, and at what price."),
    "notebooks": ("Notebooks", "They run with the tests, and are shown as they are committed, without their output."),
    "examples": ("Examples", "Programs to start from; they run with the tests."),
}

_FENCED = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_CODE_SPAN = re.compile(r"`[^`\n]+`")


class NoPlace(ValueError):
    """
    A page links to a file that is not part of the site.
    """


def files(root: Path = ROOT) -> list[PurePosixPath]:
    """
    All files of the repository that are part of the site.
    """
    found = [PurePosixPath(name) for name in _RENAMED]
    for folder in _FOLDERS:
        found += [PurePosixPath(file.relative_to(root)) for file in (root / folder).rglob("*") if file.is_file()]
    return sorted(file for file in found if _is_part(file))


def _is_part(file: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__")) for part in file.parts)
    return not hidden and (file.parts[0] == "docs" or _is_page(file))


def _is_page(file: PurePosixPath) -> bool:
    return file.suffix in {".md", ".ipynb", *_CODE}


def place(file: PurePosixPath) -> PurePosixPath:
    """
    Where a file of the repository lies in the site: docs/lease.md as lease.md, a notebook as a page of its name.
    """
    if str(file) in _RENAMED:
        return PurePosixPath(_RENAMED[str(file)])
    inner = file.relative_to("docs") if file.parts[0] == "docs" else file
    if inner.name == "README.md":
        return inner.with_name("index.md")
    return inner.with_suffix(".md") if _is_page(file) else inner


def lay_out(target: Path, root: Path = ROOT) -> None:
    """
    Write all pages, and what they show, into a folder.

    Raises
    ------
    NoPlace
        A page links to something that is not part of the site.
    """
    known = {file: place(file) for file in files(root)}
    texts = {str(there): page(root, file, known) for file, there in known.items() if _is_page(file)}
    texts |= {f"{folder}/index.md": _list(folder, texts) for folder in _LISTS}
    if COMMAND_LINE in texts:
        texts[COMMAND_LINE] += _command_line()
    for there, text in texts.items():
        _write(target / there, text.encode("utf-8"))
    for file, there in known.items():
        if not _is_page(file):
            _write(target / there, (root / file).read_bytes())


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def page(root: Path, file: PurePosixPath, known: dict[PurePosixPath, PurePosixPath]) -> str:
    """
    The text of a page as it stands in the site.
    """
    text = (root / file).read_text("utf-8")
    if file.suffix == ".ipynb":
        text = of_notebook(text)
    elif file.suffix in _CODE:
        text = f"# {file.name}\n\n{_fence(text, _CODE[file.suffix])}"
    return outside_code(text, lambda prose: relinked(without_comments(_table_bars(prose)), file, known))


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """
    Change what is not in a fenced block.
    """
    parts, end = [], 0
    for block in _FENCED.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])


def without_comments(text: str) -> str:
    """
    The text without comments, which hold examples that are run and not shown, and reasons for not running others.
    """
    return _COMMENT.sub("", text)


def _table_bars(text: str) -> str:
    """
    In a row of a table GitHub wants a bar within code escaped; Python-Markdown would show the backslash.
    """
    rows = [
        _CODE_SPAN.sub(lambda code: code[0].replace(r"\|", "|"), row) if row.startswith("|") else row
        for row in text.split("\n")
    ]
    return "\n".join(rows)


def relinked(text: str, file: PurePosixPath, known: dict[PurePosixPath, PurePosixPath]) -> str:
    """
    The links of a page, from its place in the site to that of the files they name.
    """
    here = place(file)

    def link(found: re.Match[str]) -> str:
        name, mark, heading = found[2].partition("#")
        if not name or "://" in name or name.startswith("mailto:"):
            return found[0]
        there = _named(PurePosixPath(os.path.normpath(file.parent / name)), known)
        if there is None:
            raise NoPlace(f"{file} links to {found[2]}, which is no page or picture of the site")
        return f"{found[1]}{os.path.relpath(there, here.parent)}{mark}{heading}{found[3]}"

    return _LINK.sub(link, text)


def _named(file: PurePosixPath, known: dict[PurePosixPath, PurePosixPath]) -> PurePosixPath | None:
    """
    The place of a file, or of what stands for a folder.
    """
    if file in known:
        return known[file]
    if file / "README.md" in known:
        return known[file / "README.md"]
    folder = file.relative_to("docs") if file.parts[:1] == ("docs",) else file
    return folder / "index.md" if str(folder) in _LISTS else None


def of_notebook(text: str) -> str:
    """
    A notebook as a page: its text, and its code in blocks.
    """
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
    return "\n\n".join(source if kind == "markdown" else _fence(source, "python") for source, kind in cells) + "\n"


def _fence(code: str, language: str) -> str:
    marks = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", code)), 3)
    return f"{marks}{language}\n{code.rstrip()}\n{marks}\n"


def _list(folder: str, texts: dict[str, str]) -> str:
    """
    A page that names those of a folder, each by its title.
    """
    inner = sorted(name for name in texts if name.startswith(f"{folder}/") and name.count("/") == 1)
    rows = [f"- [{_title(texts[name])}]({name.rpartition('/')[2]})" for name in inner if not name.endswith("index.md")]
    title, words = _LISTS[folder]
    return "\n".join([f"# {title}", "", words, "", *rows, ""])


def _title(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("# ")).removeprefix("# ").strip()


def _command_line() -> str:
    """
    What each verb takes, in the words of its ``--help``.
    """
    command = [sys.executable, "-m", "typer", "spark_batchintory.cli", "utils", "docs", "--name", "spark-batchintory"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return text[text.index("## ") :]


def in_navigation(text: str) -> set[str]:
    """
    The pages that a ``mkdocs.yml`` names in its navigation, or leaves out of it.
    """
    return set(re.findall(r"^\s+-.*?([\w/-]+\.md)$", text, re.MULTILINE))


def unnamed(navigation: Iterable[str], root: Path = ROOT) -> list[str]:
    """
    Pages of docs/ that no navigation leads to.
    """
    pages = {str(place(file)) for file in files(root) if file.parts[0] == "docs" and file.suffix == ".md"}
    return sorted(name for name in pages - set(navigation) if name.partition("/")[0] not in _LISTS)
