"""
The databases of the tests. A server is started once per run, by the first test that wants it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from spark_batchintory.backends.delta_rs import RsDeltaTable
from spark_batchintory.errors import MissingDependencyError
from spark_batchintory.testing.servers import (
    drop_database,
    fresh_database,
    mariadb_server,
    pgbouncer_server,
    postgres_server,
)

from .ancestor import ancestor_python
from .leftovers import Leftovers, resources
from .processes import Nursery


def pytest_configure(config: pytest.Config) -> None:
    """
    Have every fixture set up under the eyes of what looks for leftovers, and Ctrl-C mean what it does elsewhere.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by pytest-xdist, in its workers
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Leftovers(), "leftovers")


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """
    No thread, descriptor or process is left after a test; set up first and torn down last of what belongs to it.
    """
    before = resources()
    yield
    left = request.config.pluginmanager.get_plugin("leftovers").left(before)
    if left:
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """
    A PostgreSQL server for this run; use `fresh_database` on it.
    """
    yield from _started(postgres_server)


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """
    A MariaDB server for this run; use `fresh_database` on it.
    """
    yield from _started(mariadb_server)


@pytest.fixture(scope="session")
def pgbouncer_url(postgres_url: str) -> Iterator[str]:
    """
    The PostgreSQL server of this run through PgBouncer in transaction mode; its databases are reached by their names.
    """
    yield from _started(lambda: pgbouncer_server(postgres_url))


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """
    An empty database of its own for each test, on each kind of database in turn.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server = request.getfixturevalue({"postgresql": "postgres_url", "mariadb": "mariadb_url"}[request.param])
    url = fresh_database(server)
    yield url
    drop_database(url)


@pytest.fixture(params=["postgresql", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """
    An empty database of its own for each test, on each kind of database that has writers beside one another.
    """
    server = request.getfixturevalue({"postgresql": "postgres_url", "mariadb": "mariadb_url"}[request.param])
    url = fresh_database(server)
    yield url
    drop_database(url)


def _started(server: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    try:
        with server() as url:
            yield url
    except MissingDependencyError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true asks for all servers: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pybatchintory() -> str:
    """
    The Python of an environment with the real pybatchintory 0.0.8.
    """
    try:
        return ancestor_python()
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true asks for pybatchintory: {error}")
        pytest.skip(f"no environment with pybatchintory could be made: {error}")


@pytest.fixture(scope="session")
def delta_rs_runtime(tmp_path_factory: pytest.TempPathFactory) -> None:
    """
    The threads of delta-rs, which it keeps from its first use to the end of the process.
    """
    RsDeltaTable(str(tmp_path_factory.mktemp("first") / "table")).prepare()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """
    What processes are forked from, started once per run.
    """
    opened = Nursery()
    yield opened
    opened.close()


@pytest.fixture
def young(nursery: Nursery) -> Iterator[Nursery]:
    """
    The nursery, left empty.
    """
    yield nursery
    nursery.empty()
