"""
What connection strings mean, how they are shown, and which of them lead to one server.
"""

from __future__ import annotations

import os
import pickle
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url

from spark_batchintory.connections import Connection, parse_connection, same_server
from spark_batchintory.errors import ConfigurationError

PASSWORD = "HUSHhush1"


def rendered(connection: Connection) -> str:
    assert connection.url is not None
    return connection.url.render_as_string(hide_password=False)


def without_psycopg2(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def with_psycopg2(monkeypatch):
    module = ModuleType("psycopg2")
    module.__spec__ = ModuleSpec("psycopg2", None)
    monkeypatch.setitem(sys.modules, "psycopg2", module)


class TestForms:
    @pytest.mark.parametrize(
        ("value", "url"),
        [
            ("sqlite:///f.db", "sqlite:///f.db"),
            (" sqlite:////tmp/f.db\n", "sqlite:////tmp/f.db"),
            ("sqlite://", "sqlite://"),
            ("sqlite+pysqlite:///f.db", "sqlite+pysqlite:///f.db"),
            ("postgres://ann:pw@h/d", "postgresql+psycopg://ann:pw@h/d"),
            ("postgresql://ann:pw@h/d", "postgresql+psycopg://ann:pw@h/d"),
            ("PostgreSQL+psycopg://ann:pw@h/d?sslmode=require", "postgresql+psycopg://ann:pw@h/d?sslmode=require"),
            ("mysql://ann:pw@h/d", "mysql+pymysql://ann:pw@h/d"),
            ("mariadb://ann:p%40w@h/d", "mariadb+pymysql://ann:p%40w@h/d"),
            ("mariadb+pymysql://ann:pw@h:3307/d", "mariadb+pymysql://ann:pw@h:3307/d"),
        ],
    )
    def test_sql_urls_name_their_driver(self, value, url):
        """
        Guards that every URL of README.md opens with the driver our extras install, whatever SQLAlchemy's default is.
        """
        connection = parse_connection(value)

        assert connection.kind == "sql"
        assert rendered(connection) == url

    def test_secret_and_url_objects_are_taken(self):
        """
        Guards that a value may come as text, as SecretStr from the settings, or as a URL made in code.
        """
        text = "postgresql+psycopg://ann:pw@h/d"

        assert parse_connection(text) == parse_connection(SecretStr(text)) == parse_connection(make_url(text))

    def test_psycopg2_url_is_kept_where_psycopg2_is_installed(self, monkeypatch):
        """
        Guards that pybatchintory's users keep the driver they have.
        """
        with_psycopg2(monkeypatch)

        assert rendered(parse_connection("postgresql+psycopg2://h/d")) == "postgresql+psycopg2://h/d"

    def test_psycopg2_url_falls_to_psycopg_where_it_is_not(self, monkeypatch):
        """
        Guards that pybatchintory's connection strings work on a machine that has only what our extra brings.
        """
        without_psycopg2(monkeypatch)

        assert rendered(parse_connection("postgresql+psycopg2://h/d")) == "postgresql+psycopg://h/d"

    @pytest.mark.parametrize(
        ("value", "kind", "location"),
        [
            ("delta:main.default.inventory", "delta", "main.default.inventory"),
            ("delta:inventory", "delta", "inventory"),
            ("delta:`my catalog`.default.`a.b`", "delta", "`my catalog`.default.`a.b`"),
            ("delta:my-catalog.ops_1.größe", "delta", "my-catalog.ops_1.größe"),
            ("delta:`odd``tick`.`a:b`.`--'\";`", "delta", "`odd``tick`.`a:b`.`--'\";`"),
            ("delta:/data/inventory", "delta", "/data/inventory"),
            ("delta:///data/inventory", "delta", "/data/inventory"),
            ("delta:/data/a b/inventory/", "delta", "/data/a b/inventory"),
            ("delta:delta.`/data/inventory`", "delta", "/data/inventory"),
            ("delta:s3://bucket/inventory", "delta", "s3://bucket/inventory"),
            ("delta:dbfs:/data/inventory", "delta", "dbfs:/data/inventory"),
            ("DELTA+RS:/data/inventory", "delta-rs", "/data/inventory"),
            ("delta+rs:s3://bucket/inventory", "delta-rs", "s3://bucket/inventory"),
            ("delta+rs:abfss://c@acct.dfs.core.windows.net/i", "delta-rs", "abfss://c@acct.dfs.core.windows.net/i"),
            ("delta+rs:gs://bucket/inventory", "delta-rs", "gs://bucket/inventory"),
        ],
    )
    def test_delta_locations(self, value, kind, location):
        """
        Guards that Delta tables are named by catalog, path or storage URL, for either engine.
        """
        connection = parse_connection(value)

        assert (connection.kind, connection.location) == (kind, location)
        assert connection.url is connection.engine is None

    def test_spark_is_for_reading_only(self):
        """
        Guards that nobody waits for an inventory in tables that can't be written.
        """
        assert parse_connection("spark:", setting="META_CONN") == Connection("spark")
        with pytest.raises(ConfigurationError, match=r"INVENTORY_CONN can't be spark.*delta:"):
            parse_connection("spark:")

    def test_engine_is_taken_as_it_is(self):
        """
        Guards that code may bring its own Engine, with its own pool and login.
        """
        engine = create_engine("sqlite://")

        connection = parse_connection(engine)

        assert connection.engine is engine
        assert connection.url is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("", "is empty"),
            ("  ", "is empty"),
            (PASSWORD, "is not a connection"),
            (
                f"oracle://ann:{PASSWORD}@h/d",
                r"oracle is not supported. Supported: sqlite:///file.db, postgresql\+psycopg",
            ),
            (f"postgresql+asyncpg://ann:{PASSWORD}@h/d", r"postgresql\+asyncpg is not supported"),
            (f"snowflake:{PASSWORD}", "can't be read.*Supported"),
            (f"postgresql://ann:x@{PASSWORD}@h/d", "percent-encoded"),
            (f"postgresql://ann:x@h:{PASSWORD}/d", "percent-encoded"),
            (f"postgresql:{PASSWORD}", "can't be read"),
            (f"sqlite://{PASSWORD}.db", "three slashes"),
            ("delta:", "catalog.schema.table"),
            ("delta:a.b.c.d", "catalog.schema.table"),
            ("delta:a..c", "catalog.schema.table"),
            ("delta:a.b.", "catalog.schema.table"),
            ("delta:a.`b.c", "catalog.schema.table"),
            ("delta:a.``.c", "catalog.schema.table"),
            ("delta:a.b c.d", "catalog.schema.table"),
            ("delta:a.`b/c`.d", "catalog.schema.table"),
            ("delta:./here", "catalog.schema.table"),
            ("delta://host/path", "catalog.schema.table"),
            (f"delta:s3://KEY:{PASSWORD}@bucket/path", "holds no keys"),
            ("delta+rs:main.default.inventory", "followed by /path"),
            ("delta+rs:hdfs://nn/path", "followed by /path"),
            ("delta+rs:", "followed by /path"),
            (f"jdbc:oracle:thin:ann/{PASSWORD}@h", "JDBC URLs of SQLite, PostgreSQL, MariaDB and MySQL"),
            ("jdbc:", "JDBC URLs of SQLite"),
        ],
    )
    def test_what_is_no_connection_is_refused_and_not_shown(self, value, words):
        """
        Guards that a wrong connection string says what would be right, and neither its text nor a cause shows a
        password.
        """
        with pytest.raises(ConfigurationError, match=words) as caught:
            parse_connection(value, setting="META_CONN")

        assert str(caught.value).startswith("META_CONN")
        assert "HUSH" not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None

    def test_spark_takes_nothing_behind_it(self):
        """
        Guards against the belief that ``spark:catalog.schema`` selects something.
        """
        with pytest.raises(ConfigurationError, match="nothing follows spark:"):
            parse_connection("spark:main.landing", setting="META_CONN")

    @pytest.mark.parametrize("value", [None, 4, b"sqlite://"])
    def test_other_types_are_refused(self, value):
        """
        Guards that a wrong argument is a ConfigurationError, not an AttributeError from the depths.
        """
        with pytest.raises(ConfigurationError, match="URL as text or a SQLAlchemy Engine"):
            parse_connection(value)

    def test_engine_of_another_database_is_refused(self, monkeypatch):
        """
        Guards that an Engine is not let through to fail at the first statement.
        """
        engine = create_engine("sqlite://")
        monkeypatch.setattr(engine.dialect, "name", "mssql")

        with pytest.raises(ConfigurationError, match="an Engine of mssql"):
            parse_connection(engine)


class TestLogin:
    @pytest.mark.parametrize(
        ("value", "url"),
        [
            ("postgresql://h/d", "postgresql+psycopg://ann:p%40w@h/d"),
            ("postgresql://bob@h/d", "postgresql+psycopg://bob:p%40w@h/d"),
            ("postgresql://bob:other@h/d", "postgresql+psycopg://bob:other@h/d"),
            ("jdbc:mysql://h/d", "mysql+pymysql://ann:p%40w@h/d"),
            ("jdbc:mysql://h/d?user=bob&password=other", "mysql+pymysql://bob:other@h/d"),
            ("sqlite:///f.db", "sqlite:///f.db"),
        ],
    )
    def test_user_and_password_fill_what_the_url_leaves_open(self, value, url):
        """
        Guards INVENTORY_USER and INVENTORY_PASSWORD: used where the URL names none, never instead of what it names.
        """
        assert rendered(parse_connection(value, user="ann", password=SecretStr("p@w"))) == url


class TestShowing:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (f"postgresql://ann:{PASSWORD}@h/d", "postgresql+psycopg://ann:***@h/d"),
            (
                f"postgresql://h/d?sslpassword={PASSWORD}&sslmode=require",
                "postgresql+psycopg://h/d?sslmode=require&sslpassword=***",
            ),
            (f"postgresql://h/d?password={PASSWORD}%26x", "postgresql+psycopg://h/d?password=***"),
            (f"mysql://h/d?ssl_key_password={PASSWORD}", "mysql+pymysql://h/d?ssl_key_password=***"),
            (f"jdbc:mysql://h/d?user=ann&password={PASSWORD}", "mysql+pymysql://ann:***@h/d"),
            ("delta:main.default.inventory", "delta:main.default.inventory"),
            (f"delta+rs:s3://b/i?token={PASSWORD}", "delta+rs:s3://b/i?token=***"),
            ("spark:", "spark:"),
        ],
    )
    def test_connection_is_shown_without_its_secrets(self, value, shown):
        """
        Guards that no password stands in a repr, a log or a message, be it in its place or in a parameter.
        """
        connection = parse_connection(value, setting="META_CONN")

        assert str(connection) == shown
        assert repr(connection) == f"<Connection {shown}>"

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map(lambda text: f"Q{text}Q"))
    def test_no_password_is_ever_shown(self, password):
        """
        Guards the same for any password, in the URL, in a parameter and in an Engine.
        """
        text = f"postgresql+psycopg://ann:{quote(password, safe='')}@h/d?sslpassword={quote(password, safe='')}"
        connection = parse_connection(text)

        for shown in (str(connection), repr(connection), f"{connection}", str([connection])):
            assert "Q" not in shown
        assert connection.secrets == (password, password)

    def test_engine_is_shown_without_its_secrets(self):
        """
        Guards the same for an Engine, whose own repr shows parameters.
        """
        engine = create_engine(f"postgresql+psycopg://ann:{PASSWORD}@h/d?sslpassword={PASSWORD}")

        assert repr(parse_connection(engine)) == "<Connection postgresql+psycopg://ann:***@h/d?sslpassword=***>"
        assert parse_connection(engine).secrets == (PASSWORD, PASSWORD)

    def test_what_holds_no_secret_names_none(self):
        """
        Guards masking of texts: a Delta table or a file adds nothing to it.
        """
        assert parse_connection("delta:a.b.c").secrets == parse_connection("sqlite:///f.db").secrets == ()

    def test_value_is_frozen_and_compares(self):
        """
        Guards that engines can be shared by equal connections, also after a journey to another process.
        """
        connection = parse_connection("postgresql://ann@h/d")

        assert connection == parse_connection("postgres://ann@h/d")
        assert hash(connection) == hash(parse_connection("postgres://ann@h/d"))
        assert pickle.loads(pickle.dumps(connection)) == connection
        with pytest.raises(AttributeError):
            connection.kind = "delta"


def made(url: str, **options: object) -> Connection:
    return parse_connection(create_engine(url, **options))


class TestSameServer:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("postgresql://ann@h/d", "postgresql://ann@h:5432/d"),
            ("postgresql://ann@h/d", "jdbc:postgresql://H/d?user=ann&password=x"),
            ("mysql://ann@h/d", "mariadb+pymysql://ann@h:3306/d"),
            ("sqlite:///f.db", "sqlite:///./x/../f.db"),
            ("sqlite:///f.db", "jdbc:sqlite:f.db"),
            ("sqlite:///f.db", "sqlite:///file:f.db?mode=ro&uri=true"),
        ],
    )
    def test_one_server_is_recognised(self, one, other):
        """
        Guards P6: where it can be, the meta table is read in the claim's own transaction, however the two were written.
        """
        assert same_server(parse_connection(one), parse_connection(other))
        assert same_server(parse_connection(other), parse_connection(one))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("postgresql://ann@h/d", "postgresql://ann@h/e"),
            ("postgresql://ann@h/d", "postgresql://ann@i/d"),
            ("postgresql://ann@h/d", "postgresql://ann@h:5433/d"),
            ("postgresql://ann@h/d", "postgresql://bob@h/d"),
            ("postgresql://ann@h/d", "postgresql://ann@h/d?options=-csearch_path%3Dlanding"),
            ("postgresql://ann@h/d", "mysql://ann@h:5432/d"),
            ("sqlite:///f.db", "sqlite:///g.db"),
            ("sqlite://", "sqlite://"),
            ("sqlite:///:memory:", "sqlite:///:memory:"),
            ("sqlite:///file:m?mode=memory&uri=true", "sqlite:///file:m?mode=memory&uri=true"),
            ("sqlite:///file::memory:?uri=true", "sqlite:///file::memory:?uri=true"),
            ("delta:/t", "delta:/t"),
            ("spark:", "spark:"),
            ("spark:", "sqlite:///f.db"),
        ],
    )
    def test_what_one_transaction_cannot_read_is_not_one_server(self, one, other):
        """
        Guards the claim: another database, user or search path, or memory of another engine, is never read in its
        place.
        """
        first, second = (parse_connection(text, setting="META_CONN") for text in (one, other))

        assert not same_server(first, second)

    def test_symbolic_links_lead_to_one_file(self, tmp_path):
        """
        Guards that one SQLite file is recognised behind a link.
        """
        (tmp_path / "f.db").touch()
        os.symlink(tmp_path / "f.db", tmp_path / "link.db")

        assert same_server(
            parse_connection(f"sqlite:///{tmp_path}/f.db"), parse_connection(f"sqlite:///{tmp_path}/link.db")
        )

    def test_engines_are_compared_by_identity_or_url(self):
        """
        Guards Engines given in code: the same object is one server even in memory; two are one if their URLs say so.
        """
        memory = create_engine("sqlite://")

        assert same_server(parse_connection(memory), parse_connection(memory))
        assert not same_server(parse_connection(memory), made("sqlite://"))
        assert same_server(made("sqlite:///f.db"), made("sqlite:///f.db"))
        assert same_server(made("postgresql+psycopg://ann@h/d"), parse_connection("postgresql://ann:pw@h/d"))

    def test_engines_that_hide_their_server_are_not_trusted(self):
        """
        Guards against two Engines with a `creator` each and the same empty URL, which may lead anywhere.
        """
        one, other = (made("postgresql+psycopg://", creator=lambda: None) for _ in range(2))

        assert not same_server(one, other)
        assert same_server(made("postgresql+psycopg:///d?host=/tmp"), made("postgresql+psycopg:///d?host=/tmp"))


def test_url_object_of_an_unknown_database_is_refused():
    """
    Guards that a URL made in code is checked like a text.
    """
    with pytest.raises(ConfigurationError, match="oracle is not supported"):
        parse_connection(URL.create("oracle", password=PASSWORD))
