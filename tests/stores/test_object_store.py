"""
The reader on an object store, by its driver: the promises of `tests/spark/test_loading.py`.
"""

from __future__ import annotations

from urllib.parse import quote

import pytest

from spark_batchintory.batch import Item
from spark_batchintory.errors import ItemError
from spark_batchintory.loading import load_files
from spark_batchintory.paths import SkippedFile
from spark_batchintory.reading import batchintory
from tests.odd_names import IN_STORES as ODD_NAMES


class Batch:
    """
    What the reader uses of a batch.
    """

    id, job, job_identifier, attempt, processing_start = 17, "job", None, 1, None

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.skipped: list[SkippedFile] = []

    def __iter__(self):
        return iter(self.items)

    def skip(self, files):
        self.skipped += files


@pytest.fixture
def write(store, request):
    """
    Writes text files that hold their own names, and returns the items that name them.
    """
    folder = request.node.name.replace("[", "-").replace("]", "")

    def written(*names: str) -> list[Item]:
        for name in names:
            store.put(f"{folder}/{name}", quote(name))
        return [Item(uid, f"{store.url}/{folder}/{name}", 1) for uid, name in enumerate(names, start=1)]

    return written


def lines(frame):
    return sorted(row.value for row in frame.collect())


def names(*expected: str) -> list[str]:
    return sorted(quote(name) for name in expected)


@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_odd_names_are_that_file(spark, write, listing):
    """
    Exact paths: each name is one file, never a pattern, an encoding or a list.
    """
    items = write(*ODD_NAMES)

    assert lines(load_files(spark.read, items, format="text", listing=listing).frame) == names(*ODD_NAMES)


@pytest.mark.parametrize("name", ["[1]", "{a,b}", "star*", "que?", "open[", "p%20q", "12:30.txt"])
def test_an_odd_name_reads_no_neighbour(spark, write, name):
    """
    Exact paths: one item reads one file, whatever else lies beside it.
    """
    items = write(*ODD_NAMES)

    assert lines(load_files(spark.read, [items[ODD_NAMES.index(name)]], format="text").frame) == names(name)


@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_provenance_is_right_for_odd_names_duplicates_and_folders(spark, write, listing):
    """
    P7: every row is told from which uid it comes, also over the store's own spelling of paths.
    """
    items = write(*ODD_NAMES)
    folder = write("f/x", "f/y [1]")[0].item.removesuffix("/x")
    batch = Batch([*items, Item(101, items[3].item, 1), Item(102, folder, 1)])

    rows = batchintory(spark.read, batch, format="text", provenance=True, listing=listing).collect()

    owners = {row.value: row._batchintory.uid for row in rows}
    assert len(rows) == len(ODD_NAMES) + 2
    assert owners == {
        **{quote(name): uid for uid, name in enumerate(ODD_NAMES, start=1)},
        quote("f/x"): 102,
        quote("f/y [1]"): 102,
    }


@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_missing_files_are_named_or_left_out(spark, write, listing):
    """
    P1: what is not there is named, or left out and recorded; 40 files, more than Spark lists by itself.
    """
    items = write(*(f"f{n:02}" for n in range(40)))
    gone = [Item(100, f"{items[0].item}-gone", 1), Item(101, f"{items[0].item}-gone [2]", 1)]

    with pytest.raises(ItemError, match=r"uid 100: .*-gone', uid 101: .*-gone \[2\]'\. "):
        load_files(spark.read, [*items, *gone], format="text", listing=listing)
    loaded = load_files(spark.read, [*items, *gone], format="text", listing=listing, missing_files="skip")
    assert lines(loaded.frame) == names(*(f"f{n:02}" for n in range(40)))
    assert list(loaded.skipped) == [SkippedFile(item.uid, item.item, "missing") for item in gone]


@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_names_spark_ignores_are_an_error_or_recorded(spark, write, listing):
    """
    P1: a file that Spark drops without a word is never taken for read.
    """
    items = write("a", "_b", ".c", "d._COPYING_")

    with pytest.raises(ItemError, match=r"uid 2: .*_b', uid 3: .*\.c', uid 4: "):
        load_files(spark.read, items, format="text", listing=listing)
    loaded = load_files(spark.read, items, format="text", unreadable="skip", listing=listing)
    assert lines(loaded.frame) == names("a")
    assert [file.uid for file in loaded.skipped] == [2, 3, 4]


def test_root_is_put_before_items_without_a_scheme(spark, write):
    """
    `root=` says which store and folder items without a scheme lie in.
    """
    items = write("a b", "[1]")
    root = items[0].item.removesuffix("/a b")

    loaded = load_files(spark.read, [Item(1, "a b", 1), Item(2, "/[1]", 1)], format="text", root=root)

    assert lines(loaded.frame) == names("a b", "[1]")


def test_a_folder_means_the_files_in_it(spark, write):
    """
    A folder as item: the files directly in it, not hidden ones, not those further down.
    """
    items = write("f/a", "f/_SUCCESS", "f/k=1/c", "f/sub/d", "other")
    folder = items[0]._replace(item=items[0].item.removesuffix("/a"))

    loaded = load_files(spark.read, [folder, items[4]], format="text")

    assert (loaded.frame.columns, lines(loaded.frame)) == (["value"], names("f/a", "other"))
