"""
Where settings come from, which are refused, and that none of it shows a secret.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from spark_batchintory.connections import Connection, same_server
from spark_batchintory.errors import ConfigurationError
from spark_batchintory.settings import Settings, inventory_connection, load_settings, meta_connection

OURS, ANCESTORS = "SPARK_BATCHINTORY_", "PYBATCHINTORY_"
PASSWORD = "HUSHhush1"
POSTGRES = f"postgresql+psycopg://ann:{PASSWORD}@h/d"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """
    An environment without settings of ours, in an empty working directory.
    """
    for name in list(os.environ):
        if name.upper().startswith((OURS, ANCESTORS, "DATABRICKS_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


OPEN_NAMES = {"INVENTORY_USER", "META_USER", "INVENTORY_CONN_SCHEMA", "INVENTORY_TABLE_NAME"}


def outcome(settings: dict[str, object]) -> tuple[ConfigurationError | None, str]:
    """
    The error, if any, and what people get to see: the traceback or the repr of the settings.
    """
    try:
        return None, repr(load_settings(settings=settings))
    except ConfigurationError as error:
        return error, "".join(traceback.format_exception(error))


def refusal(**arguments: object) -> str:
    """
    The message with which `load_settings` refuses, after a look at everything that a traceback would print.
    """
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**arguments)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "HUSH" not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


class TestDefaults:
    def test_defaults(self):
        """
        Guards the defaults of README.md: nothing has to be set.
        """
        settings = load_settings()

        assert settings.model_dump() == {
            "INVENTORY_CONN": None,
            "META_CONN": None,
            "INVENTORY_USER": None,
            "INVENTORY_PASSWORD": None,
            "META_USER": None,
            "META_PASSWORD": None,
            "INVENTORY_TOKEN": None,
            "META_TOKEN": None,
            "INVENTORY_CONN_SCHEMA": None,
            "INVENTORY_TABLE_NAME": "inventory",
            "ISOLATION_LEVEL": "READ COMMITTED",
            "LEASE": None,
            "MAX_ATTEMPTS": 3,
            "RETRY_DELAY": timedelta(seconds=60),
            "MAX_HOLD": timedelta(hours=24),
            "DEBUG": False,
        }

    def test_settings_are_frozen(self):
        """
        Guards that settings change by `configure` only, not behind the back of those who hold them.
        """
        with pytest.raises(ValidationError):
            load_settings().DEBUG = True


class TestOrder:
    def test_each_source_goes_before_the_next(self, environment, tmp_path):
        """
        Guards the order: explicit, environment with our prefix, with the ancestor's, dotenv with ours, with the
        ancestor's.
        """
        (tmp_path / "dotenv").write_text(f"{ANCESTORS}MAX_ATTEMPTS=5\n{OURS}MAX_ATTEMPTS=6\n")
        attempts = [load_settings("dotenv", {"MAX_ATTEMPTS": 9}).MAX_ATTEMPTS]
        environment.setenv(f"{OURS}MAX_ATTEMPTS", "8")
        environment.setenv(f"{ANCESTORS}MAX_ATTEMPTS", "7")
        attempts.append(load_settings("dotenv").MAX_ATTEMPTS)
        environment.delenv(f"{OURS}MAX_ATTEMPTS")
        attempts.append(load_settings("dotenv").MAX_ATTEMPTS)
        environment.delenv(f"{ANCESTORS}MAX_ATTEMPTS")
        attempts.append(load_settings("dotenv").MAX_ATTEMPTS)
        (tmp_path / "dotenv").write_text(f"{ANCESTORS}MAX_ATTEMPTS=5\n")
        attempts.append(load_settings("dotenv").MAX_ATTEMPTS)
        attempts.append(load_settings().MAX_ATTEMPTS)

        assert attempts == [9, 8, 7, 6, 5, 3]

    def test_sources_are_mixed_name_by_name(self, environment, tmp_path):
        """
        Guards that a source which sets one name leaves the others to the next source.
        """
        (tmp_path / "dotenv").write_text(f"{OURS}INVENTORY_TABLE_NAME=batches\n{OURS}DEBUG=true\n")
        environment.setenv(f"{ANCESTORS}DEBUG", "false")

        settings = load_settings("dotenv", {"MAX_ATTEMPTS": 2})

        assert (settings.INVENTORY_TABLE_NAME, settings.DEBUG, settings.MAX_ATTEMPTS) == ("batches", False, 2)

    def test_none_stands_for_the_default(self, environment):
        """
        Guards that code can undo what the environment says.
        """
        environment.setenv(f"{OURS}META_CONN", "spark:")
        environment.setenv(f"{OURS}MAX_ATTEMPTS", "8")

        settings = load_settings(settings={"META_CONN": None, "MAX_ATTEMPTS": None})

        assert (settings.META_CONN, settings.MAX_ATTEMPTS) == (None, 3)

    def test_lower_case_is_taken(self, environment, tmp_path):
        """
        Guards that names may be written in lower case: in code, and as pybatchintory allowed it in variables.
        """
        environment.setenv(f"{ANCESTORS}DEBUG".lower(), "true")
        (tmp_path / "dotenv").write_text(f"{OURS}max_attempts=4\n".lower())

        settings = load_settings("dotenv", {"inventory_table_name": "batches"})

        assert (settings.DEBUG, settings.MAX_ATTEMPTS, settings.INVENTORY_TABLE_NAME) == (True, 4, "batches")


class TestDotenvFile:
    @pytest.mark.parametrize("prefix", [OURS, ANCESTORS])
    def test_environment_names_the_file(self, environment, tmp_path, prefix):
        """
        Guards both variables that name a dotenv file, the ancestor's included.
        """
        (tmp_path / "dotenv").write_text(f'export {ANCESTORS}INVENTORY_CONN="{POSTGRES}"\n')
        environment.setenv(f"{prefix}ENV_FILE", str(tmp_path / "dotenv"))

        assert SecretStr(POSTGRES) == load_settings().INVENTORY_CONN

    def test_given_file_goes_first_then_ours(self, environment, tmp_path):
        """
        Guards that of three files named one is read, and which.
        """
        for number, name in enumerate(("given", "ours", "ancestors"), start=1):
            (tmp_path / name).write_text(f"{OURS}MAX_ATTEMPTS={number}\n")
        environment.setenv(f"{OURS}ENV_FILE", "ours")
        environment.setenv(f"{ANCESTORS}ENV_FILE", "ancestors")

        assert load_settings(Path("given")).MAX_ATTEMPTS == 1
        assert load_settings().MAX_ATTEMPTS == 2

    def test_no_file_is_read_unasked(self, tmp_path):
        """
        Guards that a ``.env`` of another tool, which happens to lie there, changes nothing.
        """
        (tmp_path / ".env").write_text(f"{OURS}MAX_ATTEMPTS=9\n")

        assert load_settings().MAX_ATTEMPTS == 3

    def test_missing_file_is_refused(self, environment, tmp_path):
        """
        Guards against running on defaults because a path was misspelt; a folder is no file either.
        """
        assert "dot_env: there is no file" in refusal(dot_env="nowhere")
        assert "dot_env: there is no file" in refusal(dot_env=tmp_path)
        environment.setenv(f"{OURS}ENV_FILE", "nowhere")
        assert f"{OURS}ENV_FILE: there is no file nowhere" in refusal()

    def test_unreadable_file_is_refused_without_its_content(self, tmp_path):
        """
        Guards that a file in another encoding is an error of ours, without the bytes that could not be read.
        """
        (tmp_path / "dotenv").write_bytes(f"{OURS}INVENTORY_PASSWORD={PASSWORD}".encode() + b"\xff\n")

        assert "dotenv can't be read (UnicodeDecodeError)" in refusal(dot_env="dotenv")

    def test_lines_of_others_are_left_alone(self, tmp_path):
        """
        Guards that a dotenv file can be shared with other programs, and name what is read elsewhere.
        """
        (tmp_path / "dotenv").write_text(
            f"DEBUG=true\nOTHER=1\nEMPTY\n{OURS}AUTOREGISTER=false\n{ANCESTORS}ENV_FILE=x\n"
        )

        assert load_settings("dotenv") == load_settings()


class TestUnknownNames:
    def test_misspelt_name_in_code(self):
        """
        Guards that a misspelt setting is refused with the nearest known one.
        """
        assert (
            refusal(settings={"INVENTORY_CON": POSTGRES})
            == "unknown setting INVENTORY_CON. Did you mean INVENTORY_CONN?"
        )
        assert "Did you mean MAX_HOLD?" in refusal(settings={"max_hodl": 1})
        assert "Did you mean DEBUG?" in refusal(settings={f"{OURS}DEBUG": 1})

    def test_name_like_no_other_lists_all(self):
        """
        Guards that help is given also where nothing is near.
        """
        assert "Known: DEBUG, INVENTORY_CONN," in refusal(settings={"XYZZY": POSTGRES})
        assert "unknown setting 4" in refusal(settings={4: POSTGRES})

    def test_mixed_case_is_unknown(self):
        """
        Guards that there are two ways to write a name, not many, and that one name is not given both ways.
        """
        assert "Did you mean DEBUG?" in refusal(settings={"Debug": True})
        assert "DEBUG is given twice" in refusal(settings={"DEBUG": True, "debug": False})

    def test_misspelt_variable(self, environment):
        """
        Guards the same for variables with our prefix; what pybatchintory may know besides is its own affair.
        """
        environment.setenv(f"{ANCESTORS}BACKEND_CONN", POSTGRES)
        load_settings()
        environment.setenv(f"{OURS}META_CON", POSTGRES)

        assert refusal() == f"unknown setting {OURS}META_CON. Did you mean {OURS}META_CONN?"

    @pytest.mark.parametrize("prefix", [OURS, ANCESTORS])
    def test_misspelt_line_in_a_dotenv_file(self, tmp_path, prefix):
        """
        Guards the same for a dotenv file, which was written for this library whichever prefix it uses.
        """
        (tmp_path / "dotenv").write_text(f"{prefix}LAESE={PASSWORD}\n")

        assert refusal(dot_env="dotenv") == f"unknown setting {prefix}LAESE. Did you mean {prefix}LEASE?"

    def test_variables_that_are_read_elsewhere_are_known(self, environment):
        """
        Guards that the switch of the reader and the name of the dotenv file are no misspelt settings.
        """
        environment.setenv(f"{OURS}AUTOREGISTER", "false")
        environment.setenv(f"{ANCESTORS}ENV_FILE", "")

        assert load_settings() == load_settings()

    def test_functions_come_from_code_only(self, environment):
        """
        Guards that a token put into the environment is not taken for a function that fetches one.
        """
        environment.setenv(f"{OURS}INVENTORY_TOKEN", PASSWORD)

        assert "can be given in code only" in refusal()

    @pytest.mark.parametrize("source", ["code", "environment", "dotenv"])
    def test_retired_setting_is_accepted_and_ignored(self, environment, tmp_path, caplog, source):
        """
        Guards that pybatchintory's INVENTORY_STATUS_ENUMS stops nobody, and is not ignored in silence.
        """
        given = {}
        if source == "code":
            given["settings"] = {"INVENTORY_STATUS_ENUMS": ["running"]}
        elif source == "environment":
            environment.setenv(f"{ANCESTORS}INVENTORY_STATUS_ENUMS", '["running"]')
        else:
            (tmp_path / "dotenv").write_text(f"{ANCESTORS}INVENTORY_STATUS_ENUMS=running\n")
            given["dot_env"] = "dotenv"

        with caplog.at_level(logging.INFO, logger="spark_batchintory"):
            settings = load_settings(**given)

        assert settings == Settings()
        assert "INVENTORY_STATUS_ENUMS" in caplog.text


class TestValues:
    @pytest.mark.parametrize(
        ("value", "lease"),
        [
            (timedelta(minutes=5), timedelta(minutes=5)),
            (300, timedelta(minutes=5)),
            (0.5, timedelta(milliseconds=500)),
            ("300", timedelta(minutes=5)),
            ("1e2", timedelta(seconds=100)),
            ("PT5M", timedelta(minutes=5)),
            ("P1D", timedelta(days=1)),
            ("00:05:00", timedelta(minutes=5)),
        ],
    )
    def test_durations(self, value, lease):
        """
        Guards that a time is a timedelta, seconds, or ISO 8601, in code as in a variable.
        """
        assert lease == load_settings(settings={"LEASE": value}).LEASE

    @pytest.mark.parametrize("name", ["LEASE", "RETRY_DELAY", "MAX_HOLD"])
    @pytest.mark.parametrize(
        "value", [0, -1, "0", "-PT1M", "soon", "", "nan", float("inf"), True, 10**20, [60], timedelta(0)]
    )
    def test_what_is_no_positive_time_is_refused(self, name, value):
        """
        Guards P2: a lease of no time at all would hand a batch to everybody; no value goes through by accident.
        """
        assert refusal(settings={name: value}).startswith(f"{name}: ")

    @pytest.mark.parametrize("value", [0, -1, 2.5, True, "many", ""])
    def test_what_is_no_number_of_attempts_is_refused(self, value):
        """
        Guards that a batch is tried at least once, and a whole number of times.
        """
        assert refusal(settings={"MAX_ATTEMPTS": value}).startswith("MAX_ATTEMPTS: ")

    @pytest.mark.parametrize("value", ["SERIALIZABLE", "serializable", " Serializable "])
    def test_isolation_level_in_any_case(self, value):
        """
        Guards that the two levels of README.md are recognised however they are written.
        """
        assert load_settings(settings={"ISOLATION_LEVEL": value}).ISOLATION_LEVEL == "SERIALIZABLE"
        assert load_settings(settings={"ISOLATION_LEVEL": "read_committed"}).ISOLATION_LEVEL == "READ COMMITTED"

    def test_other_isolation_levels_are_refused(self):
        """
        Guards the claim: it is proved under two levels and offered under no other.
        """
        assert "'READ COMMITTED' or 'SERIALIZABLE'" in refusal(settings={"ISOLATION_LEVEL": "READ UNCOMMITTED"})

    def test_empty_schema_is_none(self, environment):
        """
        Guards that an empty variable means the default schema, as it did in pybatchintory.
        """
        environment.setenv(f"{OURS}INVENTORY_CONN_SCHEMA", "")

        assert load_settings().INVENTORY_CONN_SCHEMA is None
        assert refusal(settings={"INVENTORY_TABLE_NAME": ""}).startswith("INVENTORY_TABLE_NAME: ")

    def test_connections_may_be_engine_or_url(self):
        """
        Guards what code may give: text, SecretStr, URL, Engine; and that other things are refused.
        """
        engine = create_engine("sqlite://")

        assert load_settings(settings={"INVENTORY_CONN": engine}).INVENTORY_CONN is engine
        assert SecretStr(POSTGRES) == load_settings(settings={"META_CONN": make_url(POSTGRES)}).META_CONN
        assert refusal(settings={"META_CONN": 4}) == "META_CONN: must be a URL as text or a SQLAlchemy Engine"

    def test_all_problems_are_told_at_once(self):
        """
        Guards that a wrong configuration is mended in one go.
        """
        message = refusal(settings={"LEASE": -1, "DEBUG": PASSWORD, "INVENTORY_PASSWORD": [PASSWORD]})

        assert [part.split(":")[0] for part in message.split("; ")] == ["INVENTORY_PASSWORD", "LEASE", "DEBUG"]


class TestSecrets:
    @pytest.mark.parametrize("name", sorted(Settings.model_fields))
    @given(value=st.sampled_from([PASSWORD, [PASSWORD], {"password": PASSWORD}, PASSWORD.encode(), (POSTGRES,)]))
    def test_no_refusal_shows_what_was_given(self, name, value):
        """
        Guards that a secret in the wrong place stands in no message, cause or traceback: pydantic's errors carry their
        input.
        """
        error, shown = outcome({name: value})

        assert error is None or error.__cause__ is error.__context__ is None
        assert "HUSH" not in shown or (error is None and name in OPEN_NAMES)

    @pytest.mark.parametrize(
        "conn", [POSTGRES, create_engine(f"{POSTGRES}?sslpassword={PASSWORD}")], ids=["text", "engine"]
    )
    def test_settings_show_no_connection(self, conn):
        """
        Guards repr, str and JSON of the settings.
        """
        settings = load_settings(settings={"INVENTORY_CONN": conn, "META_CONN": POSTGRES, "META_PASSWORD": PASSWORD})

        assert "ann" not in repr(settings) + str(settings)
        assert "HUSH" not in repr(settings) + str(settings)
        assert "HUSH" not in json.dumps(settings.model_dump(exclude={"INVENTORY_CONN"}), default=str)

    def test_wrong_connection_is_refused_without_showing_it(self):
        """
        Guards the way from the settings to the connection: the error names the setting and nothing else.
        """
        settings = load_settings(settings={"INVENTORY_CONN": f"oracle://ann:{PASSWORD}@h/d", "META_CONN": PASSWORD})

        for connection, name in ((inventory_connection, "INVENTORY_CONN"), (meta_connection, "META_CONN")):
            with pytest.raises(ConfigurationError, match=f"^{name}") as caught:
                connection(settings)
            assert "HUSH" not in str(caught.value)


class TestInventoryConnection:
    def test_default_is_a_file_here_and_said(self, tmp_path, environment, caplog):
        """
        Guards the first try without any setting: a SQLite file in the working directory, fixed at that moment, and a
        log line.
        """
        connection = inventory_connection(load_settings())
        environment.chdir("/")

        assert connection.url == make_url(f"sqlite:///{tmp_path}/batchintory.db")
        assert [record.name for record in caplog.records] == ["spark_batchintory"]
        assert str(tmp_path / "batchintory.db") in caplog.text
        assert not (tmp_path / "batchintory.db").exists()

    def test_no_default_on_databricks(self, environment):
        """
        Guards that no inventory is lost with a cluster: the error shows the line that helps.
        """
        environment.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")

        for connection in (inventory_connection, meta_connection):
            with pytest.raises(ConfigurationError, match=r'"delta:catalog[.]schema[.]inventory"'):
                connection(load_settings())
        assert inventory_connection(load_settings(settings={"INVENTORY_CONN": "delta:a.b.c"})).kind == "delta"

    def test_login_and_token_go_with_it(self):
        """
        Guards INVENTORY_USER, INVENTORY_PASSWORD and INVENTORY_TOKEN.
        """
        given = {"INVENTORY_CONN": "jdbc:postgresql://h/d", "INVENTORY_USER": "ann", "INVENTORY_PASSWORD": PASSWORD}
        connection = inventory_connection(load_settings(settings={**given, "INVENTORY_TOKEN": token}))

        assert connection.url == make_url(POSTGRES)
        assert connection.token.function is token

    @pytest.mark.parametrize("conn", ["sqlite:///f.db", "delta:a.b.c", create_engine("postgresql+psycopg://h/d")])
    def test_token_without_a_login_is_refused(self, conn):
        """
        Guards that a token which nobody would ask for is not taken for one that protects something.
        """
        settings = load_settings(settings={"INVENTORY_CONN": conn, "INVENTORY_TOKEN": token})

        with pytest.raises(ConfigurationError, match="INVENTORY_TOKEN needs the URL of a database server"):
            inventory_connection(settings)


class TestMetaConnection:
    @pytest.mark.parametrize(
        "conn", [POSTGRES, "sqlite:///f.db", create_engine("sqlite://")], ids=["server", "file", "engine"]
    )
    def test_default_is_where_the_inventory_is(self, conn):
        """
        Guards P6: by default both are one server, so that the meta table is read in the claim's own transaction.
        """
        settings = load_settings(settings={"INVENTORY_CONN": conn})

        assert meta_connection(settings) == inventory_connection(settings)
        assert same_server(meta_connection(settings), inventory_connection(settings))

    def test_default_of_the_default_is_said_once(self, caplog):
        """
        Guards that asking for the meta table's place does not repeat the log line of the inventory's.
        """
        settings = load_settings()
        inventory_connection(settings)

        assert same_server(meta_connection(settings), inventory_connection(settings))
        assert len(caplog.records) == 2  # one for each call of inventory_connection

    @pytest.mark.parametrize("conn", ["delta:a.b.c", "delta+rs:/data/inventory"])
    def test_default_for_a_delta_inventory_is_spark(self, conn):
        """
        Guards the Databricks way: batches in a Delta table, meta tables in the catalog.
        """
        assert meta_connection(load_settings(settings={"INVENTORY_CONN": conn})) == Connection("spark")

    def test_own_connection_with_its_own_login(self):
        """
        Guards that the inventory's user is not sent to the meta table's server.
        """
        given = {"INVENTORY_CONN": "mysql://h/d", "INVENTORY_USER": "bob", "INVENTORY_PASSWORD": "other"}
        given |= {"META_CONN": "postgresql://h/d", "META_USER": "ann", "META_PASSWORD": PASSWORD, "META_TOKEN": token}
        meta = meta_connection(load_settings(settings=given))

        assert meta.url == make_url(POSTGRES)
        assert meta.token.function is token
        assert (
            meta_connection(load_settings(settings={**given, "META_USER": None, "META_PASSWORD": None})).secrets == ()
        )

    def test_own_login_on_the_same_server(self):
        """
        Guards a role that may only read the meta tables, on the inventory's server: another user is another connection.
        """
        given = {"INVENTORY_CONN": "jdbc:postgresql://h/d", "INVENTORY_USER": "bob", "INVENTORY_PASSWORD": "other"}
        settings = load_settings(settings={**given, "META_USER": "ann", "META_PASSWORD": PASSWORD})

        assert meta_connection(settings).url == make_url(POSTGRES)
        assert not same_server(meta_connection(settings), inventory_connection(settings))

    def test_token_of_the_inventory_serves_both(self):
        """
        Guards Lakebase with one database: the function that fetches passwords is given once, or once for each.
        """
        given = {"INVENTORY_CONN": "postgresql://ann@h/d", "INVENTORY_TOKEN": token}

        assert meta_connection(load_settings(settings=given)).token.function is token
        assert (
            meta_connection(load_settings(settings={**given, "META_TOKEN": other_token})).token.function is other_token
        )

    def test_spark_and_empty(self):
        """
        Guards that META_CONN may be Spark beside any inventory, and that an empty variable is not taken for the
        default.
        """
        assert meta_connection(load_settings(settings={"META_CONN": "spark:"})) == Connection("spark")
        with pytest.raises(ConfigurationError, match="META_CONN is empty"):
            meta_connection(load_settings(settings={"META_CONN": ""}))


def token() -> str:
    """
    A fresh password, as Lakebase wants one for each login.
    """
    return PASSWORD


def other_token() -> str:
    """
    The same from another place.
    """
    return PASSWORD


def test_import_brings_no_driver_and_no_spark():
    """
    Guards that importing stays cheap: neither drivers nor Spark nor what only the command line needs.
    """
    unwanted = {"pyspark", "psycopg", "psycopg2", "pymysql", "typer", "rich", "jinja2", "tenacity"}
    code = (
        "import sys, spark_batchintory.settings, spark_batchintory.connections, spark_batchintory.jdbc\n"
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & {unwanted!r}))"
    )

    root = Path(__file__).parent.parent
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)

    assert found.stdout.strip() == "[]"
