"""
Folders that are scanned into meta tables, on each database and in Delta.
"""

from __future__ import annotations

import os
import random
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.pool import NullPool

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, InventoryUnavailable, MissingDependencyError, discovery
from spark_batchintory.backends.delta_rs_files import RsFileTable
from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.backends.sql_files import SqlFileTable
from spark_batchintory.backends.sql_meta import SqlMeta
from spark_batchintory.connections import parse_connection
from spark_batchintory.found_files import COLUMNS, digest_of, microseconds
from spark_batchintory.meta import MetaTable
from spark_batchintory.testing.clock import NOON, SteppedClock

from .odd_names import ODD_NAMES

NOTHING = timedelta(0)


class Landing:
    """
    A folder that files land in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def put(self, *names: str, content: str = "", at: float = 0.0) -> None:
        """
        Write files, `at` so many seconds after the stepped clock's first moment.
        """
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            moment = (microseconds(NOON) + int(at * 1_000_000)) * 1000
            os.utime(path, ns=(moment, moment))

    def item(self, name: str) -> str:
        return f"file://{self.root}/{name}"


@pytest.fixture
def landing(tmp_path):
    """
    An empty folder.
    """
    return Landing(tmp_path / "landing")


@contextmanager
def sql_table(url, name="files"):
    """
    A table of files in a database.
    """
    with closing(Database(parse_connection(url))) as database:
        yield SqlFileTable(database, name)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "delta-rs"])
def table(request, tmp_path):
    """
    A table of files that is not there yet, and a reader of it that knows nothing of this library.
    """
    if request.param == "delta-rs":
        request.getfixturevalue("delta_rs_runtime")
        yield RsFileTable(str(tmp_path / "files"))
        return
    server = {"postgresql": "postgres_url", "mariadb": "mariadb_url"}.get(request.param)
    if server is None:
        url = f"sqlite:///{tmp_path / 'test.db'}"
    else:
        from spark_batchintory.testing.servers import fresh_database

        url = fresh_database(request.getfixturevalue(server))
    with sql_table(url) as made:
        yield made
    if server is not None:
        from spark_batchintory.testing.servers import drop_database

        drop_database(url)


def rows(table) -> list[tuple[int, str, int]]:
    """
    Uid, item and weight of all rows, past the code under test.
    """
    if isinstance(table, RsFileTable):
        from deltalake import DeltaTable, QueryBuilder

        query = QueryBuilder().register("t", DeltaTable(table._location)).execute("SELECT uid, item, weight FROM t")
        import pyarrow as pa

        found = pa.RecordBatchReader.from_stream(query).read_all().to_pylist()
        return sorted((row["uid"], row["item"], row["weight"]) for row in found)
    engine = sa.create_engine(table._database.connection.url, poolclass=NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql("SELECT uid, item, weight FROM files ORDER BY uid")]


def scan(landing, table, **how):
    return discovery.register_files(str(landing.root), table, **{"min_age": NOTHING, **how})


class TestRegistering:
    """
    What every table of files does.
    """

    def test_files_are_registered_once_in_order_of_appearance(self, table, landing):
        """
        P1, P2: by time, then by name; a second scan registers what came since, above the others, and nothing twice.
        """
        landing.put("b", "sub/a", content="xy", at=2)
        landing.put("z", at=1)

        first = scan(landing, table)
        again = scan(landing, table)
        landing.put("early", content="x", at=-9)
        third = scan(landing, table)

        assert rows(table) == [
            (1, landing.item("z"), 0),
            (2, landing.item("b"), 2),
            (3, landing.item("sub/a"), 2),
            (4, landing.item("early"), 1),
        ]
        assert (first.registered, first.seen, first.left) == (3, 3, {})
        assert (again.registered, again.left) == (0, {"known": 3})
        assert (third.registered, third.left) == (1, {"known": 3})

    def test_pages_go_in_one_after_the_other(self, table, landing):
        """
        P1: order and completeness hold over many pages, be they of one file.
        """
        for number in range(12):
            landing.put(f"{number:02}", at=-number)
        table.page_size = 5

        assert scan(landing, table).registered == 12
        assert [item[-2:] for _, item, _ in rows(table)] == [f"{number:02}" for number in reversed(range(12))]
        assert [uid for uid, _, _ in rows(table)] == list(range(1, 13))

    def test_odd_names_are_kept_apart(self, table, landing):
        """
        P1: names that differ in case, a trailing space or an accent are different files, however they are collated.
        """
        names = sorted({*ODD_NAMES, "A B.txt", "a b.txt ", "STAR", "cafe", "x" * 250, "/".join(["d" * 200] * 9)})
        landing.put(*names)

        assert scan(landing, table).registered == len(names)
        assert {item for _, item, _ in rows(table)} == {landing.item(name) for name in names}
        assert scan(landing, table).left == {"known": len(names)}

    def test_a_rewritten_file_is_told_of_or_registered_once_more(self, table, landing):
        """
        P1: each state that a scan sees is one item, if asked; else the first one stays, and the answer says so.
        """
        landing.put("a", content="x")
        landing.put("b")
        scan(landing, table)
        landing.put("a", content="xyz", at=60)

        ignored = scan(landing, table)
        assert (ignored.registered, ignored.left) == (0, {"changed": 1, "known": 1})
        assert 'rewritten="new"' in str(ignored)

        assert [scan(landing, table, rewritten="new").registered for _ in range(2)] == [1, 0]
        assert scan(landing, table, rewritten="new").left == {"known": 2}
        assert rows(table)[2:] == [(3, landing.item("a"), 3)]
        assert scan(landing, table).left == {"known": 2}
        landing.put("a", content="x")  # as it was at first
        assert scan(landing, table, rewritten="new").left == {"known": 2}

    def test_a_dry_run_writes_nothing(self, table, landing):
        """
        API: not even the table; and it says what a scan would do.
        """
        landing.put("a", "b")

        planned = scan(landing, table, dry_run=True)

        assert not table.exists()
        assert planned.registered == 2
        assert "nothing was written" in str(planned)
        scan(landing, table)
        landing.put("c")
        assert scan(landing, table, dry_run=True).to_dicts()[0]["example"] == landing.item("c")
        assert len(rows(table)) == 2

    def test_another_scanner_came_first(self, table, landing):
        """
        P2: what was registered between the look at a page and its turn is not registered again.
        """
        landing.put("a", "b", "c")
        append = table.append

        def overtaken(files):
            table.append = append
            landing.put("a0", at=-1)
            scan(landing, table, pattern="a*")
            return append(files)

        table.append = overtaken
        late = scan(landing, table)

        assert (late.registered, late.left) == (2, {"known": 1})
        assert [item[-1] for _, item, _ in rows(table)] == ["0", "a", "b", "c"]


class TestJobs:
    """
    What a job sees of it.
    """

    def test_process_works_off_what_was_registered(self, sql_url, landing):
        """
        API: the table is a meta table like any other, made under the name that acquiring takes.
        """
        landing.put("a", "b", "c", content="xx")
        with bi.open_inventory(sql_url) as inventory:
            seen = []
            for expected in (3, 0):
                assert inventory.register_files(str(landing.root), "files", min_age=0).registered == expected
                inventory.process(lambda batch: seen.extend(batch.items), "bronze", "files", batch_weight=4)

            assert seen == [landing.item(name) for name in "abc"]
            assert [row["item"] for row in inventory.trace(landing.item("b")).to_dicts()] == [landing.item("b")]
            assert inventory.gaps("bronze").to_dicts() == []

    def test_a_deleted_row_gives_no_uid_away(self, sql_url, landing):
        """
        P4: a uid is never given twice, so that no batch finds another file under one.
        """
        landing.put("a", "b")
        with bi.open_inventory(sql_url) as inventory, sql_table(sql_url) as table:
            inventory.register_files(str(landing.root), "files", min_age=0)
            with table._database.engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM files WHERE uid = 2")
            inventory.register_files(str(landing.root), "files", min_age=0)

            assert [uid for uid, _, _ in rows(table)] == [1, 3]

    def test_a_digest_is_there_once(self, sql_url, landing):
        """
        P2: should a lock fail, the table itself refuses to hold a file twice.
        """
        landing.put("a")
        with sql_table(sql_url) as table:
            scan(landing, table)
            again = sa.insert(table._table).from_select(
                ["item", "weight", "modified_at", "registered_at", "digest"],
                sa.select(*(table._table.c[name] for name in COLUMNS[1:])),
            )
            with pytest.raises(sa.exc.IntegrityError), table._database.engine.begin() as connection:
                connection.execute(again)

    def test_a_database_in_memory(self, landing):
        """
        API: one connection is enough; and a `Path` names a folder as its text does.
        """
        landing.put("a")
        with bi.open_inventory("sqlite://") as inventory:
            assert inventory.register_files(landing.root, "files", min_age=0).registered == 1
            assert inventory.register_files(str(landing.root), "files", min_age=0).registered == 0
            assert inventory.acquire_batch("x", "files", heartbeat=False).uids == [1]

    def test_the_table_may_lie_in_a_schema(self, postgres_url, landing):
        """
        API: schema.table, as acquiring takes it.
        """
        from spark_batchintory.testing.servers import drop_database, fresh_database

        url = fresh_database(postgres_url)
        engine = sa.create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA landing")
        landing.put("a")
        with bi.open_inventory(url) as inventory:
            inventory.register_files(str(landing.root), "landing.files", min_age=0)
            assert inventory.acquire_batch("x", "landing.files").items == [landing.item("a")]
        drop_database(url)


class TestProcesses:
    """
    Several scanners, and those that die.
    """

    @pytest.mark.parametrize("scanners", [4])
    def test_scanners_beside_one_another(self, sql_url, landing, young, scanners):
        """
        P1, P2: each file once, whoever registers it; uids without a hole; what one did not register it found there.
        """
        landing.put(*(f"{number:04}" for number in range(400)))
        told = self._race(young, scanners, url=sql_url, folder=str(landing.root), table="files", page=20)

        with sql_table(sql_url) as table:
            assert sorted(item for _, item, _ in rows(table)) == [landing.item(f"{n:04}") for n in range(400)]
            assert [uid for uid, _, _ in rows(table)] == list(range(1, 401))
        assert sum(registered for registered, _ in told) == 400
        assert {registered + known for registered, known in told} == {400}

    def test_scanners_beside_one_another_in_delta(self, tmp_path, landing, young, delta_rs_runtime):
        """
        P1, P2: the same where a commit decides.
        """
        landing.put(*(f"{number:03}" for number in range(60)))
        path = str(tmp_path / "files")
        where = {"url": f"delta+rs:{tmp_path / 'inventory'}", "table": f"delta.`{path}`"}
        told = self._race(young, 2, folder=str(landing.root), page=10, **where)

        found = rows(RsFileTable(path))
        assert sorted(item for _, item, _ in found) == [landing.item(f"{number:03}") for number in range(60)]
        assert [uid for uid, _, _ in found] == list(range(1, 61))
        assert sum(registered for registered, _ in told) == 60

    def test_a_scan_that_is_killed_is_gone_on_with(self, sql_url, landing, young):
        """
        P1: whole pages are there, the first ones; the next scan registers the rest above them, and nothing twice.
        """
        landing.put(*(f"{number:03}" for number in range(100)))
        child = young.fork("scan", url=sql_url, folder=str(landing.root), table="files", page=30, die_after=2)
        assert child.hear() == "here"
        child.tell("go")
        assert child.hear() is None
        child.ended()

        with sql_table(sql_url) as table:
            assert [item[-3:] for _, item, _ in rows(table)] == [f"{number:03}" for number in range(60)]
            assert scan(landing, table).left == {"known": 60}
            assert [item[-3:] for _, item, _ in rows(table)] == [f"{number:03}" for number in range(100)]

    def _race(self, young, scanners, **how):
        children = [young.fork("scan", **how) for _ in range(scanners)]
        assert [child.hear() for child in children] == ["here"] * scanners
        for child in children:
            child.tell("go")
        told = [child.hear() for child in children]
        assert [child.ended() for child in children] == [0] * scanners
        return told


class TestWhatIsLeftAlone:
    """
    Files that are not registered, and how one hears of them.
    """

    @pytest.fixture
    def table(self, tmp_path):
        """
        On SQLite: the rules are the same everywhere.
        """
        with sql_table(f"sqlite:///{tmp_path / 'test.db'}") as made:
            yield made

    def test_files_that_may_be_half_written_wait(self, table, landing):
        """
        P1: a file is left alone until it had so much peace, by default a minute; a younger write begins it anew.
        """
        clock = SteppedClock()
        landing.put("done", at=-60)
        landing.put("growing", content="x", at=-59)

        waiting = scan(landing, table, min_age=None, clock=clock)
        assert (waiting.registered, waiting.left) == (1, {"young": 1})
        assert "the next scan looks again" in str(waiting)
        landing.put("growing", content="xy", at=20)
        clock.advance(timedelta(seconds=79))
        assert scan(landing, table, min_age=None, clock=clock).left == {"known": 1, "young": 1}
        clock.advance(timedelta(seconds=1))
        assert scan(landing, table, min_age=None, clock=clock).registered == 1
        assert rows(table)[1][1:] == (landing.item("growing"), 2)

    def test_a_time_that_is_yet_to_come_counts_only_if_asked(self, table, landing):
        """
        P1: a file from the future is told as young, and registered where age is not asked for.
        """
        landing.put("future", at=10**9)

        assert scan(landing, table, min_age=timedelta(seconds=1), clock=SteppedClock()).left == {"young": 1}
        assert scan(landing, table, clock=SteppedClock()).registered == 1

    def test_names_that_spark_never_reads_are_left_out(self, table, landing):
        """
        P1: what Spark would drop without a word is never handed out; nor what lies in folders that it leaves out.
        """
        landing.put("_SUCCESS", ".x.crc", "a._COPYING_", "12:30", "_k=v/a", "_temporary/0/a", "_delta_log/0.json", "b")

        scanned = scan(landing, table)

        assert [item for _, item, _ in rows(table)] == [landing.item("_k=v/a"), landing.item("b")]
        assert scanned.left == {"hidden": 6}

    def test_a_pattern(self, table, landing):
        """
        API: only what it means; what is of another name in the same folders is counted.
        """
        landing.put("a.json", "x/a.json", "x/y/b.json", "x/y/c.csv", "z/d.json")

        scanned = scan(landing, table, pattern="x/**/*.json")

        assert [item for _, item, _ in rows(table)] == [landing.item("x/a.json"), landing.item("x/y/b.json")]
        assert scanned.left == {"unmatched": 2}

    def test_links(self, table, landing, tmp_path):
        """
        P1, P2: a link to a file elsewhere is a file; one that leads in circles, to what is here, or to nothing is not.
        """
        elsewhere = Landing(tmp_path / "elsewhere")
        elsewhere.put("far", content="far")
        landing.put("here")
        for name, target in {
            "circle": landing.root,
            "folder": elsewhere.root,
            "file": elsewhere.root / "far",
            "twice": landing.root / "here",
            "nothing": "nowhere",
            "itself": "itself",
        }.items():
            (landing.root / name).symlink_to(target)
        os.mkfifo(landing.root / "pipe")

        scanned = scan(landing, table)

        assert sorted(item for _, item, _ in rows(table)) == [landing.item("file"), landing.item("here")]
        assert scanned.left == {"link": 5, "special": 1}
        assert "register the folder that is meant" in str(scanned)

    def test_the_folder_itself_may_be_a_link(self, table, landing, tmp_path):
        """
        API: items are below the name that was given.
        """
        landing.put("a")
        (tmp_path / "current").symlink_to(landing.root)

        discovery.register_files(str(tmp_path / "current"), table, min_age=NOTHING)

        assert [item for _, item, _ in rows(table)] == [f"file://{tmp_path}/current/a"]

    def test_a_time_that_no_database_can_hold(self, table, monkeypatch):
        """
        P1: a clock that ran wild loses no file: the last moment there is stands for it.
        """
        monkeypatch.setattr(discovery, "place_of", lambda path, options: Many(2, at=10**18))

        assert [discovery.register_files("many", table).left for _ in range(2)] == [{}, {"known": 2}]

    def test_what_cannot_be_spelled(self, table, landing):
        """
        P1: a name that is no text is told of, in bytes that steer no terminal, and stops nothing else.
        """
        landing.put("a")
        (Path(os.fsdecode(bytes(landing.root))) / os.fsdecode(b"\xff\x1b[31m")).write_text("x")

        scanned = scan(landing, table)

        assert (scanned.registered, scanned.left) == (1, {"unspellable": 1})
        assert "\x1b" not in str(scanned)
        assert "rename" in str(scanned)

    def test_folders_that_may_not_be_read(self, table, landing, monkeypatch):
        """
        P1: the rest is registered, and the answer says that something was not looked at.
        """
        landing.put("a", "closed/b", "open/c")
        scandir = os.scandir

        def refusing(path):
            if str(path).endswith("closed"):
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)  # root may read anything
        scanned = scan(landing, table)

        assert (scanned.registered, scanned.left) == (2, {"unreadable": 1})
        assert "not registered" in str(scanned)

    def test_what_comes_and_goes_meanwhile(self, table, landing, monkeypatch):
        """
        P1: a folder that is gone when its turn comes ends nothing.
        """
        landing.put("a", "gone/b")
        scandir = os.scandir

        def late(path):
            if str(path).endswith("gone"):
                (landing.root / "gone" / "b").unlink()
                (landing.root / "gone").rmdir()
            return scandir(path)

        monkeypatch.setattr(os, "scandir", late)

        assert (scan(landing, table).registered, scan(landing, table).left) == (1, {"known": 1})

    def test_an_empty_folder(self, table, landing):
        """
        API: nothing is an answer, too.
        """
        scanned = scan(landing, table)

        assert (scanned.registered, scanned.seen, len(scanned)) == (0, 0, 0)
        assert "nothing" in str(scanned)
        assert scanned.to_dicts() == []


class TestRefusals:
    """
    Calls that are wrong.
    """

    @pytest.fixture
    def inventory(self, tmp_path):
        """
        On SQLite.
        """
        with bi.open_inventory(f"sqlite:///{tmp_path / 'test.db'}") as inventory:
            yield inventory

    @pytest.mark.parametrize(
        ("path", "how", "told"),
        [
            ("", {}, "path must name a folder"),
            (None, {}, "path must name a folder"),
            ("nowhere", {}, "nowhere' cannot be listed"),
            (".", {"rewritten": "yes"}, "ignore, new"),
            (".", {"min_age": -1}, "min_age"),
            (".", {"min_age": "1"}, "min_age"),
            (".", {"pattern": "/x"}, "glob below the folder"),
            ("nosuch://bucket/x", {}, "nosuch"),
            ("s3://key:secret@bucket/x", {}, "holds no keys"),
        ],
    )
    def test_wrong_arguments(self, inventory, path, how, told):
        """
        API: a clear error before anything is written, and no secret in it.
        """
        with pytest.raises(ConfigurationError, match=told) as caught:
            inventory.register_files(path, "files", **how)

        assert "secret" not in str(caught.value)
        with pytest.raises(ConfigurationError, match="no meta table"):
            inventory.acquire_batch("x", "files")

    @pytest.mark.parametrize("name", ["", None, 7, "half \ud800"])
    def test_wrong_tables(self, inventory, landing, name):
        """
        API: a name that no table can have.
        """
        with pytest.raises(ConfigurationError):
            inventory.register_files(str(landing.root), name)

    def test_a_table_of_another_kind_is_left_alone(self, sql_url, landing):
        """
        API: what somebody else made is not written to; the error says what is missing, and what to do.
        """
        landing.put("a")
        with bi.open_inventory(sql_url) as inventory, sql_table(sql_url) as table:
            with table._database.engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)")
            for dry_run in (True, False):
                with pytest.raises(ConfigurationError, match=r"no column 'modified_at'.*not there yet"):
                    inventory.register_files(str(landing.root), "files", min_age=0, dry_run=dry_run)
            assert rows(table) == []

    def test_a_driver_that_is_not_installed(self, inventory):
        """
        API: the error names the extra.
        """
        pytest.importorskip("fsspec")
        try:
            import gcsfs  # noqa: F401  # only whether it is there
        except ImportError:
            with pytest.raises(MissingDependencyError, match=r"spark-batchintory\[files\]"):
                inventory.register_files("gs://bucket/x", "files")


class TestPlaces:
    """
    How folders are called, and what items begin with.
    """

    @pytest.mark.parametrize(
        ("path", "root", "prefix"),
        [
            ("/a//b/", "/a/b", "file:///a/b"),
            ("/a/../b", "/b", "file:///b"),
            ("file:/a", "/a", "file:///a"),
            ("file:///a", "/a", "file:///a"),
            ("FILE:///a", "/a", "file:///a"),
            ("/", "/", "file://"),
            ("/Volumes/c/s/v/x", "/Volumes/c/s/v/x", "/Volumes/c/s/v/x"),
            ("dbfs:/Volumes/c/s/v", "/Volumes/c/s/v", "/Volumes/c/s/v"),
            ("dbfs:/mnt/x", "/dbfs/mnt/x", "dbfs:/mnt/x"),
            ("dbfs:///mnt/x", "/dbfs/mnt/x", "dbfs:/mnt/x"),
            ("/dbfs/mnt/x", "/dbfs/mnt/x", "dbfs:/mnt/x"),
            ("/Volumes", "/Volumes", "file:///Volumes"),
            ("/a b%20[1]", "/a b%20[1]", "file:///a b%20[1]"),
        ],
    )
    def test_local_folders(self, path, root, prefix):
        """
        API: one folder, one spelling, which Spark takes whatever its default file system is.
        """
        folder = discovery.place_of(path, {})

        assert (folder._root, folder.prefix) == (root, prefix)

    def test_a_relative_folder_is_below_the_working_directory(self, tmp_path, monkeypatch):
        """
        API: as everywhere in Python; a name with a colon is no scheme.
        """
        monkeypatch.chdir(tmp_path)

        assert discovery.place_of("landing", {}).prefix == f"file://{tmp_path}/landing"
        assert discovery.place_of("a:b", {}).prefix == f"file://{tmp_path}/a:b"


class TestStores:
    """
    Places that fsspec lists; here its own store in memory, S3 in tests/stores.
    """

    @pytest.fixture
    def store(self):
        """
        An empty store.
        """
        fsspec = pytest.importorskip("fsspec")
        files = fsspec.filesystem("memory")
        files.rm("/", recursive=True) if files.ls("/") else None
        yield files
        files.store.clear()

    @pytest.fixture
    def table(self, tmp_path):
        """
        On SQLite.
        """
        with sql_table(f"sqlite:///{tmp_path / 'test.db'}") as made:
            yield made

    def test_what_is_in_a_store_is_registered(self, store, table):
        """
        P1: items begin with the URL as it was given; names are literal; hidden folders are left out, others entered.
        """
        names = ["a b", "x/p%20q", "x/y/[1]*", "12:30", "k=v/z"]
        for name in [*names, "_SUCCESS", "x/_temporary/0/a", "other/x"]:
            store.pipe(f"/bucket/{'' if name == 'other/x' else 'landing/'}{name}", name.encode())

        scanned = discovery.register_files("memory://bucket/landing/", table, min_age=NOTHING)

        found = {item: weight for _, item, weight in rows(table)}
        assert found == {f"memory://bucket/landing/{name}": len(name) for name in names}
        assert scanned.left == {"hidden": 2}
        assert discovery.register_files("memory://bucket/landing", table, min_age=NOTHING).left["known"] == len(names)

    def test_where_there_is_nothing(self, store, table):
        """
        API: a prefix without objects is an empty folder, as stores know no others.
        """
        assert discovery.register_files("memory://bucket/landing", table).seen == 0

    def test_a_store_that_is_away(self, store, table, monkeypatch):
        """
        P8: an error that is no answer: nothing is taken for empty, and no secret is told.
        """

        def away(*arguments, **options):
            raise RuntimeError("no route to host, with token=abcdefgh and s3cr3t-key")

        monkeypatch.setattr(type(store), "ls", away)
        with pytest.raises(InventoryUnavailable, match="no route") as caught:
            discovery.register_files("memory://bucket/x", table, storage_options={"key": "s3cr3t-key"})

        assert "s3cr3t" not in str(caught.value)
        assert "abcdefgh" not in str(caught.value)

    def test_a_folder_that_may_not_be_listed(self, store, table, monkeypatch):
        """
        P1: below the place it is told of and the rest is registered; the place itself is an error.
        """
        for name in ("a", "closed/b"):
            store.pipe(f"/bucket/{name}", b"x")
        listing = type(store).ls

        def refusing(self, path, *arguments, **options):
            if str(path).endswith("closed"):
                raise PermissionError("Access Denied")
            return listing(self, path, *arguments, **options)

        monkeypatch.setattr(type(store), "ls", refusing)

        assert discovery.register_files("memory://bucket", table, min_age=NOTHING).left == {"unreadable": 1}
        with pytest.raises(ConfigurationError, match="may not be listed"):
            discovery.register_files("memory://bucket/closed", table)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.integers(-2, 2)), max_size=12), st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_scans_among_appearing_files(tmp_path_factory, writes, data):
    """
    P1, P2: whatever is written between scans, each state that a scan sees is one item, and uids follow the scans.
    """
    landing = Landing(tmp_path_factory.mktemp("scans") / "landing")
    with sql_table(f"sqlite:///{landing.root.parent / 'test.db'}") as table:
        table.page_size = data.draw(st.integers(1, 3))
        model: list[tuple[str, int]] = []
        states: set[tuple[str, int, int]] = set()
        now: dict[str, tuple[int, int]] = {}
        for name, size, at in writes:
            landing.put(name, content="x" * size, at=at)
            now[name] = (size, at)
            if data.draw(st.booleans()):
                new = sorted((at, name, size) for name, (size, at) in now.items() if (name, size, at) not in states)
                states |= {(name, size, at) for at, name, size in new}
                model += [(landing.item(name), size) for _, name, size in new]
                assert scan(landing, table, rewritten="new").registered == len(new)
        if model:
            assert [(item, weight) for _, item, weight in rows(table)] == model
            assert SqlMeta(table._database).rows(MetaTable("files"), bi_uids(len(model))) == [
                (uid, item, weight) for uid, (item, weight) in enumerate(model, start=1)
            ]


def bi_uids(count):
    from spark_batchintory.uids import UidSet

    return UidSet.of(range(1, count + 1))


def test_a_large_folder_is_not_held_in_memory(tmp_path):
    """
    P6: memory is that of a page: twice the files take no more of it.
    """
    import tracemalloc

    def peak(files: int) -> int:
        place = Many(files)
        with sql_table(f"sqlite:///{tmp_path / f'{files}.db'}") as table:
            table.page_size = 200
            scanning = discovery._Scanning(place, discovery.FilePattern("**"), None)
            tracemalloc.start()
            discovery._scanned(scanning, table, False, False)
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    peak(500)  # imports
    assert peak(6_000) < 1.5 * peak(2_000)


class Many:
    """
    A place of so many files, none of which exists.
    """

    prefix, appears_whole = "file:///many", True

    def __init__(self, files: int, at: int = 0) -> None:
        self._files = files
        self._at = at

    def walk(self, enters):
        from spark_batchintory.found_files import Entry

        dice = random.Random(7)
        return (Entry(f"{dice.random()}-{n}", "file", n, n + self._at) for n in range(self._files))


def test_a_digest_is_what_it_is():
    """
    A table that one release wrote is known to the next.
    """
    assert digest_of("s3://bucket/a b") == "6e1122082ec1467898a21a2ab8fe45574f790c9c"
