"""
Where inventory and meta table are: one frozen value from the many ways of saying it.

Decides alone what counts as a connection, which driver serves it, and how it is shown. Nothing is opened here and no
driver imported; whether a server answers is found out by whoever connects. A `Connection` never shows a password,
neither in ``str`` nor in ``repr``; the secrets themselves are in `Connection.secrets`, for
`spark_batchintory.masking.mask`, and in ``url``, ``engine`` and ``token``, which are for the backend only.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs

from pydantic import SecretStr
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from spark_batchintory.errors import ConfigurationError
from spark_batchintory.masking import is_secret_name, mask
from spark_batchintory.passwords import LoginPasswords

__all__ = ["Connection", "parse_connection", "same_server", "sqlite_path"]

Kind = Literal["sql", "delta", "delta-rs", "spark"]

SUPPORTED = (
    "sqlite:///file.db, postgresql+psycopg://…, mysql+pymysql://…, mariadb+pymysql://…, a jdbc: URL of these, "
    "delta:catalog.schema.table, delta:/path, delta+rs:/path, delta+rs:s3://… (abfss, gs), a SQLAlchemy Engine, "
    "and for META_CONN also spark:"
)

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "postgresql+psycopg2": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "mariadb+pymysql": "mariadb+pymysql",
}
_PORTS = {"postgresql": 5432, "mysql": 3306}

_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*(?=:)", re.IGNORECASE)
_PART = r"(?:`(?:[^`/]|``)+`|[^\s./:`]+)"  # no catalog has names with a slash, and a path has one
_TABLE = re.compile(rf"{_PART}(?:\.{_PART}){{0,2}}")
_PATH = re.compile(r"(?:/(?!/)|[a-z][a-z0-9+.\-]*:/).+", re.IGNORECASE | re.DOTALL)
_PATH_AS_TABLE = re.compile(r"delta\.`([^`]*/(?:[^`]|``)*)`", re.IGNORECASE)
_DELTA_RS_PATH = re.compile(r"(?:/(?!/)|(?:s3a?|abfss?|az|gs|file)://).+", re.IGNORECASE | re.DOTALL)
_KEYS_IN_PATH = re.compile(r"[a-z0-9+.\-]+://[^/@]*:[^/]*@", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """
    One inventory or meta table server, as told by `parse_connection`; equal values can share one engine.

    Attributes
    ----------
    kind
        ``sql``; ``delta`` (through Spark); ``delta-rs`` (without a JVM); ``spark`` (tables and views of the session).
    url, engine
        For ``sql``: exactly one of them. The URL names its driver.
    location
        For ``delta`` and ``delta-rs``: table name, path or storage URL.
    token
        For ``sql`` with a URL: passwords to log in with, in place of the URL's.
    """

    kind: Kind
    url: URL | None = None
    engine: Engine | None = None
    location: str | None = None
    token: LoginPasswords | None = None

    @property
    def sqlalchemy_url(self) -> URL | None:
        """
        The URL, be it given or that of the engine; None for what is no SQL database.
        """
        return self.url if self.engine is None else self.engine.url

    @property
    def secrets(self) -> tuple[str, ...]:
        """
        Passwords and the like that this value holds, to be masked in texts that may quote them.
        """
        url = self.sqlalchemy_url
        if url is None:
            return ()
        named = (value for name, values in _parameters(url).items() if is_secret_name(name) for value in values)
        given = self.token.given if self.token is not None else ()
        return tuple(filter(None, (url.password, *named, *given)))

    def __str__(self) -> str:
        url = self.sqlalchemy_url
        if url is not None:
            return mask(url.render_as_string(hide_password=True), self.secrets)
        prefix = "delta+rs" if self.kind == "delta-rs" else self.kind
        return mask(f"{prefix}:{self.location or ''}")

    def __repr__(self) -> str:
        return f"<Connection {self}>"


def parse_connection(
    value: str | SecretStr | URL | Engine,
    *,
    user: str | None = None,
    password: str | SecretStr | None = None,
    setting: str = "INVENTORY_CONN",
) -> Connection:
    """
    Return what `value` means, in one of the forms that README.md lists for ``INVENTORY_CONN``.

    Drivers are settled here: ``postgres://`` and ``postgresql://`` mean psycopg 3, ``mysql://`` and ``mariadb://``
    PyMySQL; ``postgresql+psycopg2://`` is kept where psycopg2 is installed and means psycopg 3 elsewhere.

    Parameters
    ----------
    user, password
        Taken where a database server's URL names none. What the URL says goes first, and files, Delta tables and
        engines have no use for them.
    setting
        Name of the setting or argument, for messages. ``spark:`` is refused for ``INVENTORY_CONN``: it cannot be
        written.

    Raises
    ------
    ConfigurationError
        Not a connection, or one of a database that is not supported. The value itself is never shown.
    """
    if isinstance(value, Engine):
        return _engine(value, setting)
    if isinstance(value, URL):
        return Connection("sql", url=_logged_in(_with_driver(value, setting), user, password))
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        raise ConfigurationError(f"{setting} must be a URL as text or a SQLAlchemy Engine, not {type(text).__name__}")
    return _text(text.strip(), user, password, setting)


def same_server(a: Connection, b: Connection) -> bool:
    """
    Whether a transaction of one connection can read the tables of the other under the same names.

    True for the same Engine, the same SQLite file, or the same server, database, user and parameters (a user of its
    own may lack rights, a parameter may set another search path). When in doubt False, which is always safe: the meta
    table is then read outside of the claim. Two spellings of one host are not recognised, nor are two in-memory
    databases ever the same.

    Examples
    --------
    >>> landing = parse_connection("postgresql://ann@db/prod")
    >>> same_server(landing, parse_connection("jdbc:postgresql://DB:5432/prod?user=ann"))
    True
    >>> same_server(landing, parse_connection("postgresql://ann@db/test"))
    False
    """
    if a.engine is not None and a.engine is b.engine:
        return True
    one, other = a.sqlalchemy_url, b.sqlalchemy_url
    if one is None or other is None:
        return False
    identity = _server_identity(one)
    made_by_hand = (a.engine or b.engine) is not None and not _names_a_server(one)
    return identity is not None and identity == _server_identity(other) and not made_by_hand


def path_as_table(name: str) -> str | None:
    """
    The path of a Delta table that is named as Spark's SQL names one by its path; None for any other name.

    >>> path_as_table("delta.`/lake/files`"), path_as_table("lake.files")
    ('/lake/files', None)
    """
    path = _PATH_AS_TABLE.fullmatch(name)
    return None if path is None else path[1].replace("``", "`")


def holds_keys(location: str) -> bool:
    """
    Whether a storage URL has user and password in it.
    """
    return _KEYS_IN_PATH.match(location) is not None


def _text(text: str, user: str | None, password: str | SecretStr | None, setting: str) -> Connection:
    match = _SCHEME.match(text)
    if match is None:
        problem = "is not a connection" if text else "is empty"
        raise ConfigurationError(f"{setting} {problem}. Supported: {SUPPORTED}")
    scheme = match[0].lower()
    rest = text[len(scheme) + 1 :]
    if scheme == "spark":
        return _spark(rest, setting)
    if scheme in ("delta", "delta+rs"):
        return _delta(scheme, rest, setting)
    if scheme == "jdbc":
        from spark_batchintory.jdbc import translate

        return Connection("sql", url=_logged_in(translate(text, setting=setting), user, password))
    return Connection("sql", url=_logged_in(_with_driver(_sql_url(text, scheme, setting), setting), user, password))


def _engine(engine: Engine, setting: str) -> Connection:
    if engine.dialect.name not in ("sqlite", "postgresql", "mysql", "mariadb") or engine.dialect.is_async:
        name = f"{engine.dialect.name}+{engine.dialect.driver}"
        raise ConfigurationError(f"{setting}: an Engine of {name} can't be used. Supported: {SUPPORTED}")
    return Connection("sql", engine=engine)


def _spark(rest: str, setting: str) -> Connection:
    if setting == "INVENTORY_CONN":
        raise ConfigurationError(f"{setting} can't be spark:, which is only read. Use delta:catalog.schema.table")
    if rest:
        raise ConfigurationError(f"{setting}: nothing follows spark:, the meta table is named by the call")
    return Connection("spark")


def _delta(scheme: str, rest: str, setting: str) -> Connection:
    location = re.sub(r"^///+", "/", rest)
    location = path_as_table(location) or location
    if "/" in location.rstrip("/"):  # one path, one spelling: who opens it twice waits in one queue
        location = location.rstrip("/")
    if holds_keys(location):
        raise ConfigurationError(f"{setting}: a storage URL holds no keys; they belong in the storage's own settings")
    if scheme == "delta+rs":
        if not _DELTA_RS_PATH.fullmatch(location):
            raise ConfigurationError(f"{setting}: delta+rs: is followed by /path, s3://…, abfss://… or gs://…")
        return Connection("delta-rs", location=location)
    if not (_TABLE.fullmatch(location) or _PATH.fullmatch(location)):
        raise ConfigurationError(
            f"{setting}: delta: is followed by catalog.schema.table, an absolute /path or a storage URL"
        )
    return Connection("delta", location=location)


def _sql_url(text: str, scheme: str, setting: str) -> URL:
    # The parser's own errors are left behind, cause and context too: they quote what they could not read.
    try:
        url: URL | None = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    # A password with a bare @ or / in it is taken for host and database, and would be shown as such.
    is_torn = url is not None and "@" in (url.host or "") + (url.database or "") * (not scheme.startswith("sqlite"))
    if url is None or is_torn:
        known = "" if scheme in _DRIVERS else f" Supported: {SUPPORTED}"
        raise ConfigurationError(
            f"{setting}: this URL can't be read; in user and password, special characters are percent-encoded.{known}"
        )
    return url


def _with_driver(url: URL, setting: str) -> URL:
    driver = _DRIVERS.get(url.drivername.lower())
    if driver is None:
        raise ConfigurationError(f"{setting}: {url.drivername} is not supported. Supported: {SUPPORTED}")
    if driver.startswith("sqlite") and (url.host or url.username):
        raise ConfigurationError(f"{setting}: a SQLite file follows three slashes (sqlite:///f.db) or, absolute, four")
    if driver == "postgresql+psycopg2" and not _is_installed("psycopg2"):
        driver = "postgresql+psycopg"
    return url.set(drivername=driver)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # an entry in sys.modules without a spec
        return False


def _logged_in(url: URL, user: str | None, password: str | SecretStr | None) -> URL:
    if url.get_backend_name() == "sqlite":
        return url
    secret = password.get_secret_value() if isinstance(password, SecretStr) else password
    return url.set(username=url.username or user, password=url.password or secret)


def _server_identity(url: URL) -> tuple[object, ...] | None:
    """
    Return what two URLs of one server and database have in common; None for what has no identity (SQLite in memory).
    """
    backend = url.get_backend_name()
    if backend == "sqlite":
        path = sqlite_path(url)
        return None if path is None else (backend, path)
    family = "mysql" if backend == "mariadb" else backend
    host = url.host.lower() if url.host else None
    return family, host, url.port or _PORTS.get(family), url.database, url.username, _parameters(url)


def _parameters(url: URL) -> dict[str, tuple[str, ...]]:
    # URL.normalized_query, which raises in the first releases of SQLAlchemy 2.0.
    return {name: (value,) if isinstance(value, str) else tuple(value) for name, value in url.query.items()}


def _names_a_server(url: URL) -> bool:
    """
    Whether the URL alone leads to the server; an Engine may have been made with a `creator` and an empty URL.
    """
    return url.get_backend_name() == "sqlite" or bool(url.host or {"host", "service", "unix_socket"} & set(url.query))


def sqlite_path(url: URL) -> str | None:
    """
    The file of a SQLite URL; None for a database in memory.
    """
    path, mode = url.database or "", _parameters(url).get("mode", ())
    if path.startswith("file:"):
        path, _, tail = path.removeprefix("file:").partition("?")
        mode = (*mode, *parse_qs(tail).get("mode", ()))
    return None if path in ("", ":memory:") or "memory" in mode else os.path.realpath(path)
