"""
Which files a pattern means.
"""

from __future__ import annotations

import fnmatch
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spark_batchintory.errors import ConfigurationError
from spark_batchintory.file_patterns import FilePattern

NAMES = st.text(alphabet="ab.[]*?!-^\\\n ", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("**", ["a", "a/b", "a/b/c"], []),
        ("*.json", ["a.json", ".json"], ["b/a.json", "a.json.gz", "a.JSON"]),
        ("**/*.json", ["a.json", "b/a.json", "b/c/a.json"], ["a.csv"]),
        ("2024/**", ["2024/a", "2024/b/c"], ["2024", "2023/a", "x/2024/a"]),
        ("*/x/**/y?", ["a/x/y1", "a/x/b/c/y2"], ["x/y1", "a/x/y", "a/x/y12"]),
        ("part-[0-9][!x]*", ["part-1a", "part-12b"], ["part-aa", "part-1x", "part-1"]),
        ("a.b+(c)", ["a.b+(c)"], ["axb+(c)", "a.bb(c)"]),
        ("open[", ["open["], ["open"]),
        ("[]]", ["]"], ["[", "[]"]),
    ],
)
def test_what_is_meant(pattern, meant, not_meant):
    """
    Behaviour: globs as shells know them, over the whole path, and no name is crossed by a star.
    """
    asked = FilePattern(pattern)

    assert [path for path in meant if not asked.means(path)] == []
    assert [path for path in not_meant if asked.means(path)] == []


@pytest.mark.parametrize("pattern", ["", "/", "/a", "a/", None, 7, "[b-a]"])
def test_what_is_no_pattern(pattern):
    """
    Behaviour: what could mean nothing, or something elsewhere, is refused.
    """
    with pytest.raises(ConfigurationError, match="pattern"):
        FilePattern(pattern)


@given(NAMES, NAMES)
@example("[]", "[]")
@example("[^a]", "^")
def test_one_name_is_as_fnmatch_has_it(pattern, name):
    """
    Behaviour: within one name a pattern means what Python's own matching means.
    """
    if "**" in pattern:
        return
    try:
        asked = FilePattern(pattern)
    except ConfigurationError:
        return

    assert asked.means(name) == fnmatch.fnmatchcase(name, pattern)


@given(PATHS, PATHS)
def test_no_folder_of_a_file_that_is_meant_is_passed_by(pattern, path):
    """
    P1: what is meant is reached: pruning folders leaves no file out.
    """
    try:
        asked = FilePattern(pattern)
    except ConfigurationError:
        return
    folders = [str(folder) for folder in PurePosixPath(path).parents if str(folder) != "."]

    if asked.means(path):
        assert [folder for folder in folders if not asked.reaches(folder)] == []
