"""
`spark.read.batchintory`: paths, files, provenance, on the reader's own schema and options.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from chispa import assert_df_equality

from spark_batchintory import opening
from spark_batchintory.batch import Item, PlannedBatch
from spark_batchintory.errors import ConfigurationError, ItemError
from spark_batchintory.paths import SkippedFile
from spark_batchintory.reading import batchintory, reader

START = datetime(2024, 3, 31, 1, 59, 59, 123456)  # noqa: DTZ001  # naive UTC, as a batch has it
ROWS = [(1, "é"), (2, "b,c"), (3, None)]
SCHEMA = "a INT, b STRING"


@dataclass(frozen=True)
class Claimed:
    """
    What the reader uses of a claimed batch.
    """

    items: list[Item]
    id: int = 17
    job: str = "it's a \\ job"
    job_identifier: str | None = None
    attempt: int = 2
    processing_start: datetime = START
    skipped: list[SkippedFile] = field(default_factory=list)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def skip(self, files: list[SkippedFile]) -> None:
        self.skipped.extend(files)


@pytest.fixture(scope="module")
def landing(spark, tmp_path_factory):
    """
    Folders of one file per row of `ROWS`, by format, and one more file in each that no item names.
    """
    base = tmp_path_factory.mktemp("landing")

    @functools.cache
    def written(form: str) -> list[Item]:
        files = []
        for uid, row in enumerate([*ROWS, (99, "stranger")], start=1):
            path = base / form / f"{uid}"
            spark.createDataFrame([row], SCHEMA).coalesce(1).write.format(form).save(str(path))
            (part,) = path.glob("part-*")
            files.append(Item(uid, str(part.rename(path.with_suffix(f".{form}"))), uid * 10))
        return files[:-1]

    return written


@pytest.fixture(params=["told", "joined"])
def way(request, monkeypatch):
    """
    How rows are credited: as with few files, and as with many.
    """
    if request.param == "joined":
        monkeypatch.setattr("spark_batchintory.provenance.FEW", -1)


each_way = pytest.mark.usefixtures("way")


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "orc"])
@pytest.mark.parametrize("listing", ["auto", "folders"])
@pytest.mark.parametrize("provenance", [False, True])
def test_the_rows_are_exactly_those_of_the_files(spark, landing, form, listing, provenance):
    """
    The files of a batch, all of them and no others, in Spark's own source, with the schema that was given.
    """
    batch = Claimed(landing(form))

    frame = batchintory(spark.read.schema(SCHEMA), batch, format=form, listing=listing, provenance=provenance)

    if provenance:
        assert {(row.a, row._batchintory.uid) for row in frame.collect()} == {(1, 1), (2, 2), (3, 3)}
        assert frame.columns == ["a", "b", "_batchintory"]
    assert_df_equality(frame.select("a", "b"), spark.createDataFrame(ROWS, SCHEMA), ignore_row_order=True)


def test_text_lines_are_read_as_they_are(spark, tmp_path):
    """
    Formats without a schema of one's own work the same.
    """
    (tmp_path / "x").write_text("one\ntwo\n")

    frame = batchintory(spark.read, Claimed([Item(1, str(tmp_path / "x"))]), format="text")

    assert_df_equality(frame, spark.createDataFrame([("one",), ("two",)], "value STRING"), ignore_row_order=True)


def test_options_of_the_reader_are_honoured(spark, tmp_path):
    """
    Header, separator, inference, corrupt-record column: what was set on the reader holds.
    """
    (tmp_path / "x.csv").write_text("a;b\n1;x\n2;y\n")
    batch = Claimed([Item(1, str(tmp_path / "x.csv"))])

    frame = batchintory(spark.read.option("header", True).options(sep=";", inferSchema=True), batch, format="csv")

    assert_df_equality(frame, spark.createDataFrame([(1, "x"), (2, "y")], "a INT, b STRING"))


@each_way
@pytest.mark.parametrize("provenance", [False, True])
@pytest.mark.parametrize("listing", ["auto", "folders"])
def test_filters_are_pushed_down(spark, landing, provenance, listing, capsys):
    """
    The DataFrame is Spark's own scan: a filter and a projection on it reach the source, with provenance too.
    """
    frame = batchintory(
        spark.read, Claimed(landing("parquet")), format="parquet", provenance=provenance, listing=listing
    )

    frame.where("a = 2").select("a", *(["_batchintory.uid"] if provenance else [])).explain()

    plan = capsys.readouterr().out
    assert "PushedFilters: [IsNotNull(a), EqualTo(a,2)]" in plan
    assert "ReadSchema: struct<a:int>" in plan


@pytest.fixture(scope="module")
def typed(spark, landing, tmp_path_factory):
    """
    Items of some format, and the reader that reads them, whatever the format.
    """
    folder = tmp_path_factory.mktemp("typed")

    def made(form: str) -> tuple[list[Item], Any]:
        if form in {"csv", "json", "parquet", "orc", "avro"}:
            return landing(form), spark.read.schema(SCHEMA)
        for uid in (1, 2, 3):
            (folder / f"{uid}.{form}").write_text(f"<rows><row><a>{uid}</a><b>x{uid}</b></row></rows>\n")
        read = spark.read.schema(SCHEMA).option("rowTag", "row") if form == "xml" else spark.read
        return [Item(uid, str(folder / f"{uid}.{form}"), 1) for uid in (1, 2, 3)], read

    return made


def plan(frame, capsys) -> str:
    """
    What `explain` prints of a frame, without the numbers of this frame's columns.
    """
    capsys.readouterr()
    frame.explain()
    return re.sub(r"#\d+L?|@[0-9a-f]+", "#", capsys.readouterr().out)


@pytest.mark.parametrize("form", ["avro", "binaryFile", "csv", "json", "orc", "parquet", "text", "xml"])
def test_the_frame_is_what_spark_makes_of_the_paths(spark, typed, form, capsys):
    """
    Any format that takes paths: rows, schema, plan, pushed-down filters and `_metadata` are those of the plain reader.
    """
    if form == "xml" and spark.version < "4":
        pytest.skip("Spark has XML from 4.0 on")
    items, read = typed(form)

    ours = batchintory(read, Claimed(items), format=form)
    plain = typed(form)[1].format(form).load([item.item for item in items])

    assert ours.schema == plain.schema
    column = ours.columns[-1]
    for change in (
        lambda frame: frame,
        lambda frame: frame.where(f"{column} IS NOT NULL").select(column),
        lambda frame: frame.select("*", "_metadata.file_name"),
    ):
        assert plan(change(ours), capsys) == plan(change(plain), capsys)
        assert sorted(map(repr, change(ours).collect())) == sorted(map(repr, change(plain).collect()))


def test_corrupt_records_are_kept_as_by_the_plain_reader(spark, tmp_path):
    """
    A record that does not fit goes where the reader's options say: into its column, away, or into an error.
    """
    (tmp_path / "x").write_text('{"a": 1}\n{"a": oops\n')
    batch = Claimed([Item(1, str(tmp_path / "x"))])
    kept = spark.read.schema("a INT, bad STRING").option("columnNameOfCorruptRecord", "bad")

    assert sorted(batchintory(kept, batch, format="json").collect(), key=repr) == [(1, None), (None, '{"a": oops')]
    dropped = spark.read.schema("a INT").option("mode", "DROPMALFORMED")
    assert batchintory(dropped, batch, format="json").collect() == [(1,)]
    strict = batchintory(spark.read.schema("a INT").option("mode", "FAILFAST"), batch, format="json")
    with pytest.raises(Exception, match=r"(?i)malformed"):
        strict.collect()


def test_paths_are_uid_item_weight_in_uid_order(spark):
    """
    Without a format: the batch's rows with fixed types; a weight that is no number is NULL, whatever it was.
    """
    weights: list[Any] = [3, Decimal("0.5"), 2.25, None, float("nan"), "heavy", Decimal("NaN"), 10**400, float("inf")]
    batch = Claimed([Item(uid - 5, f"/f{uid}", weight) for uid, weight in enumerate(weights)])

    frame = batchintory(spark.read.schema(SCHEMA).option("header", True), batch)

    expected = [(uid - 5, f"/f{uid}", [3.0, 0.5, 2.25][uid] if uid < 3 else None) for uid in range(len(weights))]
    assert_df_equality(frame, spark.createDataFrame(expected, "uid LONG, item STRING, weight DOUBLE"))
    assert batchintory(spark.read, Claimed([])).collect() == []


def test_a_planned_batch_is_read_as_well(spark, landing):
    """
    One develops without claiming: a plan has items and nothing else, and its provenance is empty but for these.
    """
    planned = PlannedBatch(landing("json"))

    assert batchintory(spark.read, planned).count() == 3
    rows = batchintory(spark.read.schema(SCHEMA), planned, format="json", provenance=True).collect()
    assert {(row._batchintory.uid, row._batchintory.job, row._batchintory.batch_id) for row in rows} == {
        (1, None, None),
        (2, None, None),
        (3, None, None),
    }


def test_a_number_is_the_id_of_a_batch(spark, landing, monkeypatch):
    """
    `spark.read.batchintory(17)` reads what batch 17 of the configured inventory held.
    """
    batches = {17: Claimed(landing("json"))}
    monkeypatch.setattr(opening, "read_batch", batches.__getitem__)

    assert batchintory(spark.read, 17).count() == 3
    assert batchintory(spark.read.schema(SCHEMA), 17, format="json").count() == 3


@pytest.mark.parametrize(
    ("batch", "words"),
    [(None, "acquire_batch returned None"), ("17", "'17' cannot be read"), (True, "cannot be read"), (1.5, "cannot")],
)
def test_what_is_no_batch_is_refused(spark, batch, words):
    """
    A clear error instead of an empty DataFrame, above all for the None that means "nothing to do".
    """
    with pytest.raises(ConfigurationError, match=words):
        batchintory(spark.read, batch, format="json")


@each_way
def test_provenance_names_job_batch_attempt_and_item(spark, landing):
    """
    P7: one struct column says where a row came from; its time is the same instant in any session time zone.
    """
    batch = Claimed(landing("json")[:1], job_identifier="run {1}")

    frame = batchintory(spark.read.schema(SCHEMA), batch, format="json", provenance=True)

    assert frame.schema["_batchintory"].dataType.simpleString() == (
        "struct<job:string,job_identifier:string,batch_id:bigint,attempt:int,uid:bigint,item:string,"
        "processing_start:timestamp>"
    )
    (row,) = frame.selectExpr("_batchintory.*", "unix_micros(_batchintory.processing_start) AS micros").collect()
    micros = int(START.replace(tzinfo=timezone.utc).timestamp()) * 10**6 + START.microsecond
    assert (row.job, row.job_identifier, row.batch_id, row.attempt) == (batch.job, "run {1}", 17, 2)
    assert (row.uid, row.item, row.micros) == (1, batch.items[0].item, micros)


@each_way
@pytest.mark.parametrize("listing", ["auto", "folders"])
@pytest.mark.parametrize("spelling", ["{}", "file://{}"])
def test_provenance_is_right_for_odd_names_duplicates_and_folders(spark, tmp_path, spelling, listing):
    """
    P7: every row is credited to the uid whose file it is from, whatever the name; to the lower of two; to a folder's.
    """
    names = ["a b", "a+b", "a%20b", "a%2Bb", "é[1]", "{x,y}", "q?*", "n\no", "\u00a0\u2028", "k=v", "$1", "back\\slash"]
    folder = tmp_path / "many files"
    folder.mkdir()
    for name in names:
        (tmp_path / name).write_text(json.dumps({"name": name}))
        (folder / name).write_text(json.dumps({"name": name}))
    items = [Item(uid, spelling.format(tmp_path / name)) for uid, name in enumerate([*names, *names])]
    batch = Claimed([*items, Item(100, spelling.format(folder))])

    frame = batchintory(
        spark.read.schema("name STRING"), batch, format="json", provenance=True, listing=listing
    ).selectExpr("name", "_batchintory.uid", "_batchintory.item")

    expected = [(name, uid, items[uid].item) for uid, name in enumerate(names)]
    expected += [(name, 100, batch.items[-1].item) for name in names]
    assert_df_equality(
        frame, spark.createDataFrame(expected, "name STRING, uid LONG, item STRING"), ignore_row_order=True
    )


@each_way
def test_provenance_keeps_every_row_or_raises(spark, landing):
    """
    P1: a row whose file nobody owns is an error in the action, also under a filter on provenance; it never vanishes.
    """
    batch = Claimed(landing("json"))
    frame = batchintory(spark.read.schema(SCHEMA), batch, format="json", provenance=True)
    assert frame.count() == frame.where("_batchintory.uid IS NOT NULL").count() == 3

    from spark_batchintory.loading import load_files
    from spark_batchintory.provenance import with_provenance

    loaded = load_files(spark.read.schema(SCHEMA), batch, format="json")
    lost = with_provenance(_Fewer(loaded), batch)
    for action in (lost, lost.where("_batchintory.uid > 0"), lost.where("_batchintory.item = 'x'")):
        with pytest.raises(Exception, match="no item of the batch owns file:/"):
            action.collect()
    assert lost.select("a").count() == 3


class _Fewer:
    """
    Loaded files whose last file lost its owner.
    """

    keyed = None

    def __init__(self, loaded):
        self.frame = loaded.frame
        self._owners = dict(list(loaded.owners().items())[:-1])

    def owners(self):
        return self._owners


def test_a_data_column_called_metadata_hides_nothing(spark, tmp_path):
    """
    P7: data may have a column `_metadata`; provenance still asks for Spark's own, which before 4.0 has no other name.
    """
    (tmp_path / "x").write_text('{"_metadata": "mine"}')
    read, batch = spark.read.schema("_metadata STRING"), Claimed([Item(1, str(tmp_path / "x"))])
    if spark.version < "4":
        with pytest.raises(ConfigurationError, match="does not say which file"):
            batchintory(read, batch, format="json", provenance=True)
        return

    frame = batchintory(read, batch, format="json", provenance=True)

    assert [(row._metadata, row._batchintory.uid) for row in frame.collect()] == [("mine", 1)]


@each_way
def test_provenance_of_no_files_is_an_empty_column(spark, tmp_path):
    """
    A batch whose files are all gone has the same columns as any other.
    """
    batch = Claimed([Item(1, str(tmp_path / "gone"))])

    frame = batchintory(spark.read.schema(SCHEMA), batch, format="json", provenance=True, missing_files="skip")

    assert (frame.columns, frame.collect()) == (["a", "b", "_batchintory"], [])
    assert batch.skipped == [SkippedFile(1, str(tmp_path / "gone"), "missing")]


def test_provenance_that_cannot_be_told_is_refused(spark, landing, tmp_path):
    """
    A source without `_metadata`, or data that has our column, is a clear error.
    """
    batch = Claimed(landing("json"))
    with pytest.raises(ConfigurationError, match="column names beginning with '_batchintory'"):
        batchintory(spark.read.schema("_Batchintory STRING"), batch, format="json", provenance=True)
    spark.conf.set("spark.sql.sources.useV1SourceList", "")
    try:
        with pytest.raises(ConfigurationError, match="does not say which file"):
            batchintory(spark.read.schema(SCHEMA), batch, format="json", provenance=True)
    finally:
        spark.conf.unset("spark.sql.sources.useV1SourceList")


def test_what_was_left_out_is_told_to_the_batch(spark, landing):
    """
    P7: missing and unreadable files are recorded with the batch; an error names batch and job.
    """
    items = landing("json")
    batch = Claimed([*items, Item(8, "/no/such"), Item(9, "/no/_hidden")])

    with pytest.raises(ItemError, match=r"batch 17 of job .*uid 9: '/no/_hidden'"):
        batchintory(spark.read.schema(SCHEMA), batch, format="json")
    assert batch.skipped == []
    frame = batchintory(spark.read.schema(SCHEMA), batch, format="json", missing_files="skip", unreadable="skip")
    assert frame.count() == 3
    assert batch.skipped == [SkippedFile(9, "/no/_hidden", "unreadable"), SkippedFile(8, "/no/such", "missing")]


def test_the_typed_twin_reads_the_same(spark, landing):
    """
    `bi.reader(spark)` chains like Spark's reader, and knows a format that was set on it.
    """
    batch = Claimed(landing("csv"))
    twin = reader(spark)

    assert twin.schema(SCHEMA).option("sep", ",").options(quote='"') is twin
    assert_df_equality(twin.batchintory(batch).select("uid"), batchintory(spark.read, batch).select("uid"))
    assert_df_equality(
        twin.format("csv").batchintory(batch),
        batchintory(spark.read.schema(SCHEMA), batch, format="csv"),
        ignore_row_order=True,
    )


def test_the_patched_reader_reads_the_same(spark, landing):
    """
    `spark.read.batchintory` is there once the package is imported, and is the typed function.
    """
    batch = Claimed(landing("json"))

    assert_df_equality(
        spark.read.schema(SCHEMA).batchintory(batch, format="json", provenance=True),
        batchintory(spark.read.schema(SCHEMA), batch, format="json", provenance=True),
        ignore_row_order=True,
    )
    assert spark.read.batchintory(batch).columns == ["uid", "item", "weight"]


def test_nothing_is_left_in_the_session(spark, landing):
    """
    No view, no table and no conf stays behind.
    """
    before = (spark.sql("SET").collect(), spark.catalog.listTables())

    batchintory(spark.read.schema(SCHEMA), Claimed(landing("json")), format="json", provenance=True).collect()

    assert before == (spark.sql("SET").collect(), spark.catalog.listTables())
