"""
A list of files as a DataFrame (`spark_batchintory.loading`): exactly those files, and nothing left in the session.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
from contextlib import redirect_stdout
from pathlib import Path
from urllib.parse import quote

import pytest
from pyspark import SparkContext

from spark_batchintory.batch import Item
from spark_batchintory.errors import ConfigurationError, ItemError
from spark_batchintory.file_keys import KEY, with_key
from spark_batchintory.listing import lists_each_time
from spark_batchintory.loading import FILE_FORMATS, load_files
from spark_batchintory.paths import SkippedFile
from spark_batchintory.reading import batchintory
from spark_batchintory.session_facts import session_of
from tests.odd_names import ODD_NAMES

THRESHOLD = "spark.sql.sources.parallelPartitionDiscovery.threshold"
PARALLELISM = "spark.sql.sources.parallelPartitionDiscovery.parallelism"


def write(folder: Path, *names: str) -> list[Item]:
    """
    Text files that hold their own names, and the items that name them.
    """
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(quote(name))
    return [Item(uid, str(folder / name), 1) for uid, name in enumerate(names, start=1)]


def lines(spark, items, **how):
    return sorted(row.value for row in load_files(spark.read, items, format="text", **how).frame.collect())


def names(*expected: str) -> list[str]:
    return sorted(quote(name) for name in expected)


@pytest.mark.parametrize("spelling", ["{}", "file:{}", "file://{}", "/{}"])
def test_odd_names_are_that_file(spark, tmp_path, spelling):
    """
    Exact paths: each name is one file, never a pattern, an encoding or a list, with a scheme or without.
    """
    items = [item._replace(item=spelling.format(item.item)) for item in write(tmp_path, *ODD_NAMES)]

    assert lines(spark, items) == names(*ODD_NAMES)


@pytest.mark.parametrize("name", ["[1]", "{a,b}", "star*", "que?", "open[", "back\\slash", "p%20q", "a,b"])
def test_an_odd_name_reads_no_neighbour(spark, tmp_path, name):
    """
    Exact paths: one item reads one file, whatever else lies beside it.
    """
    items = write(tmp_path, *ODD_NAMES)

    assert lines(spark, [items[ODD_NAMES.index(name)]]) == names(name)


def test_odd_folders_are_that_folder(spark, tmp_path):
    """
    Exact paths: the folders above a file may have odd names too, colons and hidden ones included.
    """
    inner = ["[1]/x", "1/x", "{a,b}/x", "a*/x", "ab/x", "12:30/x", "_hidden/x", ".dot/x", "k=v/x", "p%20q/x"]

    assert lines(spark, write(tmp_path, *inner)) == names(*inner)


def test_many_files_are_all_of_them(spark, tmp_path):
    """
    Exactness does not depend on how the files are listed: more than the 32 that Spark lists by itself.
    """
    many = [f"{n:03}.txt" for n in range(200)]

    assert lines(spark, write(tmp_path, *many)) == names(*many)


@pytest.mark.parametrize(
    ("first", "second"), [("{}", "{}"), ("{}", "file:{}"), ("file://{}", "file:{}"), ("{}", "//{}")]
)
def test_a_file_named_twice_is_read_once(spark, tmp_path, first, second):
    """
    P2: a file under two uids is read once and belongs to the lower one, however the two are spelled.
    """
    write(tmp_path, "x")
    path = str(tmp_path / "x")
    loaded = load_files(spark.read, [Item(2, first.format(path)), Item(1, second.format(path))], format="text")

    assert [row.value for row in loaded.frame.collect()] == ["x"]
    assert {f"file:{path}": 1} == {file: source.uid for file, source in loaded.owners().items()}


def test_relative_items_lie_in_sparks_working_directory(spark, tmp_path):
    """
    An item without scheme and root means what it means to Spark, and is compared with others by where that is.
    """
    write(tmp_path, "x", "y")
    above = os.path.relpath(tmp_path, os.getcwd())
    items = [Item(1, f"{above}/x"), Item(2, str(tmp_path / "x")), Item(3, str(tmp_path / "y"))]

    assert lines(spark, items) == names("x", "y")


def test_root_is_put_before_items_without_a_scheme(spark, tmp_path):
    """
    `root=` says where items lie that are only names.
    """
    write(tmp_path, "a b", "e:f/g")
    write(tmp_path / "elsewhere", "c")
    items = [Item(1, "a b"), Item(2, "/e:f/g"), Item(3, f"file:{tmp_path}/elsewhere/c")]

    frame = load_files(spark.read, items[::2], format="text", root=f"file://{tmp_path}/").frame
    assert sorted(row.value for row in frame.collect()) == names("a b", "c")
    assert load_files(spark.read, items[:2], format="text", root=str(tmp_path)).frame.schema.names == ["value"]


@pytest.mark.parametrize("spelling", ["{}", "file:{}"])
@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_missing_files_are_all_named(spark, tmp_path, spelling, listing):
    """
    Nothing is lost silently: every missing file is in the error, with its uid, before anything is read.
    """
    items = write(tmp_path, "a", "b", "c", "d")
    (tmp_path / "b").unlink()
    (tmp_path / "d").unlink()
    items = [item._replace(item=spelling.format(item.item)) for item in items]

    with pytest.raises(ItemError, match=r"batch 7: files are missing: uid 2: .*/b', uid 4: .*/d'\. missing_files="):
        load_files(spark.read, items, format="text", listing=listing, title="batch 7")


@pytest.mark.parametrize("spelling", ["{}", "file:{}"])
@pytest.mark.parametrize("listing", ["auto", "folders"])
@pytest.mark.parametrize("count", [5, 100])
def test_missing_files_are_left_out_on_request(spark, tmp_path, spelling, listing, count):
    """
    `missing_files="skip"`: the others are read, and what was left out is recorded; the folder may be gone as well.
    """
    items = write(tmp_path, *[f"f{n}" for n in range(count)])
    items = [item._replace(item=spelling.format(item.item)) for item in items]
    gone = [Item(-1, spelling.format(f"{tmp_path}/no/such")), items[1], items[-1]]
    for item in gone[1:]:
        Path(item.item.removeprefix("file:")).unlink()

    loaded = load_files(spark.read, [gone[0], *items], format="text", missing_files="skip", listing=listing)

    kept = [f"f{n}" for n in range(count) if n not in {1, count - 1}]
    assert sorted(row.value for row in loaded.frame.collect()) == names(*kept)
    assert loaded.skipped == [SkippedFile(item.uid, item.item, "missing") for item in gone]


@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_names_spark_ignores_are_an_error_or_recorded(spark, tmp_path, listing):
    """
    P1: a file that Spark drops without a word is never taken for read.
    """
    items = write(tmp_path, "a", "_b", ".c", "d._COPYING_", "_metadata", "_e=f")

    with pytest.raises(ItemError, match=r"uid 2: .*_b', uid 3: .*\.c', uid 4: .*uid 5: .*_metadata'\. "):
        load_files(spark.read, items, format="text", listing=listing)
    loaded = load_files(spark.read, items, format="text", unreadable="skip", listing=listing)
    assert sorted(row.value for row in loaded.frame.collect()) == names("a", "_e=f")
    assert [(file.uid, file.reason) for file in loaded.skipped] == [
        (2, "unreadable"),
        (3, "unreadable"),
        (4, "unreadable"),
        (5, "unreadable"),
    ]


def test_the_rule_for_ignored_names_is_sparks(spark, tmp_path):
    """
    P1: the names we call unreadable are those whose rows Spark drops, no more and no fewer.
    """
    odd = ["_b", ".c", "d._COPYING_", "_metadata", "_metadata=1", "_common_metadata", "_e=f", ".g=h", "i", "_", "-j"]
    items = write(tmp_path, *odd)
    readable = []
    for item in items:
        rows = spark.read.text(item.item).collect()
        readable += [item.uid] if rows else []

    loaded = load_files(spark.read, items, format="text", unreadable="skip")

    assert readable == [source.uid for source in loaded.sources]


@pytest.mark.parametrize("spelling", ["{}", "file:{}"])
@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_a_colon_in_a_local_name_is_an_error_or_recorded(spark, tmp_path, spelling, listing):
    """
    P1: what Hadoop cannot open on a local disk is refused before any work, or left out and recorded.
    """
    items = [item._replace(item=spelling.format(item.item)) for item in write(tmp_path, "a", "12:30", "12:30 d/b")]

    with pytest.raises(ItemError, match=r"uid 2: .*12:30'\. "):
        load_files(spark.read, items, format="text", listing=listing)
    loaded = load_files(spark.read, items, format="text", unreadable="skip", listing=listing)
    assert sorted(row.value for row in loaded.frame.collect()) == names("a", "12:30 d/b")
    assert loaded.skipped == [SkippedFile(2, items[1].item, "unreadable")]


@pytest.mark.parametrize("form", ["text", "json"])  # the second infers its schema, and reads the files for that
@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_a_colon_in_a_folders_file_is_an_error_or_recorded(spark, tmp_path, form, listing):
    """
    P1: the same where an item is the folder: the file is named, and the others are read.
    """
    write(tmp_path, "f/a", "f/12:30", "b")
    for file in ("f/a", "f/12:30", "b"):
        (tmp_path / file).write_text(json.dumps({"value": file}))
    items = [Item(1, f"file:{tmp_path}/f"), Item(2, f"file:{tmp_path}/b")]

    with pytest.raises(ItemError, match=r"uid 1: .*/f/12:30'\. "):
        load_files(spark.read, items, format=form, listing=listing)
    loaded = load_files(spark.read, items, format=form, unreadable="skip", listing=listing)
    assert loaded.frame.count() == 2
    assert loaded.skipped == [SkippedFile(1, f"file:{tmp_path}/f/12:30", "unreadable")]


def generated(count: int) -> list[str]:
    """
    File names of every kind a file system takes, the same each time.
    """
    dice = random.Random(7)
    kinds = [" %#,=:+&;^~$!@'\"()[]{}*?\\|\t\n", "éßñøЖ中文\u00a0\u2028\u3000😀", "abcXYZ0189", "._-"]
    letters = ["".join(kinds), *kinds, kinds[2], kinds[2]]
    found: set[str] = set()
    while len(found) < count:
        name = "".join(dice.choice(dice.choice(letters)) for _ in range(dice.randint(1, 24)))
        if name not in {".", ".."}:
            found.add(name)
    return sorted(found)


def test_a_thousand_generated_names_are_those_files(spark, tmp_path):
    """
    Exact paths: of the names that Spark can read at all, every one is read, and its rows are told from all others.

    Beside each lies a decoy that is not in the batch and that a pattern might match.
    """
    every = generated(1_000)
    items = write(tmp_path, *every)
    matched = {re.sub("[*?]", "x", name) for name in every} | {name + "x" for name in every}
    write(tmp_path, *matched - {*every})
    refused = {name for name in every if name[0] in "._" or ":" in name or name.endswith("._COPYING_")}

    loaded = load_files(spark.read, items, format="text", unreadable="skip")
    rows = (with_key(loaded.frame) if loaded.keyed is None else loaded.keyed).collect()

    assert {item.uid for item in items if every[item.uid - 1] in refused} >= {file.uid for file in loaded.skipped}
    assert sorted(row.value for row in rows) == names(*(every[source.uid - 1] for source in loaded.sources))
    owner = loaded.owners()
    assert all(row.value == quote(every[owner[row[KEY]].uid - 1]) for row in rows)
    assert len(rows) >= 0.99 * (len(every) - len(refused))


@pytest.mark.parametrize("spelling", ["{}", "{}/", "file:{}", "file:{}/"])
@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_a_folder_means_the_files_in_it(spark, tmp_path, spelling, listing):
    """
    A folder as item: the files directly in it, not hidden ones, not those further down; ``k=v`` below adds no column.
    """
    write(tmp_path, "f/a", "f/b", "f/_SUCCESS", "f/.x", "f/k=1/c", "f/sub/d", "other", "_g/e")
    items = [Item(uid, spelling.format(tmp_path / name)) for uid, name in enumerate(["f", "_g", "other"], start=1)]
    items[2] = items[2]._replace(item=items[2].item.rstrip("/"))
    can_look = items[1].item.startswith("file:") and not type(spark).__module__.startswith("pyspark.sql.connect")
    if not can_look:  # then a slash has to tell that it is a folder
        items = [item for item in items if item.uid != 2 or item.item.endswith("/")]

    loaded = load_files(spark.read, items, format="text", listing=listing)

    expected = {"f/a": 1, "f/b": 1, "_g/e": 2, "other": 3}
    expected = {name: uid for name, uid in expected.items() if uid in {item.uid for item in items}}
    assert loaded.frame.columns == ["value"]
    assert sorted(row.value for row in loaded.frame.collect()) == names(*expected)
    assert {f"file:{tmp_path}/{name}": uid for name, uid in expected.items()} == {
        file: source.uid for file, source in loaded.owners().items()
    }


def test_a_folder_with_only_partitions_beside_a_file_loses_nothing(spark, tmp_path):
    """
    P1: Spark would take ``k=v`` folders for a table and drop the file outside of them.
    """
    write(tmp_path, "f/k=1/c", "f/a", "z/other")

    items = [Item(1, str(tmp_path / "f")), Item(2, str(tmp_path / "z" / "other"))]

    assert lines(spark, items) == names("f/a", "z/other")


def test_overlapping_items_are_refused(spark, tmp_path):
    """
    P2: a folder and a file in it would read the file twice.
    """
    items = [*write(tmp_path, "f/a"), Item(2, f"file:{tmp_path}/f")]

    with pytest.raises(ItemError, match=r"overlap: uid 2 .*contains uid 1 "):
        load_files(spark.read, items, format="text")


@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_partition_folders_of_explicit_files_add_no_columns(spark, tmp_path, listing):
    """
    Columns are exactly the schema, also where files lie in ``k=v`` folders.
    """
    items = write(tmp_path, "k=1/a", "k=2/b", "c")

    frame = load_files(spark.read, items, format="text", listing=listing).frame

    assert frame.columns == ["value"]
    assert sorted(row.value for row in frame.collect()) == names("k=1/a", "k=2/b", "c")


def test_base_path_gives_the_partition_columns(spark, tmp_path):
    """
    An option the user sets is honoured: with ``basePath`` the folders become columns.
    """
    items = write(tmp_path, "k=1/a", "k=2/b")

    frame = load_files(spark.read.option("basePath", str(tmp_path)), items, format="text").frame

    assert sorted((row.value, row.k) for row in frame.collect()) == [(quote("k=1/a"), 1), (quote("k=2/b"), 2)]


@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_when_nothing_is_left_the_schema_remains(spark, tmp_path, listing):
    """
    A batch whose files are all gone is an empty DataFrame of the schema that was given, or an error that asks for one.
    """
    gone = [Item(1, str(tmp_path / "gone.json")), Item(2, f"file:{tmp_path}/_hidden.json")]
    skip = {"missing_files": "skip", "unreadable": "skip", "listing": listing}

    frame = load_files(spark.read.schema("a INT, b STRING"), gone, format="json", **skip).frame

    assert (frame.schema.simpleString(), frame.collect()) == ("struct<a:int,b:string>", [])
    with pytest.raises(ItemError, match=r"batch 7: no file is left .*schema"):
        load_files(spark.read, gone, format="json", title="batch 7", **skip)


@pytest.mark.parametrize("before", [None, "7"])
@pytest.mark.parametrize("spelling", ["{}", "file:{}", "{}/no"])
def test_confs_are_left_as_they_were(spark, tmp_path, spelling, before):
    """
    The session's confs are the same after a call, set or not set, also when it raised.
    """
    items = [item._replace(item=spelling.format(item.item)) for item in write(tmp_path, *[str(n) for n in range(40)])]
    for key in (THRESHOLD, PARALLELISM):
        spark.conf.unset(key) if before is None else spark.conf.set(key, before)
    try:
        if spelling.endswith("no"):
            with pytest.raises(ItemError):
                load_files(spark.read, items, format="text")
        else:
            load_files(spark.read, items, format="text")
        assert [before, before] == [spark.conf.get(THRESHOLD, None), spark.conf.get(PARALLELISM, None)]
    finally:
        for key in (THRESHOLD, PARALLELISM):
            spark.conf.unset(key)


def test_listing_many_files_is_bounded(spark, tmp_path):
    """
    P6: files without a scheme are listed by at most 16 tasks, not one each; local ones by none.
    """

    def jobs(items):
        before = tasks_by_job()
        load_files(spark.read, items, format="text")
        return [tasks for job, tasks in tasks_by_job().items() if job not in before]

    items = write(tmp_path, *[str(n) for n in range(60)])

    listed = jobs(items)
    assert (set(listed), len(listed) > 1) == ({16}, lists_each_time(spark))
    assert jobs([item._replace(item=f"file:{item.item}") for item in items]) == []


def tasks_by_job():
    """
    How many tasks each job had that this Spark has run; its server's, if this is Connect.
    """
    context = SparkContext._active_spark_context._jsc.sc()
    context.listenerBus().waitUntilEmpty()
    jobs = context.statusStore().jobsList(None)
    return {jobs.apply(n).jobId(): jobs.apply(n).numTasks() for n in range(jobs.size())}


class _Refusing:
    """
    A session whose platform lets nobody set confs.
    """

    def __init__(self, spark):
        self._spark = spark
        self.conf = self

    def get(self, key, default=None):
        return default

    def set(self, key, value):
        raise RuntimeError("CONFIG_NOT_AVAILABLE")

    def __getattr__(self, name):
        return getattr(self._spark, name)


def test_a_platform_that_refuses_confs_reads_the_same(spark, tmp_path):
    """
    Setting confs is for speed only: where it is refused, the result is the same.
    """
    many = [str(n) for n in range(40)]
    items = write(tmp_path, *many)
    reader = spark.read
    setattr(reader, "_client" if hasattr(reader, "_client") else "_spark", _Refusing(spark))

    frame = load_files(reader, items, format="text").frame

    assert sorted(row.value for row in frame.toDF("value").collect()) == names(*many)


def refusing(spark):
    """
    A reader of a Connect session that refuses confs.
    """
    reader = spark.read
    if not hasattr(reader, "_client"):
        pytest.skip("only Connect's readers show that no basePath was set")
    reader._client = _Refusing(spark)
    return reader


def test_folders_are_listed_where_nothing_bounds_the_listing(spark, tmp_path):
    """
    P6, P1: the rows are the same, found by few listings; a file that is missing is named as ever.
    """
    items = write(tmp_path, *(f"{n % 3}/f [{n}]" for n in range(40)), "0/else", "1/deeper/else")[:40]

    loaded = load_files(refusing(spark), items, format="text")

    assert sorted(row.value for row in loaded.frame.collect()) == names(*(f"{n % 3}/f [{n}]" for n in range(40)))
    assert " Filter " in explained(loaded.frame)
    with pytest.raises(ItemError, match=r"uid 41: .*/gone'\. "):
        load_files(refusing(spark), [*items, Item(41, f"{tmp_path}/0/gone")], format="text")


@pytest.mark.parametrize("case", ["much else", "many folders", "basePath", "few"])
def test_folders_are_not_listed_where_that_would_cost_more_or_change_the_columns(spark, tmp_path, case):
    """
    P6: by name where the folders hold far more than the batch, where they are many, with a basePath, and for few files.
    """
    folder = "{}/f" if case == "many folders" else "k=1/f{}"
    items = write(tmp_path, *(folder.format(n) for n in range(8 if case == "few" else 40)))
    if case == "much else":
        write(tmp_path, *(f"k=1/else{n}" for n in range(400)))
    reader = refusing(spark)

    loaded = load_files(
        reader.option("basePath", str(tmp_path)) if case == "basePath" else reader, items, format="text"
    )

    assert loaded.frame.count() == len(items)
    assert loaded.frame.columns == (["value", "k"] if case == "basePath" else ["value"])
    assert " Filter " not in explained(loaded.frame)


def explained(frame) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        frame.explain()
    return printed.getvalue()


def test_a_gateway_that_lets_us_call_nothing_reads_the_same(spark, tmp_path, monkeypatch):
    """
    Clusters may restrict what is called in the JVM; then paths go there one by one.
    """
    many = [str(n) for n in range(600)]
    items = write(tmp_path, *many)
    monkeypatch.setattr("spark_batchintory.gateway._APART", None)  # which no call takes

    assert lines(spark, items) == names(*many)


def test_many_small_files_are_told(spark, tmp_path, monkeypatch, caplog):
    """
    One line in the log where a load may be very many tasks, with what to do about it.
    """
    caplog.set_level("INFO", "spark_batchintory")
    monkeypatch.setattr("spark_batchintory.loading._MANY_TASKS", 3)

    load_files(spark.read, write(tmp_path, "a", "b", "c"), format="text")
    load_files(spark.read, write(tmp_path, "a", "b", "c", "d"), format="text", title="batch 7 of job 'daily'")

    assert [text[:33] for text in caplog.messages] == ["batch 7 of job 'daily': 4 files; "]


def test_the_plan_of_many_files_is_as_short_as_that_of_few(spark, tmp_path):
    """
    The DataFrame stays ordinary: one scan, however many files.
    """
    many = write(tmp_path, *[str(n) for n in range(600)])

    few, all_of_them = (explained(load_files(spark.read, items, format="text").frame) for items in (many[:40], many))

    assert abs(len(all_of_them) - len(few)) < 100


@pytest.mark.parametrize("provenance", [False, True])
def test_files_are_listed_once(spark, tmp_path, provenance):
    """
    P6: no action lists the files again, which would find one missing. A Connect server of Spark 3.5 needs a view.
    """
    items = write(tmp_path, *[str(n) for n in range(40)])
    read = spark.read.option("ignoreMissingFiles", True)
    for table in spark.catalog.listTables():  # of other tests
        spark.catalog.dropTempView(table.name)

    frame = batchintory(read, items, format="text", provenance=provenance)
    Path(items[7].item).unlink()

    for _ in range(2):
        assert sorted(row.value for row in frame.collect()) == sorted(str(n) for n in range(40) if n != 7)
    views = [table.name[:13] for table in spark.catalog.listTables()]
    assert views == (["_batchintory_"] if lists_each_time(spark) else [])


@pytest.mark.parametrize("provenance", [False, True])
def test_files_are_listed_once_also_after_many_other_reads(spark, tmp_path, provenance):
    """
    P6: with ``listing="once"`` no action lists the files again, though the server has forgotten the frame by then.
    """
    items = write(tmp_path, *[str(n) for n in range(40)])
    read = spark.read.option("ignoreMissingFiles", True)

    frame = batchintory(read, items, format="text", provenance=provenance, listing="once")
    for number in range(40):
        assert spark.read.text(str(tmp_path / str(number))).count() == 1
    Path(items[7].item).unlink()

    assert sorted(row.value for row in frame.collect()) == sorted(str(n) for n in range(40) if n != 7)


def test_a_format_of_its_own_gets_the_paths_as_they_are(spark, tmp_path):
    """
    Any format that takes paths: outside of Spark's file sources nothing is escaped, listed or unfolded.
    """
    assert "delta" not in FILE_FORMATS
    write(tmp_path, "f/k=1/c")
    item = Item(1, str(tmp_path / "f"))

    loaded = load_files(spark.read, [item], format="org.apache.spark.sql.execution.datasources.text.TextFileFormat")

    assert loaded.frame.columns == ["value", "k"]


def test_wrong_arguments_are_named(spark):
    """
    A misspelled argument is refused before anything is touched.
    """
    for name in ("missing_files", "unreadable", "listing"):
        with pytest.raises(ConfigurationError, match=f"{name}='maybe' is none of"):
            load_files(spark.read, [], format="text", **{name: "maybe"})
    with pytest.raises(ConfigurationError, match="listing='folders'"):
        load_files(spark.read, [Item(1, "/x")], format="rate", listing="folders")
    with pytest.raises(ConfigurationError, match="shows no session"):
        session_of(object())
