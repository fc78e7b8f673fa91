"""
A disk that is full, by a limit or for real: a clear error, nothing half-written, and all goes on once there is room.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from spark_batchintory import InventoryUnavailable
from spark_batchintory.testing.servers import drop_database, fresh_database

from .at_work import assert_nothing_is_lost
from .stage import LEASE, Stage, fast_forward

TRIES = 400
"""Claims, finishes or beats that fit on a disk that is called full: pages have room left in them."""

SMALL = "8m"


@contextmanager
def small_disk():
    """
    A folder that holds a few megabytes and no more.
    """
    folder = Path(tempfile.mkdtemp(prefix="bi-disk-", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=0777", "tmpfs", folder]
    done = subprocess.run(mount, capture_output=True, text=True)
    try:
        if done.returncode:
            why = f"a small disk cannot be mounted here: {done.stderr.strip()}"
            pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
        yield folder
    finally:
        if not done.returncode:
            subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


class FullDisk:
    """
    A stage whose disk can be filled up and given room again.
    """

    def __init__(self, stage, fill, make_room):
        self.stage, self.fill, self.make_room = stage, fill, make_room


@contextmanager
def sqlite_limit(request, tmp_path):
    """
    SQLite's own limit on the pages of a file.
    """
    with Stage(f"sqlite:///{tmp_path / 'inventory.db'}") as stage:
        engines = []

        def fill():
            pages = stage.rows("PRAGMA page_count")[0]
            for inventory in stage._opened:
                engine = inventory.backend.database.engine
                engine.dispose()
                sa.event.listen(engine, "connect", limit := _page_limit(pages))
                engines.append((engine, limit))

        def make_room():
            for engine, limit in engines:
                sa.event.remove(engine, "connect", limit)
                engine.dispose()

        yield FullDisk(stage, fill, make_room)


def _page_limit(pages):
    def limit(connection, record):
        connection.execute(f"PRAGMA max_page_count = {pages}").close()

    return limit


@contextmanager
def sqlite_disk(request, tmp_path):
    """
    A file on a small disk, beside one that takes up all the rest.
    """
    with small_disk() as folder, Stage(f"sqlite:///{folder / 'inventory.db'}") as stage:
        yield FullDisk(stage, lambda: _fill_up(folder / "rest"), (folder / "rest").unlink)


def _fill_up(path):
    with path.open("wb") as rest:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    os.write(rest.fileno(), b"\0" * size)
            except OSError:  # no space left on device
                continue


@contextmanager
def postgres_tablespace(request, tmp_path):
    """
    The tables in a tablespace on a small disk; the log stays elsewhere, since a server whose log is full stops.
    """
    url = request.getfixturevalue("postgres_url")
    with small_disk() as folder:
        shutil.chown(folder, "nobody")
        here = fresh_database(url)
        name, place = sa.make_url(here).database, folder / "data"
        place.mkdir()
        shutil.chown(place, "nobody")
        server = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(sa.text(f"CREATE TABLESPACE small LOCATION '{place}'"))
            connection.execute(sa.text(f"ALTER DATABASE {name} SET default_tablespace = small"))
        with Stage(here) as stage:
            yield FullDisk(stage, lambda: _fill_up(folder / "rest"), (folder / "rest").unlink)
        drop_database(here)
        with server.connect() as connection:
            connection.execute(sa.text("DROP TABLESPACE small"))


@contextmanager
def mariadb_folder(request, tmp_path):
    """
    A database whose folder lies on a small disk; what the server itself writes lies elsewhere.
    """
    url = request.getfixturevalue("mariadb_url")
    with small_disk() as folder:
        here = sa.make_url(fresh_database(url))
        place = Path(str(here.query["unix_socket"])).parent / "data" / here.database
        shutil.move(place, folder / "data")
        place.symlink_to(folder / "data")
        with Stage(here.render_as_string(hide_password=False)) as stage:
            yield FullDisk(stage, lambda: _fill_up(folder / "rest"), (folder / "rest").unlink)
            drop_database(stage.url)


DISKS = [sqlite_limit, sqlite_disk, postgres_tablespace, mariadb_folder]


@pytest.fixture(params=DISKS, ids=lambda disk: disk.__name__)
def disk(request, tmp_path, monkeypatch):
    """
    Many files on a disk of each kind; waiting passes at once.
    """
    fast_forward(monkeypatch)
    with request.param(request, tmp_path) as disk:
        disk.stage.files(range(1, 3001))
        disk.inventory = disk.stage.open()
        disk.inventory.status()
        yield disk


def refused(stage, work):
    """
    The error that ends a series of works on a full disk; each of them is done wholly or not at all.
    """
    for _ in range(TRIES):
        before = stage.everything()
        try:
            work()
        except InventoryUnavailable as error:
            assert stage.everything() == before
            return error
    raise AssertionError("the disk does not become full")


FULL = r"(?i)no space left|is full|disk full"


def test_claim_finish_and_beat(disk):
    """
    Behaviour, disk full: `InventoryUnavailable` names the disk, nothing is half-written, a batch in hand stays in hand,
    and everything goes on when there is room again.
    """
    stage, inventory = disk.stage, disk.inventory
    held = [inventory.acquire_batch("daily", "files", batch_count=2, heartbeat=False) for _ in range(3)]
    token = stage.rows("SELECT token FROM inventory ORDER BY id")[1]
    disk.fill()

    def claim():
        held.append(inventory.acquire_batch("daily", "files", batch_count=2, heartbeat=False))

    def beat():
        assert inventory.backend.beat(held[1].id, token, LEASE) is not None

    for work in (claim, lambda: held[0].succeeded({"big": secrets.token_hex(500_000)})):
        assert re.search(FULL, str(refused(stage, work)))
    assert (held[0].status, held[0].success) == ("running", None)
    with suppress(InventoryUnavailable):  # it writes in place, and may need no room
        beat()

    disk.make_room()
    beat()
    for batch in held:
        batch.succeeded()
    assert_nothing_is_lost(stage)
