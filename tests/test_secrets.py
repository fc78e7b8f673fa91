"""
No secret anywhere: a known password is looked for in everything this library shows, logs, raises, prints or stores.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
import uuid
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

import spark_batchintory as bi
from spark_batchintory import cli
from spark_batchintory.settings import load_settings
from spark_batchintory.testing.servers import drop_database, fresh_database

from .stage import Stage

SECRET = "HUSH p@ss/w%rd&é"
SPELLINGS = sorted({SECRET, quote(SECRET, safe=""), quote(SECRET), quote_plus(SECRET), repr(SECRET)[1:-1]})
SPELLINGS += [json.dumps(SECRET)[1:-1], quote(SECRET, safe=" +"), ascii(SECRET)[1:-1]]
FORMS = ["in its place", "as a parameter", "as a JDBC property", "as a setting", "from a function"]
VERBS = [
    ["status"],
    ["plan", "daily"],
    ["batches", "daily"],
    ["attempts", "1"],
    ["trace", "/landing/1.json"],
    ["gaps", "daily"],
    ["audit", "daily", "--dry-run"],
    ["retry", "daily"],
    ["pause", "daily"],
    ["resume", "daily"],
    ["redo", "daily", "1", "2"],
    ["mark-done", "daily", "1", "2"],
    ["cancel", "1"],
]


def seen(text: str) -> bool:
    """
    Whether the password stands in a text, in any spelling, or the word it begins with.
    """
    return "HUSH" in text or any(spelling in text for spelling in SPELLINGS)


class Place:
    """
    A database whose user `hush` has the password, and the settings that name it, in one of the forms.
    """

    def __init__(self, url: str, form: str) -> None:
        self.stage, self.form, self.kind = Stage(url), form, sa.make_url(url).get_backend_name()
        self.stage.files(range(1, 8))
        self.user = f"hush_{uuid.uuid4().hex[:8]}"
        self._make_user()
        bare = sa.make_url(url).set(username=self.user, password=None)
        self.settings = self._settings(bare)

    def _make_user(self) -> None:
        spelled = SECRET.replace("'", "''")
        if self.kind == "postgresql":
            self.stage.execute(f"CREATE ROLE {self.user} LOGIN SUPERUSER PASSWORD '{spelled}'")
        elif self.kind == "mariadb":
            self.stage.execute(f"CREATE USER {self.user} IDENTIFIED BY '{spelled}'")
            self.stage.execute(f"GRANT ALL ON *.* TO {self.user}")

    def _settings(self, bare: sa.URL) -> dict[str, Any]:
        plain = bare.render_as_string(hide_password=False)
        if self.kind == "sqlite":  # knows no passwords; a parameter that its driver refuses is shown all the same
            return {"INVENTORY_CONN": self.stage.url, "INVENTORY_USER": "hush", "INVENTORY_PASSWORD": SECRET}
        if self.form == "in its place":
            return {"INVENTORY_CONN": bare.set(password=SECRET).render_as_string(hide_password=False)}
        if self.form == "as a parameter":
            return {"INVENTORY_CONN": f"{plain}&password={quote(SECRET, safe='')}"}
        if self.form == "as a setting":
            return {"INVENTORY_CONN": plain, "INVENTORY_PASSWORD": SECRET}
        if self.form == "from a function":
            return {"INVENTORY_CONN": plain, "INVENTORY_TOKEN": lambda: SECRET}
        if self.kind == "mariadb":
            socket = bare.query["unix_socket"]
            tail = f"user={self.user}&password={SECRET}&localSocket={socket}"
            return {"INVENTORY_CONN": f"jdbc:mysql://localhost/{bare.database}?" + _quoted(tail)}
        return {"INVENTORY_CONN": f"jdbc:postgresql://nowhere.invalid/{bare.database}?user=u&password={_q(SECRET)}"}

    @property
    def opens(self) -> bool:
        """
        Whether there is a server behind it: JDBC knows no sockets of PostgreSQL.
        """
        return not (self.form == "as a JDBC property" and self.kind == "postgresql")

    def close(self) -> None:
        with suppress(sa.exc.DBAPIError):
            if self.kind == "postgresql":
                self.stage.execute(f"DROP OWNED BY {self.user} CASCADE")
                self.stage.execute(f"DROP ROLE {self.user}")
            elif self.kind == "mariadb":
                self.stage.execute(f"DROP USER {self.user}")
        self.stage.__exit__()


def _q(text: str) -> str:
    return quote(text, safe="")


def _quoted(tail: str) -> str:
    return tail.replace(SECRET, _q(SECRET))


@pytest.fixture(params=["sqlite", *(f"{kind}, {form}" for kind in ("postgresql", "mariadb") for form in FORMS)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """
    A database of each kind, and each form in which its password can be given.
    """
    kind, _, form = request.param.partition(", ")
    if kind == "sqlite":
        place = Place(f"sqlite:///{tmp_path / 'test.db'}", form)
        yield place
        place.close()
        return
    url = fresh_database(request.getfixturevalue({"postgresql": "postgres_url", "mariadb": "mariadb_url"}[kind]))
    place = Place(url, form)
    yield place
    place.close()
    drop_database(url)


@pytest.fixture
def logs() -> Iterator[list[str]]:
    """
    Everything that anybody logs, at any level, as text, with the values and errors that come with it.
    """
    told: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(f"{record.getMessage()} {record.args!r} {record.exc_text or ''}")
            if record.exc_info and record.exc_info[1]:
                told.append("".join(traceback.format_exception(record.exc_info[1])))

    ear, root = Ear(0), logging.getLogger()
    names = ["", "spark_batchintory", "sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "psycopg", "psycopg.pool"]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(1)
    root.addHandler(ear)
    yield told
    root.removeHandler(ear)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def told_by(error: BaseException) -> str:
    """
    Everything a traceback shows, and every error that hangs on it, also one that is suppressed.
    """
    told, queue, known = [], [error], set()
    while queue:
        one = queue.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        told += [
            str(one),
            repr(one),
            repr(one.args),
            "".join(traceback.TracebackException.from_exception(one).format()),
        ]
        queue += [other for other in (one.__cause__, one.__context__) if other is not None]
    return "\n".join(told)


def shown_by(inventory: Any) -> list[str]:
    """
    Every form of every answer, and of the objects themselves.
    """
    answers = [
        inventory.status(),
        inventory.batches("daily"),
        inventory.attempts(1),
        inventory.trace(uid=1),
        inventory.gaps("daily"),
        inventory.audit("daily", dry_run=True),
        inventory.plan("other", "files"),
    ]
    told = [repr(inventory), str(inventory), repr(inventory.settings), str(inventory.settings)]
    told += [repr(inventory.backend), repr(inventory.backend.database.connection), str(inventory.backend.database)]
    told += [repr(inventory._holder), inventory.settings.model_dump_json(exclude=CALLABLE)]
    for answer in answers:
        told += [str(answer), repr(answer), answer._repr_html_(), json.dumps(answer.to_dicts()), repr(answer.rows)]
    return told


CALLABLE = {"INVENTORY_TOKEN", "META_TOKEN"}


def worked(inventory: Any) -> list[str]:
    """
    A job whose code fails with the password in its error, its notes and its reasons; what its batches show.
    """
    told = []
    for end in ("failed", "noted", "succeeded"):
        batch = inventory.acquire_batch("daily", "files", batch_count=2, heartbeat=False)
        told += [repr(batch), str(batch), batch._repr_html_(), repr(batch.config), repr(pickle.dumps(batch))]
        told += [repr(pickle.loads(pickle.dumps(batch))), str(batch.delta_options()), batch.output_path("/lake")]
        told += list(map(repr, inventory.held()))
        if end == "failed":
            batch.failed(_raised())
        elif end == "noted":
            batch.failed(f"cannot log in with {SECRET}", logging=f"tried {quote(SECRET, safe='')}, {SECRET!r}")
        else:
            batch.succeeded({"rows": 2}, logging=f"wrote with {SECRET}")
        told += [repr(batch), batch._repr_html_()]
    inventory.retry("daily", reason=f"the password was {SECRET}")
    inventory.pause("daily", reason=f"until {quote(SECRET)} is changed")
    inventory.resume("daily", reason=json.dumps({"password": SECRET}))
    return told


def _raised() -> Exception:
    try:
        try:
            raise OSError(f"password authentication failed: {SECRET}")
        except OSError as error:
            raise ValueError(f"postgresql://ann:{quote(SECRET, safe='')}@db/prod") from error
    except ValueError as error:
        return error


def test_nothing_shows_a_password_that_works(place, logs):
    """
    API: not in a repr, an answer, HTML, a pickle, a log at the lowest level, a warning, nor in any row of any table.
    """
    if not place.opens:
        return
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with bi.open_inventory(settings={**place.settings, "DEBUG": True, "META_CONN": None}) as inventory:
            told = worked(inventory) + shown_by(inventory)
    told += [str(load_settings(None, place.settings)), repr(load_settings(None, place.settings))]
    told += [str(one.message) for one in warned]
    stored = [f"{name}: {row}" for name, rows in place.stage.everything().items() for row in rows]
    assert [text for text in told if seen(text)] == []
    assert [text for text in logs if seen(text)] == []
    assert [text for text in stored if seen(text)] == []
    assert logs
    assert [row for row in stored if "***" in row]


def test_nothing_shows_a_password_when_all_fails(place, logs):
    """
    API: not in an error, its causes and contexts, nor in a log, when the server is away or refuses the login.
    """
    told = [failure(broken) for broken in _broken(place)]
    assert [text for text in told if seen(text)] == []
    assert [text for text in logs if seen(text)] == []


def test_nothing_shows_a_password_that_stands_where_none_belongs(place):
    """
    API: an error of a driver that quotes what it choked on is told masked, and does not hang on ours.
    """
    conn = place.settings["INVENTORY_CONN"]
    if place.form in ("from a function", "as a JDBC property", ""):  # nobody knows it yet; or we read all parameters
        return
    assert not seen(failure({**place.settings, "INVENTORY_CONN": f"{conn}&connect_timeout={_q(SECRET)}"}))


def failure(broken: dict[str, Any]) -> str:
    """
    What is told by an inventory that cannot be opened.
    """
    with (
        pytest.raises(bi.BatchintoryError) as caught,
        bi.open_inventory(settings={**broken, "DEBUG": True}) as inventory,
    ):
        inventory.backend.prepare = inventory.backend._prepared  # without the patience of half a minute
        inventory.status()
    return told_by(caught.value)


def _broken(place: Place) -> Iterator[dict[str, Any]]:
    if place.kind == "sqlite":
        yield {"INVENTORY_CONN": f"sqlite:////nowhere/at/all.db?password={_q(SECRET)}"}
        yield {"INVENTORY_CONN": f"sqlite:////nowhere/at/all.db?timeout=1&sslpassword={_q(SECRET)}"}
        return
    conn = place.settings["INVENTORY_CONN"]
    if not place.opens:
        yield place.settings
        return
    yield {**place.settings, "INVENTORY_CONN": conn.replace(place.user, "nobody_here")}
    yield {**place.settings, "INVENTORY_CONN": conn.replace(sa.make_url(place.stage.url).database or "", "no_database")}
    yield {**place.settings, "INVENTORY_CONN": conn.replace("/bi-", "/nowhere-").replace("%2Fbi-", "%2Fnowhere-")}


def test_settings_that_are_refused_do_not_show_what_was_given(place):
    """
    API: a connection that cannot be read, and a setting that does not fit, are refused without being quoted.
    """
    told = []
    for wrong in (
        SECRET,
        f"oracle://ann:{SECRET}@db/prod",
        f"postgresql://ann:{SECRET}@db:5432:7/prod",
        f"jdbc:postgresql://db/prod?user=ann&password={SECRET}",
        f"jdbc:oracle:thin:ann/{SECRET}@db",
        f"delta:s3://key:{SECRET}@bucket/path",
    ):
        for setting in ("INVENTORY_CONN", "META_CONN", "LEASE", "ISOLATION_LEVEL", "DEBUG"):
            with pytest.raises(bi.ConfigurationError) as caught, bi.open_inventory(settings={setting: wrong}):
                pass
            told.append(told_by(caught.value))
    assert [text for text in told if seen(text)] == []


def test_the_command_line_shows_none(place, monkeypatch, capsys, tmp_path):
    """
    API: neither output of any verb, be it done, refused, or without a server.
    """
    if place.form not in ("", "in its place", "as a setting") or "INVENTORY_TOKEN" in place.settings:
        return
    for name in [name for name in os.environ if name.startswith(("SPARK_BATCHINTORY_", "PYBATCHINTORY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARK_BATCHINTORY_DEBUG", "true")
    with bi.open_inventory(settings=place.settings) as inventory:
        worked(inventory)
    told = [said(place.settings, monkeypatch, *verb) for verb in [*VERBS, ["batches", "daily", "--json"]]]
    monkeypatch.setattr("spark_batchintory.backends.sql_inventory.persistently", lambda operation: operation())
    told += [said(broken, monkeypatch, "status") for broken in _broken(place)]
    captured = capsys.readouterr()
    assert [text for text in [*told, captured.out, captured.err] if seen(text)] == []


def said(settings: dict[str, Any], monkeypatch: Any, *arguments: str) -> str:
    """
    Everything a verb prints, and what it ended with.
    """
    for name, value in settings.items():
        monkeypatch.setenv(f"SPARK_BATCHINTORY_{name}", value)
    result = CliRunner().invoke(cli.app, list(arguments))
    return f"{result.stdout}\n{result.stderr}\n{result.exception and told_by(result.exception)}"


def test_a_process_of_its_own_shows_none(tmp_path):
    """
    API: the command as it is run, with a dotenv file that holds the password and a server that is not there.
    """
    (tmp_path / "env").write_text(
        f"SPARK_BATCHINTORY_INVENTORY_CONN='mysql://ann:{quote(SECRET, safe='')}@nowhere.invalid:1/d?x={_q(SECRET)}'\n"
    )
    script = (
        "from spark_batchintory import retrying; from datetime import timedelta; from spark_batchintory import cli;"
    )
    script += "retrying.persistently.__kwdefaults__['patience'] = timedelta(0); cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--env-file", "env", "status"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(bi.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr
    assert not seen(done.stdout + done.stderr)
