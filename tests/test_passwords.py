"""
Passwords that a function returns: how often it is asked, and what happens when one has expired.

The servers are real ones that ask a user of these tests for a password. Lakebase is played by a function that gives the
user a new password, and can take it back, as its tokens expire: a server looks at them when somebody logs in.
"""

from __future__ import annotations

import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import psycopg
import pytest
import sqlalchemy as sa

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, InventoryUnavailable
from spark_batchintory.backends import sql_errors
from spark_batchintory.backends.sql_engine import Database
from spark_batchintory.connections import parse_connection
from spark_batchintory.passwords import KEPT, LoginPasswords

from .stage import Stage, drain, fast_forward

USER = "bi_rotating"


class Lakebase:
    """
    Gives out passwords, the last of which is good, until it expires.
    """

    def __init__(self, stage):
        self.stage = stage
        self.asked = 0
        self.is_broken = False
        self._is_postgresql = stage.kind == "postgresql"
        self._say(f"CREATE ROLE {USER} LOGIN SUPERUSER" if self._is_postgresql else f"CREATE USER {USER}@localhost")
        if not self._is_postgresql:
            self._say(f"GRANT ALL ON *.* TO {USER}@localhost")
        self.expire()
        self.url = sa.make_url(stage.url).set(username=USER).render_as_string(hide_password=False)

    def token(self):
        """
        A fresh password.
        """
        self.asked += 1
        password = f"tóken-{self.asked}-{uuid.uuid4().hex}"
        if not self.is_broken:
            self._set(password, "infinity")
        return password

    def expire(self):
        """
        From now on nobody can log in with what was given out.
        """
        self._set(uuid.uuid4().hex, "2000-01-01")

    def end_connections(self):
        """
        As a server does that goes to sleep, or when they were idle for a day.
        """
        if self._is_postgresql:
            self.stage.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'")
            return
        for line in self.stage.rows(f"SELECT id FROM information_schema.processlist WHERE user = '{USER}'"):
            self.stage.execute(f"KILL {line}")

    def close(self):
        with suppress(sa.exc.DBAPIError):
            if self._is_postgresql:
                self._say(f"DROP OWNED BY {USER} CASCADE")
            self._say(f"DROP ROLE {USER}" if self._is_postgresql else f"DROP USER {USER}@localhost")

    def _set(self, password, until):
        if self._is_postgresql:
            self._say(f"ALTER ROLE {USER} PASSWORD '{password}' VALID UNTIL '{until}'")
        else:
            self._say(f"ALTER USER {USER}@localhost IDENTIFIED BY '{password}'")

    def _say(self, statement):
        self.stage.execute(statement)


@pytest.fixture
def lakebase(server_url):
    """
    Nine files on each server in turn, and a user whose passwords expire.
    """
    with Stage(server_url) as stage:
        stage.files(range(1, 10))
        if stage.kind == "postgresql":
            ask_for_passwords(stage)
        lakebase = Lakebase(stage)
        yield lakebase
        lakebase.close()


def ask_for_passwords(stage):
    """
    Have PostgreSQL ask our user for a password, and nobody else, as before.
    """
    (rules,) = stage.rows("SHOW hba_file")
    stage.execute(f"COPY (VALUES ('local all {USER} scram-sha-256'), ('local all all trust')) TO '{rules}'")
    stage.execute("SELECT pg_reload_conf()")
    url = sa.make_url(stage.url)
    for _ in range(1000):  # it is told by a signal; a rule that holds refuses who is not there
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(host=url.query["host"], dbname=url.database, user=USER, password="x")
        if refused.value.pgconn.used_password:
            return
    pytest.fail("PostgreSQL did not take the new rules")


@pytest.fixture
def inventory(lakebase):
    """
    An inventory whose passwords Lakebase gives out.
    """
    with bi.open_inventory(lakebase.url, settings={"INVENTORY_TOKEN": lakebase.token}) as inventory:
        yield inventory


def log_in_anew(inventory):
    """
    Let the next use make a connection.
    """
    inventory.backend.database.engine.dispose()


class TestAgainstServers:
    def test_an_open_connection_outlives_its_password(self, lakebase, inventory):
        """
        API: a batch that takes longer than a password lives is ended on the connection that is there.
        """
        batch = inventory.acquire_batch("daily", "files", batch_count=3)
        lakebase.expire()
        batch.succeeded()

        assert drain(inventory, "daily", batch_count=3) == [[4, 5, 6], [7, 8, 9]]
        assert lakebase.asked == 1

    def test_a_kept_password_that_has_expired(self, lakebase, inventory, monkeypatch):
        """
        API: whoever logs in with it gets a new one within the same login; nothing is failed, and nothing waited for.
        """
        time = fast_forward(monkeypatch)
        batch = inventory.acquire_batch("daily", "files", batch_count=3)
        lakebase.expire()
        log_in_anew(inventory)
        batch.succeeded()

        assert lakebase.asked == 2
        assert time.slept == []

    def test_several_logins_ask_once(self, lakebase, inventory):
        """
        API: a password that is young serves further logins: who gives them out is not asked for each of ten workers.
        """
        for _ in range(3):
            inventory.acquire_batch("daily", "files", batch_count=3).succeeded()
            log_in_anew(inventory)

        assert lakebase.asked == 1

    def test_an_old_password_is_not_tried(self, lakebase):
        """
        API: after ten minutes the next login asks, whether or not the last password would still do.
        """
        now = [0.0]
        passwords = LoginPasswords(lakebase.token, clock=lambda: now[0])
        database = Database(replace(parse_connection(lakebase.url), token=passwords))
        for seconds in (0.0, KEPT - 1, 1.0, KEPT - 1):
            now[0] += seconds
            with database.reading("looking"):
                pass
            database.close()

        assert lakebase.asked == 2

    def test_connections_that_were_ended(self, lakebase):
        """
        API: a connection of the pool that the server has ended is noticed before it is used, and the kept password does
        for the next one.
        """
        database = Database(replace(parse_connection(lakebase.url), token=LoginPasswords(lakebase.token)))
        for _ in range(2):
            with database.reading("looking") as transaction:
                transaction.cursor.execute("SELECT 1")
            lakebase.end_connections()
        database.close()

        assert lakebase.asked == 1

    def test_connections_that_were_ended_and_a_password_that_has_expired(self, lakebase, inventory, monkeypatch):
        """
        API: a server that slept longer than a password lives; the batch that was held is ended as if nothing had been.
        """
        time = fast_forward(monkeypatch)
        batch = inventory.acquire_batch("daily", "files", batch_count=3)
        lakebase.expire()
        lakebase.end_connections()
        batch.succeeded()

        assert lakebase.asked == 2
        assert time.slept == []

    def test_passwords_that_are_never_good(self, lakebase, inventory, monkeypatch):
        """
        API: an error that names no password, after the patience there is for a server that is away, or at once where
        the driver tells that it is the password.
        """
        fast_forward(monkeypatch)
        lakebase.is_broken = True

        with pytest.raises(bi.BatchintoryError, match=USER) as caught:
            inventory.acquire_batch("daily", "files")
        assert "tóken" not in str(caught.value)

        lakebase.is_broken = False
        inventory.acquire_batch("daily", "files").succeeded()

    def test_workers_that_begin_at_once(self, lakebase, inventory):
        """
        API: eight threads log in, one of them asks.
        """
        assert drain(inventory, "before", batch_count=9) == [list(range(1, 10))]  # the tables are there
        before = lakebase.asked
        inventory.backend.database.connection.token._forget(inventory.backend.database.connection.token.given[-1])
        log_in_anew(inventory)
        start = threading.Barrier(8)

        def work(number):
            start.wait(timeout=60)
            return drain(inventory, f"job {number}", batch_count=9)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [[list(range(1, 10))]] * 8
        assert lakebase.asked == before + 1


def test_a_server_that_is_away_is_no_refusal(tmp_path):
    """
    API: nobody asks for a new password because nobody answers.
    """
    asked = []
    passwords = LoginPasswords(lambda: asked.append(1) or "x")
    place = parse_connection(f"postgresql://ann@/d?host={tmp_path}")
    database = Database(replace(place, token=passwords))
    for _ in range(2):
        with pytest.raises(InventoryUnavailable), database.reading("looking"):
            pass

    assert len(asked) == 1


class TestTheRules:
    @pytest.fixture
    def now(self):
        """
        The seconds on the clock.
        """
        return [100.0]

    @pytest.fixture
    def passwords(self, now):
        """
        Passwords by number.
        """
        numbers = iter(range(1, 100))
        return LoginPasswords(lambda: f"word-{next(numbers)}", clock=lambda: now[0])

    def test_how_long_one_is_kept(self, passwords, now):
        """
        API: less than the 15 minutes that the shortest-lived of them have.
        """
        seen = []
        for step in (0.0, KEPT - 0.001, 0.001, KEPT - 0.001, 0.001):
            now[0] += step
            seen.append(passwords.login(str, refused_never))

        assert KEPT < 15 * 60
        assert seen == ["word-1", "word-1", "word-2", "word-2", "word-3"]

    def test_its_age_begins_with_the_question(self, now):
        """
        API: a function that takes long has given out a password that is as old as the question, at most.
        """

        def slow():
            now[0] += KEPT
            return f"word at {now[0]}"

        passwords = LoginPasswords(slow, clock=lambda: now[0])
        first = passwords.login(str, refused_never)

        assert passwords.login(str, refused_never) != first

    def test_a_new_one_is_tried_once(self, passwords):
        """
        API: a new password that is refused is an error, not a loop; and the next login asks again.
        """
        tried = []

        def refuse(password):
            tried.append(password)
            raise OSError("no")

        for _ in range(2):
            with pytest.raises(OSError, match="no"):
                passwords.login(refuse, lambda error: True)

        assert tried == ["word-1", "word-2"]

    def test_another_error_keeps_it(self, passwords):
        """
        API: an error that is not of the password leaves it as it is.
        """
        passwords.login(str, refused_never)
        with pytest.raises(ZeroDivisionError):
            passwords.login(lambda password: 1 // 0, refused_never)

        assert passwords.login(str, refused_never) == "word-1"

    def test_the_one_that_was_refused_is_forgotten_and_no_later_one(self, passwords):
        """
        API: of two threads whose password was refused, the second finds the new one that the first has asked for.
        """
        passwords.login(str, refused_never)
        passwords._forget("word-1")
        assert passwords.login(str, refused_never) == "word-2"
        passwords._forget("word-1")

        assert passwords.login(str, refused_never) == "word-2"

    def test_a_forked_child_does_not_wait_for_ever(self, passwords, monkeypatch):
        """
        API: a child that was forked while a thread was asking has no such thread.
        """
        with passwords._last.lock:
            mother = os.getpid()
            monkeypatch.setattr("spark_batchintory.passwords.os.getpid", lambda: mother + 1)
            assert passwords.login(str, refused_never) == "word-1"

    @pytest.mark.parametrize("answer", [b"hush", ["hush"]])
    def test_what_is_no_password(self, answer):
        """
        API: the whole credential in place of its token is told as such, and not shown.
        """
        with pytest.raises(ConfigurationError, match="META_TOKEN must return a password as text") as caught:
            LoginPasswords(lambda: answer, "META_TOKEN").login(str, refused_never)
        assert "hush" not in str(caught.value)

    def test_who_gives_them_out_is_away(self, passwords):
        """
        API: tried again like a server that is away; what was given before is not in the message.
        """

        def away():
            raise ConnectionError("POST /credentials with word-1: reset by peer")

        passwords.login(str, refused_never)
        broken = replace(passwords, function=away, _last=type(passwords._last)())

        with pytest.raises(InventoryUnavailable, match=r"INVENTORY_TOKEN: no password.*ConnectionError") as caught:
            broken.login(str, refused_never)
        assert "word-1" not in str(caught.value)


def refused_never(error):
    """
    No error is one of the password.
    """
    return False


def test_a_driver_that_does_not_tell():
    """
    API: psycopg2 says nothing of why a connection was not made, so that each may be a password that was not taken.
    """
    kind = type("OperationalError", (Exception,), {"__module__": "psycopg2"})

    assert sql_errors.is_refused_login(kind("connection failed"))
    assert not sql_errors.is_refused_login(psycopg.OperationalError("connection failed"))
    assert not sql_errors.is_refused_login(ValueError("an option"))
