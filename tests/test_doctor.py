"""
`doctor`: what is wrong is found, each finding has its cure, nothing is written, and nothing that is broken ends it.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

import spark_batchintory as bi
from spark_batchintory import diagnosing
from spark_batchintory.batch import JobRow, Kind, Status
from spark_batchintory.diagnosing import HINT, OK, PROBLEM
from spark_batchintory.facts import MetaFacts, StoreFacts
from spark_batchintory.inventory import JobCounts
from spark_batchintory.job_health import JobFacts, job_checks
from spark_batchintory.settings import load_settings, shown_settings

from .stage import LEASE, MINUTE, Stage
from .test_lifecycle import row_in

NOON = datetime(2024, 6, 1, 12)  # noqa: DTZ001  # naive UTC, as the inventory has it
TABLES = {word: f"inventory_{word}" for word in ("about", "job", "attempt", "publication", "gap", "act")}
WELL = StoreFacts("PostgreSQL 18", {"inventory": "inventory", **TABLES}, version="2", expected="2", now=NOON)


@pytest.fixture
def stage(sql_url):
    """
    Nine files on each kind of database in turn.
    """
    with Stage(sql_url) as stage:
        stage.files(range(1, 10))
        yield stage


@pytest.fixture
def lite(tmp_path):
    """
    Nine files on SQLite.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        stage.files(range(1, 10))
        yield stage


def found(checkup, finding=None, check=None):
    """
    The findings of a kind, about a thing.
    """
    return [row for row in checkup if finding in (None, row.finding) and check in (None, row.check)]


class TestWell:
    def test_a_job_that_goes_well_is_healthy(self, stage):
        """
        API: nothing to complain of is no problem, on every database; each finding names what was looked at.
        """
        inventory = stage.open()
        inventory.acquire_batch("daily", "files", batch_count=3).succeeded()
        checkup = inventory.doctor()

        assert checkup.healthy, checkup
        assert found(checkup, PROBLEM) == []
        assert {row.check for row in found(checkup, OK)} >= {
            "settings",
            "tables",
            "rights",
            "indexes",
            "job",
            "meta table",
        }
        assert [row.message for row in found(checkup, HINT, "indexes")] == [
            "no index begins with the item column: trace of an item reads the whole table"
        ]

    def test_nothing_is_written(self, stage):
        """
        API: `doctor` never writes.
        """
        inventory = stage.open()
        inventory.acquire_batch("daily", "files", batch_count=3)
        before = stage.everything()

        assert len(inventory.doctor()) > 5
        assert stage.everything() == before

    def test_before_there_is_an_inventory(self, stage):
        """
        API: looking makes no tables.
        """
        (hint,) = found(stage.open().doctor(), HINT, "tables")

        assert "no inventory yet" in hint.message
        with pytest.raises(sa.exc.DBAPIError):
            stage.rows("SELECT * FROM inventory")

    def test_no_file_is_made(self, tmp_path):
        """
        API: nor a SQLite file, which to connect would make.
        """
        with bi.open_inventory(f"sqlite:///{tmp_path}/none.db") as inventory:
            assert found(inventory.doctor(), HINT, "tables")
        assert list(tmp_path.iterdir()) == []

    def test_cures_can_be_run_as_they_stand(self, stage):
        """
        API: the statement that a finding gives is one: it is run, and the finding is gone.
        """
        stage.execute("CREATE TABLE bare (uid BIGINT NOT NULL, item VARCHAR(200), weight BIGINT)")
        stage.add(1, 2, name="bare")
        inventory = stage.open()
        inventory.acquire_batch("daily", "bare").succeeded()
        stage.execute("DROP INDEX inventory_beside" + (" ON inventory" if stage.kind == "mariadb" else ""))

        problems = found(inventory.doctor(), PROBLEM)
        assert [row.place for row in problems] == ["inventory_beside", "bare"]
        for row in (*problems, *found(inventory.doctor(), HINT, "indexes")):
            stage.execute(row.cure.rstrip(";"))
        after = stage.open().doctor()
        assert after.healthy
        assert [row.message.split(":")[0] for row in found(after, HINT, "indexes")] == ["nothing keeps uids unique"]


class TestBroken:
    @pytest.mark.parametrize("url", ["postgresql://ann:s3cret@127.0.0.1:1/x", "mysql://ann:s3cret@127.0.0.1:1/x"])
    def test_a_server_that_is_away(self, url):
        """
        API: it is what one calls when things are broken: a finding, and no password in it.
        """
        with bi.open_inventory(url) as inventory:
            checkup = inventory.doctor()

        (problem,) = found(checkup, PROBLEM)
        assert not checkup.healthy
        assert "InventoryUnavailable" in problem.message
        assert "s3cret" not in f"{checkup}{checkup.to_dicts()}{checkup._repr_html_()}"

    def test_a_meta_table_that_is_gone_or_away(self, lite, tmp_path):
        """
        API: it works without a reachable meta table, and tells the rest.
        """
        inventory = lite.open()
        inventory.acquire_batch("daily", "files").succeeded()
        lite.execute("DROP TABLE files")

        for opened in (lite.open(), lite.open(meta="postgresql://ann@127.0.0.1:1/x")):
            checkup = opened.doctor()
            assert [row.check for row in found(checkup, PROBLEM)] == ["meta table"]
            assert found(checkup, OK, "tables")

    def test_a_table_that_is_gone(self, stage):
        """
        API: a finding that names it, where every other call is refused.
        """
        stage.open().status()
        stage.execute("DROP TABLE inventory_gap")

        (problem,) = found(stage.open().doctor(), PROBLEM)
        assert problem.check == "tables"
        assert "inventory_gap" in problem.message

    def test_whatever_breaks_is_a_finding(self, lite, monkeypatch):
        """
        API: it never raises because something is broken, be it a fault of ours.
        """
        inventory = lite.open()
        inventory.acquire_batch("daily", "files")
        monkeypatch.setattr(inventory.backend, "counts", lambda job: 1 / 0)
        (problem,) = found(inventory.doctor(), PROBLEM)
        assert "ZeroDivisionError" in problem.message

    def test_a_job_that_nobody_knows(self, lite):
        """
        API: told with the names there are.
        """
        inventory = lite.open()
        inventory.acquire_batch("daily", "files")

        assert "'daily'" in found(inventory.doctor("dayly"), PROBLEM)[0].message
        assert inventory.doctor("daily").healthy

    def test_a_dataframe_is_no_missing_table(self, lite):
        """
        API: the name under which a DataFrame was passed is no table, and nobody has to mend that.
        """
        inventory = lite.open()
        inventory.acquire_batch("daily", "files").succeeded()
        (config,) = lite.rows("SELECT config FROM inventory")
        described = json.loads(config)
        described["meta_table"]["frame"] = True
        lite.execute("UPDATE inventory SET config = :config", config=json.dumps(described))
        lite.execute("DROP TABLE files")

        assert inventory.doctor().healthy


class TestSettings:
    def test_from_where_each_is(self, monkeypatch, tmp_path):
        """
        API: settings are told with their origin; those of pybatchintory with the name they have now; no secret.
        """
        file = tmp_path / "settings.env"
        file.write_text("SPARK_BATCHINTORY_MAX_ATTEMPTS=5\nSPARK_BATCHINTORY_LEASE=20\n")
        monkeypatch.setenv("PYBATCHINTORY_LEASE", "30")
        monkeypatch.setenv("SPARK_BATCHINTORY_INVENTORY_CONN", "postgresql://ann:s3cret@db/x")
        monkeypatch.setenv("SPARK_BATCHINTORY_META_PASSWORD", "t0psecret")
        shown = shown_settings(load_settings(file, {"META_TOKEN": None, "DEBUG": True}))

        told = {one.name: (one.value, one.origin) for one in shown}
        assert told == {
            "INVENTORY_CONN": (
                "postgresql+psycopg://ann:***@db/x",
                "SPARK_BATCHINTORY_INVENTORY_CONN in the environment",
            ),
            "META_CONN": ("postgresql+psycopg://ann:***@db/x", "the default"),
            "META_PASSWORD": ("set", "SPARK_BATCHINTORY_META_PASSWORD in the environment"),
            "LEASE": ("0:00:30", "PYBATCHINTORY_LEASE in the environment"),
            "MAX_ATTEMPTS": ("5", f"SPARK_BATCHINTORY_MAX_ATTEMPTS in {file}"),
            "DEBUG": ("True", "the code"),
        }
        (hint,) = [row for row in diagnosing.settings_checks(shown) if row.finding == HINT]
        assert "SPARK_BATCHINTORY_LEASE" in hint.cure

    def test_no_connection_at_all(self, monkeypatch, tmp_path):
        """
        API: the default is a file in the working directory, which is another one elsewhere: a hint.
        """
        monkeypatch.chdir(tmp_path)
        (hint,) = [row for row in diagnosing.settings_checks(shown_settings(load_settings())) if row.finding == HINT]
        assert "batchintory.db" in hint.message


class TestStore:
    @pytest.mark.parametrize(
        ("facts", "finding", "word"),
        [
            ({"version": "1"}, HINT, "version 1"),
            ({"version": "3"}, PROBLEM, "version 3"),
            ({"is_ancestors": True, "is_foreign": True}, PROBLEM, "written by pybatchintory"),
            ({"is_foreign": True}, PROBLEM, "no inventory of this library"),
            ({"missing": ["inventory_gap"]}, PROBLEM, "inventory_gap"),
            ({"indexes": {"inventory_due": "CREATE INDEX …"}}, PROBLEM, "is missing"),
            ({"now": NOON - 5 * MINUTE}, HINT, "apart"),
            ({"variables": {"in_recovery": "on"}}, HINT, "standby"),
            ({"variables": {"binlog_format": "STATEMENT", "log_bin": "ON"}}, PROBLEM, "READ COMMITTED"),
            ({"variables": {"journal_mode": "delete"}}, HINT, "write-ahead"),
            (
                {"wanted": {"tx_isolation": "READ COMMITTED"}, "variables": {"tx_isolation": "SERIALIZABLE"}},
                PROBLEM,
                "ex",
            ),
            (
                {"wanted": {"tx_isolation": "READ COMMITTED"}, "variables": {"tx_isolation": "READ-COMMITTED"}},
                OK,
                "READ",
            ),
            ({"engine": "spark", "written_by": "delta-rs"}, PROBLEM, "written by delta-rs"),
            ({"untold": {"rights": "no"}}, HINT, "could not be found out"),
            ({"allowed_skew": MINUTE, "written_at": NOON + 2 * MINUTE}, PROBLEM, "behind the last commit"),
            ({"allowed_skew": MINUTE, "written_at": NOON - 2 * MINUTE}, OK, "not behind"),
            ({"allowed_skew": MINUTE, "written_at": NOON, "writer_at": NOON + 5 * MINUTE}, HINT, "whoever wrote last"),
            (
                {"wanted": {"delta.isolationLevel": "Serializable"}, "variables": {"delta.isolationLevel": "x"}},
                PROBLEM,
                "win",
            ),
            ({"wanted": {"delta.deletedFileRetentionDuration": "interval 1 hours"}}, HINT, "slower"),
        ],
    )
    def test_what_is_told_of_a_store(self, facts, finding, word):
        """
        API: what keeps a promise from holding is a problem, what is worth knowing is a hint, each with a cure.
        """
        checks = list(diagnosing.store_checks(replace(WELL, **facts), NOON))
        (told,) = [row for row in checks if word in row.message and row.finding == finding]
        assert told.finding == OK or told.cure

    def test_binlog_formats_that_do_no_harm(self):
        """
        API: nobody is told of what is off.
        """
        said = {"binlog_format": "STATEMENT", "log_bin": "OFF"}
        assert {row.finding for row in diagnosing.store_checks(replace(WELL, variables=said), NOON)} == {OK}

    @pytest.mark.parametrize(
        ("facts", "findings"),
        [
            (MetaFacts("table", uid_index=True, uid_is_unique=True, item_index=True), [OK, OK]),
            (MetaFacts("table", uid_index=False, item_index=True, make_uid_index="CREATE INDEX"), [OK, PROBLEM]),
            (MetaFacts("table", uid_index=True, uid_is_unique=False, item_index=False), [OK, OK, HINT, HINT]),
            (MetaFacts("view", obstacle="a view"), [OK, HINT]),
        ],
    )
    def test_what_is_told_of_a_meta_table(self, facts, findings):
        """
        API: an index on the uid is needed, one on the item speeds `trace` up, weight and filter need none.
        """
        assert [row.finding for row in diagnosing.meta_checks("files", facts)] == findings


@pytest.mark.parametrize(
    ("condition", "finding"),
    [
        ("landed < now()", PROBLEM),
        ("landed < CURRENT_TIMESTAMP", PROBLEM),
        ("day = current_date", PROBLEM),
        ("random() < 0.1", PROBLEM),
        ("landed < datetime('now')", PROBLEM),
        ("Column<'(landed < now())'>", OK),  # the whole of it is text to us
        ("uid IN (SELECT uid FROM wanted)", HINT),
        ("kind = 'now()'", OK),
        ("nowhere = 3 AND random_sample = 4", OK),
        ("note <> 'it''s now() or never'", OK),
    ],
)
def test_filters(condition, finding):
    """
    P1: what changes by itself between two looks is found in the text; names and literals that only look so are not.
    """
    (row,) = diagnosing.filter_checks("daily", condition)
    assert row.finding == finding
    assert list(diagnosing.filter_checks("daily", None)) == []


def facts_of(*rows, paused=False, **counts):
    """
    A job with these batches.
    """
    numbers = JobCounts({Status(name): number for name, number in counts.items()})
    unended = [row for row in rows if row.status in (Status.RUNNING, Status.FAILED)]
    return JobFacts(JobRow(1, "files", "daily", paused=paused), numbers, rows, unended)


class TestJobs:
    def test_a_worker_that_died_and_nobody_acquires(self):
        """
        P5: a lease that is just over is nothing; one that has been over for another lease is somebody's business.
        """
        row = row_in(Status.RUNNING, due_at=NOON, processing_start=NOON - LEASE, config={"lease": 600})

        assert [check.finding for check in job_checks(facts_of(row), NOON + LEASE)] == [OK]
        (check,) = job_checks(facts_of(row), NOON + LEASE + MINUTE)
        assert (check.check, check.finding) == ("leases", PROBLEM)

    def test_a_batch_that_runs_much_longer_than_others(self):
        """
        P7: ten times as long as those before it, or a day, is worth a hint with the worker's name.
        """
        done = row_in(Status.SUCCEEDED, processing_start=NOON, processing_end=NOON + 2 * MINUTE)
        row = row_in(Status.RUNNING, due_at=NOON + timedelta(days=9), processing_start=NOON, worker="host:7")

        assert [check.finding for check in job_checks(facts_of(*[done] * 5, row), NOON + 20 * MINUTE)] == [OK]
        for facts, hours in ((facts_of(*[done] * 5, row), 1), (facts_of(row), 25)):
            (check,) = job_checks(facts, NOON + timedelta(hours=hours))
            assert (check.finding, "host:7" in check.message) == (HINT, True)

    def test_dead_and_paused(self):
        """
        P1: what is dead waits for somebody: a problem. Paused is what somebody wanted: a hint.
        """
        checks = list(job_checks(facts_of(paused=True, dead=3), NOON))
        assert [(check.check, check.finding) for check in checks] == [("dead batches", PROBLEM), ("paused", HINT)]
        assert "retry daily dead" in checks[0].cure

    def test_retries_that_nobody_takes(self):
        """
        P5: due for longer than a lease, and the job is not paused.
        """
        row = row_in(Status.FAILED, due_at=NOON, config={"lease": 600})
        for facts, expected in ((facts_of(row), ["retries"]), (facts_of(row, paused=True), ["paused"])):
            assert [check.check for check in job_checks(facts, NOON + 2 * LEASE)] == expected
        assert [check.finding for check in job_checks(facts_of(row), NOON + MINUTE)] == [OK]

    def test_late_items_that_grow(self):
        """
        P1: nothing is lost by them, but a source whose late items grow is worth a look.
        """
        plain, late = row_in(Status.SUCCEEDED), row_in(Status.SUCCEEDED, kind=Kind.LATE, range_lo=None)

        assert [one.check for one in job_checks(facts_of(*[plain] * 10, *[late] * 5, *[plain] * 5), NOON)] == [
            "late items"
        ]
        assert [one.finding for one in job_checks(facts_of(*[late] * 10, *[late] * 10), NOON)] == [OK]

    def test_uids_that_are_no_auto_increment(self):
        """
        P1: uids like times are told apart, since a hole between them says nothing.
        """
        row = row_in(Status.SUCCEEDED, range_lo=1, batch_id_start=1, batch_id_end=10**6, batch_count=5)
        assert [one.check for one in job_checks(facts_of(row), NOON)] == ["late items"]


def test_the_command_line_exits_by_what_was_found(tmp_path, monkeypatch):
    """
    API: 0 where there is no problem, 1 where there is one, also where not even the settings can be used.
    """
    from typer.testing import CliRunner

    from spark_batchintory import cli

    def ask(url):
        monkeypatch.setenv("SPARK_BATCHINTORY_INVENTORY_CONN", url)
        result = CliRunner().invoke(cli.app, ["doctor", "--json"])
        return result.exit_code, {row["finding"] for row in json.loads(result.stdout)}

    with closing(sqlite3.connect(tmp_path / "here.db")) as connection:
        connection.execute("CREATE TABLE files (uid INTEGER)")
    assert ask(f"sqlite:///{tmp_path}/here.db") == (0, {HINT, OK})
    assert ask("oracle://ann@db/x") == (1, {PROBLEM})
