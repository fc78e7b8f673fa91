"""
What a location means (`spark_batchintory.paths`): literal names, one file once, and whose a file is. No Spark needed.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory import paths
from spark_batchintory.batch import Item
from spark_batchintory.errors import ItemError

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."}
)


def found(*items: str, root: str | None = None) -> list[paths.Source]:
    return paths.sources([Item(uid, item) for uid, item in enumerate(items, start=1)], root)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///data/a%20b.csv", "file:/data/a%20b.csv"),
        ("file:/data//a.csv", "file:/data/a.csv"),
        ("/data/./x/../a b.csv", "/data/a b.csv"),
        ("//data/a.csv", "/data/a.csv"),
        ("s3a://bucket/a//b/", "s3a://bucket/a/b"),
        ("s3a://bucket", "s3a://bucket/"),
        ("abfss://c@acc.dfs.core.windows.net/a,b", "abfss://c@acc.dfs.core.windows.net/a,b"),
        ("dbfs:/Volumes/a/b", "dbfs:/Volumes/a/b"),
        ("hdfs:///data/x", "hdfs:/data/x"),
        ("a:b.csv", "a:b.csv"),
        ("x/../../y", "../y"),
        (".", "."),
        ("/", "/"),
        (" /a", " /a"),
    ],
)
def test_a_location_is_spelled_as_hadoop_spells_it(location, path):
    """
    Exact paths: two spellings of one path are equal, and spelling a path again changes nothing.
    """
    assert path == paths.canonical(location) == paths.canonical(path)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_no_character_of_a_name_is_changed(names):
    """
    Exact paths: whatever a name holds (blanks, newlines, percent signs, brackets), it is kept.
    """
    path = "s3a://bucket/" + "/".join(names)

    assert path == paths.canonical(path)


@given(NAMES)
def test_an_encoded_name_is_decoded_exactly(name):
    """
    Provenance: the path behind a URI is the file's name, a plus sign included, however much of it was encoded.
    """
    assert (
        f"file:/d/{name}"
        == paths.decoded(f"file:///d/{quote(name)}")
        == paths.decoded(f"file:/d/{quote(name, '+,=:')}")
    )


@given(NAMES)
def test_an_escaped_name_holds_no_bare_pattern(name):
    """
    Exact paths: each character Spark's globbing knows is escaped by one backslash, and nothing else changes.
    """
    text = paths.escaped(name)
    kept, pattern = [], False
    letters = iter(text)
    for letter in letters:
        pattern = pattern or letter in "*?[]{}"
        kept.append(next(letters) if letter == "\\" else letter)

    assert (name, False) == ("".join(kept), pattern)


@pytest.mark.parametrize(
    ("item", "ignored"),
    [
        ("/d/_x.csv", True),
        ("/d/.x.csv", True),
        ("/d/_metadata", True),
        ("/d/_common_metadata", True),
        ("/d/x.csv._COPYING_", True),
        ("/d/.k=v.csv", True),
        ("/d/_k=v.csv", False),
        ("/d/x_.csv", False),
        ("/_d/x.csv", False),
        ("/.d/x.csv", False),
        ("/d/_folder/", False),
        ("s3a://_bucket/x", False),
        ("file:/d/12:30.csv", True),
        ("file:///d/12:30.csv", True),
        ("file:/12:30/x.csv", False),
        ("s3a://bucket/12:30.csv", False),
        ("abfss://c@account.dfs.core.windows.net/12:30.csv", False),
        ("dbfs:/Volumes/main/raw/12:30.csv", False),
    ],
)
def test_names_that_spark_ignores_are_known(item, ignored):
    """
    Unreadable names are told beforehand, by the rules Spark and Hadoop apply to files; folders are exempt from them.
    """
    assert ignored == paths.never_read(found(item)[0])


@pytest.mark.parametrize(
    ("root", "item", "path"),
    [
        ("s3a://bucket/landing", "a.csv", "s3a://bucket/landing/a.csv"),
        ("s3a://bucket/landing/", "/a.csv", "s3a://bucket/landing/a.csv"),
        ("file:///", "/data/a.csv", "file:/data/a.csv"),
        ("/mnt", "2024-01-01T10:00.csv", "/mnt/2024-01-01T10:00.csv"),
        ("s3a://bucket", "file:/data/a.csv", "file:/data/a.csv"),
        (None, "a.csv", "a.csv"),
    ],
)
def test_root_is_where_items_without_a_scheme_lie(root, item, path):
    """
    `root=` is put before items without a scheme; those with one stay.
    """
    assert [path] == [source.path for source in found(item, root=root)]


@pytest.mark.parametrize("item", [None, "", 17, b"/a"])
def test_an_item_that_is_no_location_is_refused_by_uid(item: Any):
    """
    An unusable meta row is an error that names its uid.
    """
    with pytest.raises(ItemError, match=r"uid 1: the item .* is no location"):
        found(item)


def test_one_file_under_two_uids_is_credited_to_the_lower_one():
    """
    P1, P2: a file is read once however often and however it is spelled, and the lowest uid owns it.
    """
    items = [Item(7, "/d//x"), Item(3, "/d/x"), Item(5, "/d/y"), Item(9, "/d/./x")]

    assert [source.uid for source in paths.distinct(paths.sources(items))] == [3, 5]


@pytest.mark.parametrize("inner", ["/d/x.csv", "/d/e/f/x.csv", "/d/e/"])
def test_a_folder_and_what_is_in_it_do_not_go_together(inner):
    """
    Overlapping items are an error that names both uids, before any of them is read.
    """
    with pytest.raises(ItemError, match=r"uid 2 .*contains uid 1 "):
        paths.distinct(found(inner, "/d/"))


def test_a_common_beginning_is_no_overlap():
    """
    ``/d/x`` and ``/d/x.csv`` are neighbours.
    """
    assert len(paths.distinct(found("/d/x", "/d/x.csv", "/d/xy/z"))) == 3


@pytest.mark.parametrize(
    ("items", "needed"),
    [
        (["/a", "/b"], False),
        (["s3a://b/a", "file:/b"], False),
        (["/a", "file:/a"], True),
        (["a.csv"], True),
        (["a:b.csv"], True),
        ([], False),
    ],
)
def test_the_default_file_system_is_asked_for_only_where_it_decides(items, needed):
    """
    Bounded work: paths that can be compared as they are cost no question to Spark.
    """
    assert needed == paths.needs_default(found(*items))


def test_paths_are_completed_as_spark_completes_them():
    """
    A relative path lies in Spark's working directory, an absolute one in its default file system.
    """
    sources = found("a.csv", "/b.csv", "s3a://bucket/c")

    assert [s.path for s in paths.qualified(sources, "dbfs:/")] == ["dbfs:/a.csv", "dbfs:/b.csv", "s3a://bucket/c"]
    assert [s.path for s in paths.qualified(sources, "hdfs://nn:8020/user/me/")] == [
        "hdfs://nn:8020/user/me/a.csv",
        "hdfs://nn:8020/b.csv",
        "s3a://bucket/c",
    ]


def test_a_file_belongs_to_the_item_that_names_it_or_to_the_folder_above():
    """
    Provenance: files of a folder carry its uid, with or without the default scheme and authority.
    """
    sources = found("/d/x.csv", "/e", "/f/")
    files = ["file:/d/x.csv", "hdfs://nn/e/y.csv", "hdfs://nn/e/k=1/z.csv", "file:/g/q.csv"]

    assert {files[0]: 1, files[1]: 2, files[2]: 2} == {file: s.uid for file, s in paths.owners(files, sources).items()}
    assert files[:2] == paths.files_in(files, sources)
    assert paths.lie_in_folders(files, sources)
    assert not paths.lie_in_folders(["file:/d/x.csv", "file:/g/q.csv"], sources)


def test_a_file_that_two_items_spell_differently_is_refused():
    """
    P2: with and without the default authority one file would be read twice, so it is an error that names the uids.
    """
    sources = found("hdfs:///d/x", "hdfs://nn:8020/d/x")

    with pytest.raises(ItemError, match=r"uid 2: .*, uid 1: "):
        paths.owners(["hdfs://nn:8020/d/x"], sources)


def test_the_folder_of_hidden_files_hides_them():
    """
    A folder stands for the files Spark would read in it.
    """
    files = ["file:/d/_SUCCESS", "file:/d/.x.crc", "file:/d/x", "file:/d/_k=v", "file:/d/e/y"]

    assert paths.files_in(files, found("file:/d")) == ["file:/d/x", "file:/d/_k=v"]


def test_messages_name_twenty_items():
    """
    A message about thousands of files stays readable.
    """
    text = paths.listed(found(*[f"/{n}" for n in range(30)]))

    assert text.startswith("uid 1: '/0', uid 2: '/1'")
    assert text.endswith("uid 20: '/19', …")
