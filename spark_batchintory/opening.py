"""
Opening an inventory: from settings to the object every call goes through.

This is where backends are chosen, and the only place that knows them all. Nothing is opened before it is used. The
functions of the package (`acquire_batch`, `process`, …) work on one inventory of their own, made from the settings of
`configure` when first needed; `open_inventory` makes others beside it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from .connections import Connection, same_server
from .errors import ConfigurationError
from .handle import Batch
from .inventory import InventoryBackend
from .meta import MetaBackend
from .opened import Inventory
from .settings import Settings, inventory_connection, load_settings, meta_connection

log = logging.getLogger("spark_batchintory")

_DEFAULT_NAME = Settings.model_fields["INVENTORY_TABLE_NAME"].default


def open_inventory(
    conn: Any = None, meta: Any = None, spark: Any = None, *, settings: Mapping[str, Any] | None = None
) -> Inventory:
    """
    An inventory beside the configured one; what is None comes from the settings.

    Parameters
    ----------
    conn, meta
        Where inventory and meta tables are, as `INVENTORY_CONN` and `META_CONN`; with `conn` alone, the meta tables are
        there too, or in Spark if it is a Delta table.
    spark
        The session that Delta inventories and Spark meta tables work in, or a function that returns it: the active
        one, if this is None. SQL needs none.
    settings
        Further settings by name, as in `configure`.

    Raises
    ------
    ConfigurationError
        A connection or setting cannot be understood, or names a system that is not supported.

    Examples
    --------
    >>> with open_inventory("sqlite://") as inventory:
    ...     len(inventory.status())
    0
    """
    given = _spelled(settings or {})
    if conn is not None:
        given["INVENTORY_CONN"] = conn
        given.setdefault("META_CONN", "spark:" if _is_delta(conn) else conn)
        if _is_delta(conn):  # names itself wholly, whatever the settings say of another inventory
            given = {"INVENTORY_CONN_SCHEMA": None, "INVENTORY_TABLE_NAME": None, **given}
    if meta is not None:
        given["META_CONN"] = meta
    if given:
        return _opened(load_settings(_state.dot_env, {**_spelled(_state.given), **given}), spark)
    return _opened(current_settings(), spark)


def configure(dot_env: str | os.PathLike[str] | None = None, settings: Mapping[str, Any] | None = None) -> None:
    """
    Set what the functions of this package work with; the latest call holds.

    Order: `settings`, environment (``SPARK_BATCHINTORY_<NAME>``, ``PYBATCHINTORY_<NAME>``), the dotenv file, defaults.

    Raises
    ------
    ConfigurationError
        A name is unknown or a value cannot be used; the former settings stay.
    """
    loaded = load_settings(dot_env, settings)
    with _state.lock:
        former, _state.inventory = _state.inventory, None
        _state.settings, _state.dot_env, _state.given = loaded, dot_env, dict(settings or {})
    if former is not None:
        former._close_after_batches()


def current_settings() -> Settings:
    """
    What `configure` set, or else what environment and defaults say.
    """
    return _state.settings or load_settings()


def current_inventory() -> Inventory:
    """
    The inventory that the functions of this package work with; opened when first asked for.
    """
    with _state.lock:
        if _state.inventory is None:
            _state.inventory = _opened(current_settings())
        return _state.inventory


def read_batch(batch_id: int) -> Batch:
    """
    A batch of the configured inventory by id, for reading only.
    """
    return current_inventory().read_batch(batch_id)


class _State:
    """
    What `configure` set, and the inventory opened from it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.settings: Settings | None = None
        self.dot_env: str | os.PathLike[str] | None = None
        self.given: dict[str, Any] = {}
        self.inventory: Inventory | None = None


_state = _State()


def _opened(settings: Settings, spark: Any = None) -> Inventory:
    place, meta_place = inventory_connection(settings), meta_connection(settings)
    secrets = _Secrets(place, meta_place, settings)
    if place.kind == "sql":
        database = _database(place, settings.ISOLATION_LEVEL, settings)
        backend: InventoryBackend = _sql_inventory(database, settings)
        if _is_shared(place, meta_place, settings):
            return Inventory(backend, _sql_meta(database), settings, shared=True, secrets=secrets)
    else:
        backend = _delta_inventory(place, settings, spark)
    # A turn of a Delta inventory holds no lock that planning could hold up.
    is_shared = place.kind != "sql"
    return Inventory(backend, _meta(meta_place, settings, spark), settings, shared=is_shared, secrets=secrets)


def _is_shared(place: Connection, meta_place: Connection, settings: Settings) -> bool:
    """
    Whether meta tables are read on the inventory's own connections.
    """
    if not (same_server(place, meta_place) or place == meta_place):
        return False
    return settings.ISOLATION_LEVEL != "SERIALIZABLE" or _is_sqlite(place)


def _sql_inventory(database: Any, settings: Settings) -> InventoryBackend:
    from .backends.sql_inventory import SqlInventory

    return SqlInventory(database, table_name=settings.INVENTORY_TABLE_NAME, schema=settings.INVENTORY_CONN_SCHEMA)


def _sql_meta(database: Any) -> MetaBackend:
    from .backends.sql_meta import SqlMeta

    return SqlMeta(database)


def _delta_inventory(place: Connection, settings: Settings, spark: Any) -> InventoryBackend:
    from .backends.delta_inventory import DeltaInventory

    if place.location is None:
        raise ConfigurationError(f"INVENTORY_CONN cannot be {place}")
    if settings.INVENTORY_CONN_SCHEMA is not None or settings.INVENTORY_TABLE_NAME != _DEFAULT_NAME:
        raise ConfigurationError(
            f"INVENTORY_CONN_SCHEMA and INVENTORY_TABLE_NAME are for SQL databases, and {place} is the whole name of a "
            "Delta table: leave them out, and write delta:catalog.schema.table"
        )
    if place.kind == "delta-rs":
        from .backends.delta_rs import RsDeltaTable

        return DeltaInventory(RsDeltaTable(place.location))
    from .backends.delta_spark import SparkDeltaTable
    from .backends.spark_session import sessions

    return DeltaInventory(SparkDeltaTable(place.location, sessions(spark)))


def _meta(place: Connection, settings: Settings, spark: Any) -> MetaBackend:
    if place.kind == "sql":
        return _sql_meta(_database(place, "READ COMMITTED", settings))
    from .backends.spark_meta import SparkMeta
    from .backends.spark_session import sessions

    if place.kind != "spark":
        raise ConfigurationError(f"META_CONN cannot be {place}: Delta tables are read as META_CONN=spark:")
    return SparkMeta(sessions(spark))


class _Secrets:
    """
    What must not be stored: gone through anew each time, since functions give new passwords.
    """

    def __init__(self, place: Connection, meta_place: Connection, settings: Settings) -> None:
        self._places = place, meta_place
        self._set = settings.INVENTORY_PASSWORD, settings.META_PASSWORD

    def __iter__(self) -> Iterator[str]:
        for place in self._places:
            yield from place.secrets
        for secret in self._set:  # also one for which a SQLite file has no use
            if secret is not None:
                yield secret.get_secret_value()


def _database(place: Connection, isolation_level: str, settings: Settings) -> Any:
    from .backends.sql_engine import Database

    return Database(place, isolation_level=isolation_level, debug=settings.DEBUG)


def _is_delta(conn: Any) -> bool:
    return isinstance(conn, str) and conn.strip().lower().startswith(("delta:", "delta+rs:"))


def _is_sqlite(place: Connection) -> bool:
    url = place.sqlalchemy_url
    return url is not None and url.get_backend_name() == "sqlite"


def _spelled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Settings under their names, which may be given in lower case.
    """
    return {name.upper() if name == name.lower() else name: value for name, value in settings.items()}
