"""
Least privilege: the grants of docs/rights.md, run as they stand there.

Each role does all that is its own, nothing above that, and none of its privileges is there for nothing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import spark_batchintory as bi
from spark_batchintory import ConfigurationError, reporting
from spark_batchintory.testing.servers import drop_database, fresh_database

from .stage import MINUTE, Stage

PAGE = Path(__file__).parents[1] / "docs" / "rights.md"
TITLES = {"postgresql": "PostgreSQL", "mariadb": "MariaDB, MySQL"}
ROLES = ["owner", "reader", "worker", "operator"]
COLS = {"uid": "uid", "item": "item", "weight": "weight"}
HOUR = timedelta(hours=1)


def blocks(kind: str) -> list[list[str]]:
    """
    The statements of the page for one kind of database, block by block: owner, roles, login.
    """
    section = PAGE.read_text("utf-8").split(f"## {TITLES[kind]}\n")[1].split("\n## ")[0]
    found = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    return [[" ".join(one.split()) for one in block.split(";") if one.strip()] for block in found]


@dataclass(frozen=True)
class Privilege:
    """
    One privilege on one thing (or membership, where there is no thing), and whose it is.
    """

    what: str
    on: str
    role: str

    def said(self, verb: str, preposition: str) -> str:
        return f"{verb} {self.what}{self.on and ' ON '}{self.on} {preposition} {self.role}"


def privileges(statement: str) -> list[Privilege]:
    """
    A GRANT of the page, taken apart.
    """
    match = re.fullmatch(r"GRANT (.+?)(?: ON (SCHEMA |SEQUENCE )?(.+?))? TO (\S+)", statement)
    if match is None:
        return []
    what, kind, things, role = match.groups()
    places = [f"{kind or ''}{thing.strip()}" for thing in things.split(",")] if things else [""]
    return [Privilege(one.strip(), place, role) for one in what.split(",") for place in places]


class House:
    """
    A server's database with an inventory in `book`, a meta table in `landing`, and the roles of the page.
    """

    def __init__(self, url: str, tag: str) -> None:
        self.root, self.kind = Stage(url), sa.make_url(url).get_backend_name()
        self.book = "book" if self.kind == "postgresql" else sa.make_url(url).database or ""
        self.landing = "landing" if self.kind == "postgresql" else f"{self.book}_landing"
        self.files = f"{self.landing}.files"
        self._tag = tag
        self.owner, self.roles, self.login = ([self._named(one) for one in block] for block in blocks(kind=self.kind))

    def _named(self, statement: str) -> str:
        statement = re.sub(r"\bbatchintory_(\w+)", rf"bi_{self._tag}_\1", statement)
        return re.sub(r"\bbook\b", self.book, re.sub(r"\blanding\b", self.landing, statement))

    def do(self, statements: list[str]) -> None:
        for statement in statements:
            self.root.execute(statement.replace(":", r"\:"))

    def user(self, role: str) -> str:
        """
        A login with this role.
        """
        named = f"ann_{self._tag}_{role}"
        self.do([re.sub(r"\bann\b", named, one).replace("_worker", f"_{role}") for one in self.login])
        return named

    def url(self, role: str) -> str:
        url = sa.make_url(self.root.url).set(username=f"ann_{self._tag}_{role}", password="a password of hers")
        return url.render_as_string(hide_password=False)

    @contextmanager
    def acting(self, role: str | None) -> Iterator[Any]:
        """
        An inventory opened by somebody of this role; by the superuser if it is None.
        """
        url = None if role is None else self.url(role)
        with self.root.open(url=url, INVENTORY_CONN_SCHEMA=self.book) as inventory:
            yield inventory

    def close(self) -> None:
        self.root.__exit__()
        for role in ROLES:
            for name in (f"ann_{self._tag}_{role}", f"bi_{self._tag}_{role}"):
                with suppress(sa.exc.DBAPIError):
                    if self.kind == "postgresql":
                        self.do([f"DROP OWNED BY {name}", f"DROP ROLE {name}"])
                    else:
                        self.do([f"DROP {'USER' if name.startswith('ann') else 'ROLE'} {name}"])


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    """
    Tables made by the owner, and somebody for each role.
    """
    server = {"postgresql": "postgres_url", "mariadb": "mariadb_url"}[request.param]
    url = fresh_database(request.getfixturevalue(server))
    house = House(url, uuid.uuid4().hex[:6])
    if house.kind == "postgresql":
        house.do(["CREATE SCHEMA book", "CREATE SCHEMA landing"])
    else:
        house.do([f"CREATE DATABASE {house.landing}"])
    house.root.files([1, 2, 3, 4, 5, 7, 8, 9, 10], name=house.files)
    house.do(house.owner)
    house.user("owner")
    with house.acting("owner") as inventory:
        assert len(inventory.status()) == 0
    house.do(house.roles)
    for role in ROLES[1:]:
        house.user(role)
    yield house
    if house.kind != "postgresql":
        house.do([f"DROP DATABASE {house.landing}"])
    house.close()
    drop_database(url)


def job_name() -> str:
    return f"job {uuid.uuid4().hex[:8]}"


def begun(house: House) -> str:
    """
    A job with something of everything: two batches that are published, one that failed, one that is running, a gap.
    """
    job = job_name()
    with house.acting(None) as inventory:
        for limits in ({"batch_id_max": 2}, {"batch_id_max": 4}):
            claimed(inventory, house, job, **limits).succeeded()
        claimed(inventory, house, job, batch_id_max=5).failed("boom")
        claimed(inventory, house, job, batch_id_max=8)
    return job


def claimed(inventory: Any, house: House, job: str, **arguments: Any) -> Any:
    """
    The next batch of a job.
    """
    return inventory.acquire_batch(job, house.files, COLS, **{"heartbeat": False, **arguments})


def reads(inventory: Any, house: House, job: str) -> None:
    """
    All that a reader does.
    """
    assert inventory.plan(job, house.files, COLS)
    batches = inventory.batches(job)
    assert len(batches) == 4
    assert [row.frontier for row in inventory.status(job)] == [8]
    assert [row.outcome for row in inventory.attempts(batches[0].id)] == ["succeeded"]
    assert [row.batch_id for row in inventory.trace("/landing/1.json") if row.job == job] == [batches[0].id]
    assert inventory.trace(uid=1)
    assert [gap.uid_from for gap in inventory.gaps(job)] == [6]
    assert inventory.coverage(job)
    assert reporting.facts(inventory.backend, inventory.meta, job).jobs[0].slowest
    assert len(inventory.plan(job_name(), meta_table=bi.upstream(job), batch_count=1)) == 2
    assert inventory.read_batch(batches[0].id).uids == [1, 2]
    assert len(inventory.published_paths(job, "/lake")) == 2
    assert inventory.audit(job, dry_run=True).clean
    with inventory.backend.database.reading("asking who did what") as transaction:
        transaction.cursor.execute(f"SELECT act, actor, reason FROM {house.book}.inventory_act")


def works(inventory: Any, house: House, job: str) -> None:
    """
    All that a worker does: claim, beat, end, rescue, follow another job, and look after what comes late.
    """
    new, table, clock = job_name(), f"{house.landing}.late", house.root.clock

    def claim(count: int | None = 2, **how: Any) -> Any:
        return inventory.acquire_batch(new, table, COLS, heartbeat=False, batch_count=count, retry_delay=0, **how)

    house.root.execute(f"DELETE FROM {table}")
    house.root.add(1, 2, 4, 5, 8, name=table)
    first, second = claim(), claim()
    assert inventory.backend.beat(first.id, first.token, MINUTE)
    first.succeeded({"path": "/lake/1"})
    second.failed("boom")
    claim().give_back()
    lost = claim()
    clock.advance(HOUR / 4)
    rescued = claim()
    assert (lost.id, rescued.id, rescued.attempt) == (second.id, second.id, 4)
    rescued.succeeded()
    house.root.add(3, name=table)
    with closing(house.root.session().say("SELECT 1")) as writer:  # somebody of another role, and long past the gaps
        writer.rollback()
        while (batch := claim(None)) is not None:
            batch.succeeded()
            clock.advance(MINUTE)
        for _ in range(3):
            clock.advance(MINUTE)
            assert claim() is None
    assert [(gap.uid_from, gap.closed_as) for gap in inventory.gaps(new)] == [(3, "filled"), (6, "dead")]
    assert inventory.acquire_batch(job_name(), meta_table=bi.upstream(new), heartbeat=False).count == 4
    reads(inventory, house, job)


def operates(inventory: Any, house: House, job: str) -> None:
    """
    All that an operator does.
    """
    reads(inventory, house, job)
    for verb in OPERATORS.values():
        verb(inventory, house, job)
    audits_something_late(inventory, house, job)
    done = inventory.mark_done(job_name(), 1, 10, meta_table_name=house.files)
    assert [row.kind.value for row in done] == ["done"]


OPERATORS: dict[str, Callable[[Any, House, str], Any]] = {
    "pause": lambda inventory, house, job: inventory.pause(job, reason="a test"),
    "resume": lambda inventory, house, job: inventory.resume(job),
    "retry": lambda inventory, house, job: inventory.retry(job),
    "redo": lambda inventory, house, job: inventory.redo(job, 1, 2),
    "cancel": lambda inventory, house, job: inventory.cancel(inventory.batches(job, "running")[0].id),
    "mark_done": lambda inventory, house, job: inventory.mark_done(job, 5, 5),
}
VERBS = {"reader": reads, "worker": works, "operator": operates}


@pytest.fixture(scope="module")
def late_table(house: House) -> None:
    """
    A table whose rows come late, which a worker may read as it may the other.
    """
    house.root.files(name=f"{house.landing}.late")
    house.do([one.replace(".files", ".late") for one in house.roles if ".files" in one])


@pytest.mark.parametrize("role", list(VERBS))
@pytest.mark.usefixtures("late_table")
def test_each_role_does_all_that_is_its_own(house, role):
    """
    API: with exactly the grants of the page every verb of a role works.
    """
    job = begun(house)
    with house.acting(role) as inventory:
        VERBS[role](inventory, house, job)


@pytest.mark.parametrize(
    ("role", "verb"),
    [
        *(("reader", verb) for verb in ["acquire", "new job", "audit", *OPERATORS]),
        *(("worker", verb) for verb in OPERATORS),
    ],
)
def test_nobody_does_what_is_above_its_station(house, role, verb):
    """
    API: a verb that a role has no right to is a `ConfigurationError` that says so, and nothing is written.
    """
    job = begun(house)
    if verb == "resume":
        with house.acting(None) as inventory:
            inventory.pause(job)
    verbs = {
        **OPERATORS,
        "acquire": lambda inventory, house, job: claimed(inventory, house, job),
        "new job": lambda inventory, house, job: claimed(inventory, house, job_name()),
        "audit": audits_something_late,
    }
    before = rows(house)
    with house.acting(role) as inventory, pytest.raises(ConfigurationError, match=r"denied.*the role of this"):
        verbs[verb](inventory, house, job)
    assert rows(house) == before


def audits_something_late(inventory: Any, house: House, job: str) -> None:
    """
    An audit that has something to queue.
    """
    house.root.add(-5, name=house.files)
    try:
        inventory.audit(job)
    finally:
        house.root.execute(f"DELETE FROM {house.files} WHERE uid = -5")


def test_an_operator_does_not_publish(house):
    """
    API: that a batch succeeded is said by workers; the operator's claim is not meant, and its success is refused.
    """
    job = begun(house)
    with house.acting("operator") as inventory:
        batch = claimed(inventory, house, job)
        before = rows(house)
        with pytest.raises(ConfigurationError, match=r"denied.*the role of this"):
            batch.succeeded()
    assert rows(house) == before
    assert batch.status == "running"


def rows(house: House) -> dict[str, list[str]]:
    """
    Everything in the inventory and the meta table.
    """
    names = [f"{house.book}.inventory{part}" for part in ("", *PARTS)]
    return {name: sorted(map(repr, house.root.rows(f"SELECT * FROM {name}"))) for name in [*names, house.files]}


PARTS = ("_about", "_job", "_attempt", "_publication", "_gap", "_act")


@pytest.mark.parametrize("role", list(VERBS))
@pytest.mark.usefixtures("late_table")
def test_no_privilege_is_there_for_nothing(house, role):
    """
    API: least privilege: without any one of its grants a role cannot do all that is its own.
    """
    listed = [one for statement in house.roles for one in privileges(statement) if one.role.endswith(f"_{role}")]
    single = [one for one in listed if not one.what.startswith("bi_")]
    assert len(single) >= 7
    needless = [one for one in single if missed(house, role, one) is None]
    assert needless == []


def missed(house: House, role: str, privilege: Privilege) -> Exception | None:
    """
    What comes of it when somebody of this role is without one privilege.
    """
    job = begun(house)
    house.do([privilege.said("REVOKE", "FROM")])
    try:
        with house.acting(role) as inventory:
            VERBS[role](inventory, house, job)
        return None
    except ConfigurationError as error:
        return error
    except AssertionError as error:  # what cannot be told of writers is no error: a gap stays open
        return error if privilege.what == "pg_read_all_stats" else pytest.fail(f"{privilege}: {error}")
    finally:
        house.do([privilege.said("GRANT", "TO")])


@pytest.mark.parametrize("role", ROLES[1:])
def test_doctor_tells_what_a_role_may_do(house: House, role: str) -> None:
    """
    API, `doctor`: whoever asks is told what his login may do, without doing it, and what is missing for the rest.
    """
    begun(house)
    with house.acting(role) as inventory:
        told = [row for row in inventory.doctor() if row.check == "rights"]

    may = {"reader": (), "worker": ("claim and finish",), "operator": ("steer",)}[role]
    said = " ".join(row.message for row in told if row.finding == "ok")
    assert [word in said for word in ("claim and finish", "steer")] == [
        word in may for word in ("claim and finish", "steer")
    ]
    assert {row.finding for row in told} <= {"ok", "hint"}
    missing = " ".join(row.cure or "" for row in told)
    assert f"GRANT INSERT ON {house.book}.inventory_publication TO …" in missing or role == "worker"
