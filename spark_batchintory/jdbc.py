"""
Translates ``jdbc:`` URLs of SQLite, PostgreSQL, MariaDB and MySQL into SQLAlchemy's.

A URL that works in Spark's JDBC source shall log in here to the same server, as the same user, under at least the same
protection. So each parameter is either translated into what psycopg or PyMySQL call it or, when neither has a word for
it, refused by name: one that is silently dropped might have been the one that asked for TLS. Values are decoded as the
JDBC driver of that database decodes them: percent signs and plus for PostgreSQL and MySQL, not at all for MariaDB and
SQLite.

Not translated: key stores and trust stores (Java's own formats), fail-over and load-balancing forms of MySQL and
MariaDB. Messages name parameters, never their values, since a value may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote_plus

from sqlalchemy.engine import URL

from spark_batchintory.errors import ConfigurationError

__all__ = ["translate"]

Query = dict[str, str]
Parameters = dict[str, tuple[str, str]]
"""The lower-case name of each parameter with its name as written and its value."""
Rule = Callable[[str, str], Query]
"""From a parameter's name and value to the driver's."""

_SERVER = re.compile(r"(?://(?P<authority>[^/?]*)/?|/?)(?P<database>[^?@]*)(?:\?(?P<parameters>.*))?", re.DOTALL)
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<name>[^:\[\]()=]*))(?::(?P<port>\d{1,5}))?")
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}


def translate(text: str, *, setting: str) -> URL:
    """
    Return the SQLAlchemy URL that means what the JDBC URL `text` means.

    Raises
    ------
    ConfigurationError
        Another database, or a form or parameter that has no translation; `setting` and the parameter are named.
    """
    _, _, rest = text.partition(":")
    database, _, rest = rest.partition(":")
    try:
        if database.lower() == "sqlite":
            return _sqlite(rest)
        if database.lower() in _DRIVERS:
            return _server(database.lower(), rest)
        problem = "JDBC URLs of SQLite, PostgreSQL, MariaDB and MySQL are understood, no others"
    except _NotTranslatable as reason:
        problem = str(reason)
    raise ConfigurationError(f"{setting}: {problem}")


class _NotTranslatable(Exception):
    """
    Says why, without any value from the URL.
    """


def _sqlite(rest: str) -> URL:
    path, _, tail = rest.partition("?")
    given = _parameters(tail, str)
    if path.startswith(":resource:"):
        raise _NotTranslatable("a SQLite file inside of a jar (:resource:) can't be opened here")
    if path.startswith("file:"):  # SQLite's own URI: its parameters are SQLite's, not the driver's
        return URL.create("sqlite", database=path, query={**dict(given.values()), "uri": "true"})
    _refuse_unknown(given, _SQLITE)
    database = None if path in ("", ":memory:") else path
    return URL.create("sqlite", database=database, query=_translated(given, _SQLITE))


def _server(database: str, rest: str) -> URL:
    match = _SERVER.fullmatch(rest)
    if match is None or (database != "postgresql" and match["authority"] is None):
        form = f"jdbc:{database}://host:port/database?name=value (special characters percent-encoded)"
        raise _NotTranslatable(f"of JDBC URLs only the plain form is understood: {form}")
    decode = str if database == "mariadb" else unquote_plus
    given = _parameters(match["parameters"] or "", decode)
    userinfo, _, hosts = (match["authority"] or "").rpartition("@")
    user, password = (decode(part) for part in userinfo.partition(":")[::2])
    _, user = given.pop("user", ("", user))
    _, password = given.pop("password", ("", password))
    host, port, several = _addresses(database, hosts, decode)
    return URL.create(
        drivername=_DRIVERS[database],
        username=user or None,
        password=password or None,
        host=host,
        port=port,
        database=decode(match["database"]) or None,
        query={**_driver_query(database, given), **several},
    )


def _addresses(
    database: str, text: str, decode: Callable[[str], str]
) -> tuple[str | None, int | None, dict[str, tuple[str, ...]]]:
    """
    Return host and port of a single server, or the query parameter that lists several.
    """
    addresses = [_address(part, decode) for part in text.split(",")]
    if len(addresses) == 1:
        return (*addresses[0], {})
    if database != "postgresql":
        raise _NotTranslatable("several hosts in one JDBC URL are understood for PostgreSQL only")
    return None, None, {"host": tuple(f"{host}:{port or 5432}" for host, port in addresses)}


def _address(text: str, decode: Callable[[str], str]) -> tuple[str, int | None]:
    """
    Return host and port; the host is localhost where none is given, as in JDBC (libpq would take a socket).
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise _NotTranslatable("host and port of the JDBC URL can't be read; special characters are percent-encoded")
    return match["six"] or decode(match["name"]) or "localhost", int(match["port"]) if match["port"] else None


def _parameters(text: str, decode: Callable[[str], str]) -> Parameters:
    given = {}
    for part in filter(None, text.split("&")):
        name, equals, value = part.partition("=")
        if not equals:  # not shown: it may be the second half of a password with a bare "&"
            raise _NotTranslatable("a parameter of the JDBC URL has no value (a '&' inside of a value is written %26)")
        given[name.lower()] = (name, decode(value))
    return given


def _driver_query(database: str, given: Parameters) -> Query:
    if database == "postgresql":
        _refuse_unknown(given, _POSTGRESQL)
        return _translated(given, _POSTGRESQL)
    _refuse_unknown(given, (*_TLS, *_MYSQL))
    tls = {name: given[name.lower()][1] for name in _TLS if name.lower() in given}
    return {**_translated(given, _MYSQL), **_tls(database, tls)}


def _refuse_unknown(given: Parameters, known: Iterable[str]) -> None:
    lower = {name.lower() for name in known}
    unknown = sorted(name for key, (name, _) in given.items() if key not in lower)
    if unknown:
        raise _NotTranslatable(
            f"JDBC parameter {', '.join(map(repr, unknown))} has no equivalent here and is not silently dropped; "
            f"take it out. Understood: {', '.join(['user', 'password', *known])}"
        )


def _translated(given: Parameters, rules: Mapping[str, Rule]) -> Query:
    """
    Apply `rules` in their own order, so that of two that set the same thing the later one wins; "options" add up.
    """
    query: Query = {}
    for name, rule in rules.items():
        if name.lower() in given:
            for key, value in rule(name, given[name.lower()][1]).items():
                query[key] = f"{query[key]} {value}" if key == "options" and key in query else value
    return query


def _as(key: str) -> Rule:
    return lambda name, value: {key: value}


def _seconds_as(key: str) -> Rule:
    return lambda name, value: {key: str(_number(name, value))}


def _milliseconds_as(*keys: str, unlimited: Query) -> Rule:
    """
    Round up to seconds; 0 means no limit, for which the driver has its own words.
    """

    def rule(name: str, value: str) -> Query:
        seconds = -(-_number(name, value) // 1000)
        return dict.fromkeys(keys, str(seconds)) if seconds else unlimited

    return rule


def _flag_as(key: str, yes: str, no: str) -> Rule:
    return lambda name, value: {key: yes if _flag(name, value) else no}


def _choice(choices: Mapping[str, Query]) -> Rule:
    def rule(name: str, value: str) -> Query:
        if value.lower() not in choices:
            raise _NotTranslatable(f"JDBC parameter {name!r} is understood with these values: {', '.join(choices)}")
        return choices[value.lower()]

    return rule


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise _NotTranslatable(f"JDBC parameter {name!r} must be a whole number, not negative")
    return int(value)


def _flag(name: str, value: str) -> bool:
    flags = {"true": True, "1": True, "": True, "false": False, "0": False}
    if value.lower() not in flags:
        raise _NotTranslatable(f"JDBC parameter {name!r} must be true or false")
    return flags[value.lower()]


_NOTHING_TO_DO: Query = {}

_SQLITE: dict[str, Rule] = {"busy_timeout": lambda name, value: {"timeout": str(_number(name, value) / 1000)}}

_TARGETS = {
    "any": "any",
    "primary": "primary",
    "master": "primary",
    "secondary": "standby",
    "slave": "standby",
    "prefersecondary": "prefer-standby",
    "preferslave": "prefer-standby",
}

_POSTGRESQL: dict[str, Rule] = {
    "ssl": _flag_as("sslmode", "verify-full", "prefer"),  # what pgjdbc makes of it, unless there is a sslmode
    "sslmode": _as("sslmode"),
    "sslrootcert": _as("sslrootcert"),
    "sslcert": _as("sslcert"),
    "sslkey": _as("sslkey"),
    "sslpassword": _as("sslpassword"),
    "sslNegotiation": _as("sslnegotiation"),
    "channelBinding": _as("channel_binding"),
    "gssEncMode": _as("gssencmode"),
    "kerberosServerName": _as("krbsrvname"),
    "ApplicationName": _as("application_name"),
    "options": _as("options"),
    "currentSchema": lambda name, value: {"options": "-csearch_path=" + re.sub(r"([\\\s])", r"\\\1", value)},
    "loginTimeout": _seconds_as("connect_timeout"),
    "connectTimeout": _seconds_as("connect_timeout"),
    "tcpKeepAlive": _flag_as("keepalives", "1", "0"),
    "targetServerType": _choice({name: {"target_session_attrs": target} for name, target in _TARGETS.items()}),
    "loadBalanceHosts": _flag_as("load_balance_hosts", "random", "disable"),
}

_MYSQL: dict[str, Rule] = {
    "connectTimeout": _milliseconds_as("connect_timeout", unlimited={"connect_timeout": "31536000"}),
    "socketTimeout": _milliseconds_as("read_timeout", "write_timeout", unlimited=_NOTHING_TO_DO),
    "characterEncoding": _choice({name: {"charset": "utf8mb4"} for name in ("utf-8", "utf8", "utf8mb4")}),
    "localSocket": _as("unix_socket"),
    "allowLocalInfile": _flag_as("local_infile", "1", "0"),
    # What PyMySQL does anyway. Connector/J wanted a time zone in every URL for years; ours is UTC.
    "useUnicode": _choice({"true": _NOTHING_TO_DO}),
    "allowPublicKeyRetrieval": _choice({"true": _NOTHING_TO_DO}),
    "serverTimezone": _choice({"utc": _NOTHING_TO_DO}),
    "connectionTimeZone": _choice({"utc": _NOTHING_TO_DO}),
    "permitMysqlScheme": lambda name, value: _NOTHING_TO_DO,  # is about the choice of the Java driver only
}

_TLS = ("sslMode", "useSSL", "requireSSL", "verifyServerCertificate", "trustServerCertificate", "serverSslCert")


def _tls(database: str, given: Mapping[str, str]) -> Query:
    """
    Translate the parameters named in `_TLS`, which only together say what is wanted, for PyMySQL.
    """
    mode = given.get("sslMode", "").lower().replace("_", "-") or _mode_of_flags(database, given)
    authority = _pem_file(given)
    if mode in ("disable", "disabled"):
        return {"ssl_disabled": "true"}
    if mode in ("", "preferred") and not authority:
        return {}
    if mode in ("required", "trust"):
        return {"ssl_check_hostname": "false"}
    if mode == "verify-ca":  # without a file PyMySQL asks the system's authorities, as Java asks its own
        return {**authority, "ssl_check_hostname": "false"} if authority else {"ssl_verify_cert": "true"}
    if mode not in ("verify-full", "verify-identity"):
        modes = "disable, preferred, required, trust, verify-ca, verify-full (the last two with serverSslCert)"
        raise _NotTranslatable(f"JDBC parameter 'sslMode' is understood here with these values: {modes}")
    if not authority:  # PyMySQL would leave the check of the name out, which is less than what was asked for
        raise _NotTranslatable("to verify the server's name PyMySQL needs a PEM file to go by: serverSslCert=/path")
    return {**authority, "ssl_check_hostname": "true"}


def _pem_file(given: Mapping[str, str]) -> Query:
    if "serverSslCert" not in given:
        return {}
    path = re.sub(r"^file:(//)?", "", given["serverSslCert"])
    if not path or path.startswith(("classpath:", "-----BEGIN")):
        raise _NotTranslatable("JDBC parameter 'serverSslCert' must be the path of a PEM file to be understood here")
    return {"ssl_ca": path}


def _mode_of_flags(database: str, given: Mapping[str, str]) -> str:
    """
    Return the sslMode that the older flags stand for; the two drivers differ in what they mean by them.
    """

    def on(name: str) -> bool:
        return name in given and _flag(name, given[name])

    if not (on("useSSL") or on("requireSSL")):
        return "disabled" if "useSSL" in given else ""
    if database == "mariadb":
        return "trust" if on("trustServerCertificate") else "verify-full"
    return "verify-ca" if on("verifyServerCertificate") else "required"
