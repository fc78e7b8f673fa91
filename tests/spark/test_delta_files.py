"""
Folders that are scanned into Delta tables through Spark, and worked off from there.
"""

from __future__ import annotations

import os
import shutil
import threading
from datetime import timedelta

import pytest

import spark_batchintory as bi
from spark_batchintory import ClaimConflict, ConfigurationError
from spark_batchintory.backends.spark_files import SparkFileTable
from spark_batchintory.discovery import register_files


@pytest.fixture
def landing(tmp_path):
    """
    Three files of a row each, and names that Spark never reads.
    """
    folder = tmp_path / "landing"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(["b [1].json", "sub/a.json", "_SUCCESS", "c.json"]):
        (folder / name).write_text(f'{{"id": {number}}}\n')
        os.utime(folder / name, (10**9 + number, 10**9 + number))
    return folder


@pytest.fixture(params=["by path", "in the catalog"])
def name(request, delta, tmp_path):
    """
    A table that is not there yet.
    """
    if request.param == "by path":
        yield f"delta.`{tmp_path / 'files'}`"
    else:
        yield "default.landing_files"
        delta.sql("DROP TABLE IF EXISTS default.landing_files")


def test_a_folder_is_worked_off(delta, landing, name, tmp_path):
    """
    P1, P2: registered once, in order of appearance, in the session's own table; and Spark reads what the items name.
    """
    with bi.open_inventory(f"sqlite:///{tmp_path / 'inventory.db'}", meta="spark:", spark=delta) as inventory:
        assert inventory.register_files(str(landing), name, dry_run=True).registered == 3
        assert inventory.register_files(str(landing), name).registered == 3
        assert inventory.register_files(str(landing), name).left == {"hidden": 1, "known": 3}
        (landing / "c.json").write_text('{"id": 3, "more": 1}\n')
        assert inventory.register_files(str(landing), name, min_age=0).left["changed"] == 1
        assert inventory.register_files(str(landing), name, min_age=0, rewritten="new").registered == 1

        batch = inventory.acquire_batch("bronze", name, batch_count=3, heartbeat=False)
        assert batch.items == [f"file://{landing}/{item}" for item in ("b [1].json", "sub/a.json", "c.json")]
        rows = delta.read.schema("id LONG").batchintory(batch, format="json").collect()
        assert sorted(row.id for row in rows) == [0, 1, 3]
        assert inventory.acquire_batch("bronze", name, heartbeat=False).uids == [4]
    assert [row.viewName for row in delta.sql("SHOW VIEWS").collect() if row.viewName.startswith("_batchintory")] == []


def test_scanners_beside_one_another(delta, tmp_path):
    """
    P1, P2: of two that write to one table, Delta tells the second; each file is registered once.
    """
    folder, name = tmp_path / "landing", f"delta.`{tmp_path / 'files'}`"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}").touch()
    answers = []

    def scan():
        table = SparkFileTable(name, lambda: delta)
        table.page_size = 10
        answers.append(register_files(str(folder), table, min_age=timedelta(0)))

    scanners = [threading.Thread(target=scan) for _ in range(2)]
    for scanner in scanners:
        scanner.start()
    for scanner in scanners:
        scanner.join()

    rows = delta.sql(f"SELECT uid, item FROM {name} ORDER BY uid").collect()
    assert [row.uid for row in rows] == list(range(1, 31))
    assert len({row.item for row in rows}) == 30
    assert sum(answer.registered for answer in answers) == 30


def test_a_table_that_another_scanner_is_making(delta, landing, tmp_path):
    """
    P1: between its folder and its first commit a table is no table yet; who comes then waits, and goes on with it.
    """
    begun = tmp_path / "files"
    (begun / "_delta_log").mkdir(parents=True)
    (begun / "_delta_log" / ".00.json.tmp").touch()
    table, tries = SparkFileTable(f"delta.`{begun}`", lambda: delta), []
    make = table._prepared

    def make_again():
        tries.append(begun.exists())
        try:
            make()
        finally:
            if len(tries) == 1:
                shutil.rmtree(begun)

    table._prepared = make_again
    assert register_files(str(landing), table).registered == 3
    assert tries == [True, False]


def test_files_of_somebody_else_are_left_alone(delta, landing):
    """
    API: a folder with other files becomes no table.
    """
    with pytest.raises(ConfigurationError, match=r"holds other files.*another table"):
        register_files(str(landing), SparkFileTable(f"delta.`{landing}`", lambda: delta))
    assert not (landing / "_delta_log").exists()


def test_a_page_that_was_looked_at_too_early_is_refused(delta, landing, name):
    """
    P2: uids that another scanner has given meanwhile stop the whole page; nothing of it is written.
    """
    table = SparkFileTable(name, lambda: delta)
    register_files(str(landing), table)
    files = []
    table.append = lambda page: files.extend(page) or page
    (landing / "d.json").touch()
    register_files(str(landing), table, min_age=timedelta(0))

    with pytest.raises(ClaimConflict, match="came first"):
        table._merge(files, 3)
    assert [row.uid for row in delta.sql(f"SELECT uid FROM {name} ORDER BY uid").collect()] == [1, 2, 3]


def test_a_table_of_another_kind_is_left_alone(delta, landing, name):
    """
    API: what somebody else made is not written to.
    """
    delta.sql(f"CREATE TABLE {name} (uid LONG, item STRING, weight LONG) USING delta")

    with pytest.raises(ConfigurationError, match="no column 'modified_at'"):
        register_files(str(landing), SparkFileTable(name, lambda: delta))
