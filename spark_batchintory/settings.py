"""
Where connections and defaults come from: the call, the environment, a dotenv file, in this order.

::

    explicit settings  >  SPARK_BATCHINTORY_<NAME>  >  PYBATCHINTORY_<NAME>  >  dotenv file (same prefixes)  >  default

The dotenv file is the one given, else the one that ``SPARK_BATCHINTORY_ENV_FILE`` names, else
``PYBATCHINTORY_ENV_FILE``. A name that nobody knows is refused with the nearest known one: a misspelt setting that is
quietly ignored ends in another database. Only in the environment, names with pybatchintory's prefix that are unknown
here are left alone; it may be installed too. Errors name settings and never show what was given, since it may be a
password.

Nothing is read at import and nothing is kept: `load_settings` looks at the environment each time it is called. What the
connections mean is decided in `spark_batchintory.connections`, when they are asked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL, Engine

from spark_batchintory.connections import Connection, parse_connection
from spark_batchintory.errors import ConfigurationError
from spark_batchintory.masking import mask
from spark_batchintory.passwords import LoginPasswords

if TYPE_CHECKING:
    from spark_batchintory.facts import Setting

__all__ = ["Settings", "inventory_connection", "load_settings", "meta_connection", "shown_settings"]

log = logging.getLogger("spark_batchintory")

PREFIX = "SPARK_BATCHINTORY_"
ANCESTOR_PREFIX = "PYBATCHINTORY_"
DEFAULT_FILE = "batchintory.db"

_RETIRED = "INVENTORY_STATUS_ENUMS"  # of pybatchintory: the statuses are fixed now
_READ_ELSEWHERE = frozenset({"AUTOREGISTER", "ENV_FILE"})
_CODE_ONLY = frozenset({"INVENTORY_TOKEN", "META_TOKEN"})


def _conn(value: object) -> object:
    if isinstance(value, URL):
        return SecretStr(value.render_as_string(hide_password=False))
    if value is None or isinstance(value, (str, SecretStr, Engine)):
        return value
    raise ValueError("must be a URL as text or a SQLAlchemy Engine")


def _number(value: object) -> object:
    if isinstance(value, bool):  # which Python and pydantic take for 0 and 1
        raise ValueError("must not be true or false")
    return value


def _seconds(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value  # ISO 8601, which pydantic reads


def _isolation_level(value: object) -> object:
    return value.strip().upper().replace("_", " ") if isinstance(value, str) else value


def _empty_as_none(value: object) -> object:
    return None if value == "" else value


Conn = Annotated[SecretStr | Engine | None, BeforeValidator(_conn)]
Duration = Annotated[timedelta, Field(gt=timedelta(0)), BeforeValidator(_seconds), BeforeValidator(_number)]
IsolationLevel = Annotated[Literal["READ COMMITTED", "SERIALIZABLE"], BeforeValidator(_isolation_level)]
Token = Callable[[], str]


class Settings(BaseSettings):
    """
    All settings, checked and frozen; `load_settings` makes them.

    Durations are `timedelta`, seconds as a number, or ISO 8601 text (``PT10M``), and positive.
    """

    # defer_build: the validator is made when first used, not at import.
    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True, defer_build=True
    )

    INVENTORY_CONN: Conn = None
    """Where batches are recorded; None is a SQLite file in the working directory (see `inventory_connection`)."""

    META_CONN: Conn = None
    """Where the meta tables are; None is where the inventory is, or Spark if the inventory is a Delta table."""

    INVENTORY_USER: str | None = None
    """User where INVENTORY_CONN names none."""

    INVENTORY_PASSWORD: SecretStr | None = None
    """Password where INVENTORY_CONN names none."""

    META_USER: str | None = None
    """User where META_CONN names none."""

    META_PASSWORD: SecretStr | None = None
    """Password where META_CONN names none."""

    INVENTORY_TOKEN: Token | None = Field(default=None, repr=False)
    """Returns a fresh password to log in to the inventory with (see `passwords`); in code only."""

    META_TOKEN: Token | None = Field(default=None, repr=False)
    """Returns a fresh password to log in to the meta database with; in code only."""

    INVENTORY_CONN_SCHEMA: Annotated[str | None, BeforeValidator(_empty_as_none)] = None
    """Schema of the inventory's tables; None is the database's default."""

    INVENTORY_TABLE_NAME: str = Field(default="inventory", min_length=1)
    """Name of the inventory's main table; the others are named after it."""

    ISOLATION_LEVEL: IsolationLevel = "READ COMMITTED"
    """Isolation of the transaction that claims a batch."""

    LEASE: Duration | None = None
    """How long a batch is safe from rescue without a heartbeat; None is what suits the kind of inventory."""

    MAX_ATTEMPTS: Annotated[int, Field(ge=1), BeforeValidator(_number)] = 3
    """Failures after which a batch is dead."""

    RETRY_DELAY: Duration = timedelta(seconds=60)
    """Mean delay before the first retry; it doubles with each further one."""

    MAX_HOLD: Duration = timedelta(hours=24)
    """How long a process may hold one batch."""

    DEBUG: bool = False
    """Log the SQL."""

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """
        Read environment and dotenv file through `_Prefixed`, since pydantic-settings knows one prefix only.
        """
        assert isinstance(env_settings, EnvSettingsSource)
        assert isinstance(dotenv_settings, EnvSettingsSource)
        environment = _Prefixed(settings_cls, env_settings.env_vars, checked=(PREFIX,))
        file = _Prefixed(settings_cls, dotenv_settings.env_vars, checked=(PREFIX, ANCESTOR_PREFIX))
        return init_settings, environment, file

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, SecretStr("an Engine") if isinstance(value, Engine) else value


class _Prefixed(PydanticBaseSettingsSource):
    """
    Settings from variables that carry one of the two prefixes, in upper or lower case; ours goes first.
    """

    def __init__(
        self, settings_cls: type[BaseSettings], variables: Mapping[str, str | None], *, checked: tuple[str, ...]
    ) -> None:
        super().__init__(settings_cls)
        self._values: dict[str, str] = {}
        for prefix in (ANCESTOR_PREFIX, PREFIX):
            for variable, value in variables.items():
                name = variable.upper().removeprefix(prefix)
                if variable.upper().startswith(prefix) and value is not None:
                    self._take(prefix, name, value, unknown_is_wrong=prefix in checked)

    def _take(self, prefix: str, name: str, value: str, *, unknown_is_wrong: bool) -> None:
        if name in _CODE_ONLY:
            raise ConfigurationError(
                f"{prefix}{name} is a function and can be given in code only: configure(settings=…)"
            )
        if name == _RETIRED:
            _log_retired(f"{prefix}{name}")
        elif name in Settings.model_fields:
            self._values[name] = value
        elif unknown_is_wrong and name not in _READ_ELSEWHERE:
            raise _unknown(name, prefix, known=(Settings.model_fields.keys() - _CODE_ONLY) | _READ_ELSEWHERE)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._values)


def load_settings(
    dot_env: str | os.PathLike[str] | None = None, settings: Mapping[str, object] | None = None
) -> Settings:
    """
    Return the settings that hold now, from all sources in the order of this module's head.

    Reads the environment and the dotenv file, changes nothing and connects to nothing. What a connection means is not
    looked at yet: `inventory_connection` and `meta_connection` do that.

    Parameters
    ----------
    dot_env
        Path of a dotenv file, in UTF-8; goes before the file that the environment names.
    settings
        Values by name, in upper or in lower case. None as a value stands for the default.

    Raises
    ------
    ConfigurationError
        An unknown name, a value that does not fit, a dotenv file that can't be read. No value is shown, and no other
        exception hangs on it that could show one.
    """
    given = _explicit(settings or {})
    file = _dotenv_file(dot_env)
    try:
        loaded = Settings(**{**given, "_env_file": file})
        loaded._origins = _origins(given, file)
        return loaded
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        problem = "; ".join(dict.fromkeys(_told(detail["loc"], detail["msg"]) for detail in details))
    except (OSError, UnicodeDecodeError) as error:
        problem = f"the dotenv file {file} can't be read ({type(error).__name__})"
    # Outside of the handlers, so that the original is not its context: both kinds carry what they could not read.
    raise ConfigurationError(problem)


def _origins(given: Iterable[str], file: Path | None) -> dict[str, str]:
    """
    Name → from where its value is, in the words of whoever set it; those that are left to their defaults are not in it.
    """
    found: dict[str, str] = {}
    sources: list[tuple[str, Iterable[str]]] = [("the environment", os.environ)]
    if file is not None:
        from dotenv import dotenv_values  # which pydantic-settings reads it with

        sources.insert(0, (str(file), dotenv_values(file)))
    for place, names in sources:
        known = {name.upper(): name for name in names}
        for prefix in (ANCESTOR_PREFIX, PREFIX):
            said = {name: known[f"{prefix}{name}"] for name in Settings.model_fields if f"{prefix}{name}" in known}
            found |= {name: f"{variable} in {place}" for name, variable in said.items()}
    return found | dict.fromkeys(given, "the code")


def shown_settings(settings: Settings) -> list[Setting]:
    """
    What is set, and from where, without secrets; the two connections always, the others only where they are set.
    """
    # Imported here: only `doctor` shows them.
    from spark_batchintory.facts import Setting

    origins = {name: text for name, text in settings._origins.items() if getattr(settings, name) is not None}
    names = ["INVENTORY_CONN", "META_CONN", *(name for name in origins if not name.endswith("_CONN"))]
    return [
        Setting(
            name,
            _shown(settings, name),
            origins.get(name, "the default"),
            is_default=name not in origins,
            is_ancestors=origins.get(name, "").startswith(ANCESTOR_PREFIX),
        )
        for name in names
    ]


def _shown(settings: Settings, name: str) -> str:
    connections = {"INVENTORY_CONN": inventory_connection, "META_CONN": meta_connection}
    if name in connections:
        try:
            return str(connections[name](settings))
        except ConfigurationError as error:
            return mask(str(error))
    if name in _CODE_ONLY:
        return "a function"
    value = getattr(settings, name)
    return "set" if isinstance(value, SecretStr) else str(value)


def inventory_connection(settings: Settings) -> Connection:
    """
    Return where the inventory is.

    Without INVENTORY_CONN that is the SQLite file `DEFAULT_FILE` in the working directory of this moment, and a log
    line says so at each call.

    Raises
    ------
    ConfigurationError
        INVENTORY_CONN is no supported connection, or is missing on Databricks, where that file would die with the
        cluster.
    """
    if settings.INVENTORY_CONN is None:
        value = _default_inventory(settings)
        log.warning("INVENTORY_CONN is not set: the inventory is the SQLite file %s", value.database)
    return _inventory(settings, settings.INVENTORY_USER, settings.INVENTORY_PASSWORD, settings.INVENTORY_TOKEN)


def meta_connection(settings: Settings) -> Connection:
    """
    Return where the meta tables are.

    Without META_CONN that is Spark for a Delta inventory, else where the inventory is; then META_USER and
    META_PASSWORD, if given, go before INVENTORY_USER and INVENTORY_PASSWORD, and META_TOKEN before INVENTORY_TOKEN.

    Raises
    ------
    ConfigurationError
        META_CONN, or INVENTORY_CONN where it stands for it, is no supported connection.
    """
    user, password, token = settings.META_USER, settings.META_PASSWORD, settings.META_TOKEN
    if settings.META_CONN is not None:
        connection = parse_connection(settings.META_CONN, user=user, password=password, setting="META_CONN")
        return _with_token(connection, token, "META_TOKEN")
    if user is None and password is None:
        user, password = settings.INVENTORY_USER, settings.INVENTORY_PASSWORD
    connection = _inventory(settings, user, password, None)
    if connection.kind != "sql":
        return Connection("spark")
    if token is None:
        return _with_token(connection, settings.INVENTORY_TOKEN, "INVENTORY_TOKEN")
    return _with_token(connection, token, "META_TOKEN")


def _inventory(settings: Settings, user: str | None, password: SecretStr | None, token: Token | None) -> Connection:
    value = _default_inventory(settings) if settings.INVENTORY_CONN is None else settings.INVENTORY_CONN
    connection = parse_connection(value, user=user, password=password, setting="INVENTORY_CONN")
    return _with_token(connection, token, "INVENTORY_TOKEN")


def _default_inventory(settings: Settings) -> URL:
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        raise ConfigurationError(
            "INVENTORY_CONN is not set, and a SQLite file, the default elsewhere, would be lost with this cluster. "
            "Name a Delta table: spark_batchintory.configure("
            f'settings={{"INVENTORY_CONN": "delta:catalog.schema.{settings.INVENTORY_TABLE_NAME}"}})'
        )
    return URL.create("sqlite", database=str(Path.cwd() / DEFAULT_FILE))


def _with_token(connection: Connection, token: Token | None, setting: str) -> Connection:
    if token is None:
        return connection
    if connection.url is None or connection.url.get_backend_name() == "sqlite":
        raise ConfigurationError(
            f"{setting} needs the URL of a database server: files, Delta tables and engines take no password from it"
        )
    return replace(connection, token=LoginPasswords(token, setting))


def _explicit(settings: Mapping[str, object]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in ((str(key), value) for key, value in settings.items()):
        name = key.upper() if key in (key.upper(), key.lower()) else key
        if name == _RETIRED:
            _log_retired(name)
        elif name not in Settings.model_fields:
            raise _unknown(key, "", known=Settings.model_fields)
        elif name in given:
            raise ConfigurationError(f"{name} is given twice, in upper and in lower case")
        else:
            given[name] = Settings.model_fields[name].default if value is None else value
    return given


def _dotenv_file(dot_env: str | os.PathLike[str] | None) -> Path | None:
    sources = {"dot_env": dot_env}
    sources.update({name: os.environ.get(name) for name in (f"{PREFIX}ENV_FILE", f"{ANCESTOR_PREFIX}ENV_FILE")})
    for source, value in sources.items():
        if value:
            path = Path(value).expanduser()
            if path.exists() and not path.is_dir():
                return path
            raise ConfigurationError(f"{source}: there is no file {path}")
    return None


def _unknown(name: str, prefix: str, *, known: Iterable[str]) -> ConfigurationError:
    bare = name.upper().removeprefix(PREFIX).removeprefix(ANCESTOR_PREFIX)
    import difflib

    nearest = difflib.get_close_matches(bare, sorted(known), n=1)
    hint = f"Did you mean {prefix}{nearest[0]}?" if nearest else f"Known: {', '.join(sorted(known))}"
    return ConfigurationError(f"unknown setting {prefix}{name}. {hint}")


def _told(location: tuple[int | str, ...], message: str) -> str:
    name = location[0] if location else "settings"
    return f"{name}: {message.removeprefix('Value error, ')}"


def _log_retired(name: str) -> None:
    log.warning("%s is accepted for pybatchintory's sake and has no effect: the statuses are fixed", name)
