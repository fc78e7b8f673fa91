"""
What to think of an inventory's set-up: the rules behind `doctor`. Pure: from facts to findings, each with its cure.

A *problem* keeps a promise from holding, or a job from going on, and somebody has to do something. A *hint* is worth
knowing, and all goes on without anybody doing anything. What is *ok* is told as well: it says what was looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .answers import Answer, Column, printable
from .answers import columns as columns_of
from .durations import told
from .facts import MetaFacts, Setting, StoreFacts

OK, HINT, PROBLEM = "ok", "hint", "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """
    One thing that was looked at.

    Attributes
    ----------
    check
        What kind of thing: settings, tables, rights, indexes, clocks, isolation, meta table, filter, leases, …
    place
        Which one.
    finding
        ``ok``, ``hint`` or ``problem``.
    cure
        What to do, in words and, where there is one, as statement or command; None where nothing is to be done.
    """

    check: str
    place: str
    finding: str
    message: str
    cure: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Checkup(Answer[Check]):
    """
    What `doctor` found, problems first.
    """

    is_prose = True

    @property
    def healthy(self) -> bool:
        """
        Whether there is no problem; hints are none.
        """
        return all(row.finding != PROBLEM for row in self.rows)

    def table(self) -> str:
        """
        A line per finding, its cure below it: what is told is too long for the cells of a table.
        """
        return "\n".join(line for row in self.rows for line in _lines(row))


_COLUMNS: tuple[Column, ...] = columns_of("check STRING, place STRING, finding STRING, message STRING, cure STRING")
_ORDER = (PROBLEM, HINT, OK)


def _lines(row: Check) -> Iterator[str]:
    yield printable(f"{row.finding:8} {row.check}, {row.place}: {row.message}")
    if row.cure is not None:
        yield printable(f"{'':8} → {row.cure}")


def checkup(checks: Iterable[Check]) -> Checkup:
    """
    The answer of `doctor`.
    """
    rows = sorted(checks, key=lambda row: _ORDER.index(row.finding))
    found = {finding: sum(row.finding == finding for row in rows) for finding in _ORDER}
    return Checkup(tuple(rows), _COLUMNS, (f"problems: {found[PROBLEM]}, hints: {found[HINT]}, ok: {found[OK]}",))


def settings_checks(settings: Sequence[Setting]) -> Iterator[Check]:
    """
    What is set, and from where.
    """
    for one in settings:
        if one.is_ancestors:
            cure = f"none is needed: pybatchintory's names are read too; the new one is SPARK_BATCHINTORY_{one.name}"
            yield Check("settings", one.name, HINT, f"{one.value}, from {one.origin}", cure)
        elif one.name == "INVENTORY_CONN" and one.is_default:
            yield Check(
                "settings",
                one.name,
                HINT,
                f"not set: {one.value}, which is another file in every working directory",
                "export SPARK_BATCHINTORY_INVENTORY_CONN=postgresql+psycopg://user@host/database, or another",
            )
        else:
            yield Check("settings", one.name, OK, f"{one.value}, from {one.origin}")


def store_checks(facts: StoreFacts, now: datetime) -> Iterator[Check]:
    """
    The store of batches; `now` is this process's clock, naive UTC, when the facts were told.
    """
    yield from _table_checks(facts)
    if facts.is_foreign or facts.is_ancestors or len(facts.missing) == len(facts.tables):
        return
    yield from _rights_checks(facts)
    for name, statement in facts.indexes.items():
        yield Check("indexes", name, PROBLEM, "is missing: what it is for reads the whole history", f"{statement};")
    if not facts.indexes and facts.rights is not None:
        yield Check("indexes", facts.tables["inventory"], OK, "all are there")
    yield from _clock_checks(facts, now)
    yield from _variable_checks(facts)
    for what, why in facts.untold.items():
        yield Check(what, facts.tables["inventory"], HINT, f"could not be found out: {why}", "look with another login")


def _table_checks(facts: StoreFacts) -> Iterator[Check]:
    name = facts.tables["inventory"]
    if len(facts.missing) == len(facts.tables):
        yield Check(
            "tables",
            name,
            HINT,
            f"there is no inventory yet in this {facts.system}, or this login may not see it",
            "nothing, or spark-batchintory status, as a login that may make tables: the first use makes them",
        )
    elif facts.is_ancestors:
        message = "was written by pybatchintory, and stays as it is until it is taken over"
        cure = "spark-batchintory migrate --dry-run shows what would be done; then without --dry-run"
        yield Check("tables", name, PROBLEM, message, cure)
    elif facts.is_foreign:
        cure = "set INVENTORY_TABLE_NAME (for a Delta table INVENTORY_CONN) to another name; see docs/rights.md"
        yield Check("tables", name, PROBLEM, "exists and is no inventory of this library", cure)
    elif facts.missing:
        gone = ", ".join(facts.missing)
        cure = "restore them from a backup, or grant SELECT on them: docs/rights.md"
        yield Check("tables", name, PROBLEM, f"not there, or not to be seen by this login: {gone}", cure)
    elif facts.version != facts.expected and facts.version is not None:
        yield _version_check(name, facts)
    else:
        yield Check("tables", name, OK, f"version {facts.expected} on {facts.system}")


def _version_check(name: str, facts: StoreFacts) -> Check:
    message = f"tables of version {facts.version}, and this library works with version {facts.expected}"
    if _number(facts.version) < _number(facts.expected):
        cure = "spark-batchintory migrate, or the next acquire, as a login that may change tables, upgrades them"
        return Check("tables", name, HINT, message, cure)
    return Check("tables", name, PROBLEM, message, "upgrade spark-batchintory here")


def _number(version: str | None) -> int:
    return int(version) if version is not None and version.isdecimal() else 0


_READ = ("inventory", "about", "job", "attempt", "publication", "gap", "act")
_NEEDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "worker": {
        "inventory": ("insert", "update"),
        "job": ("insert", "update"),
        "gap": ("insert", "update"),
        "attempt": ("insert",),
        "publication": ("insert",),
    },
    "operator": {
        "inventory": ("insert", "update"),
        "job": ("insert", "update"),
        "gap": ("insert",),
        "attempt": ("insert",),
        "act": ("insert",),
    },
}
"""What of docs/rights.md each role needs, besides reading all tables."""


def _rights_checks(facts: StoreFacts) -> Iterator[Check]:
    if facts.rights is None:
        return
    name = facts.tables["inventory"]
    unread = [facts.tables[what] for what in _READ if what in facts.rights and "select" not in facts.rights[what]]
    if unread:
        cure = "; ".join(f"GRANT SELECT ON {table} TO …" for table in unread)
        yield Check("rights", name, PROBLEM, f"this login may not read {', '.join(unread)}", cure)
    lacking = {role: list(_lacking(facts, needs)) for role, needs in _NEEDS.items()}
    may = {"worker": "claim and finish batches", "operator": "steer: retry, cancel, redo, mark_done, pause"}
    able = [may[role] for role, lacks in lacking.items() if not lacks]
    if able:
        yield Check("rights", name, OK, f"this login may {', and '.join(able)}")
    for role, lacks in lacking.items():
        if lacks:
            yield Check(
                "rights",
                name,
                HINT,
                f"this login may not {may[role]}",
                f"if it is to: {'; '.join(lacks)}; docs/rights.md has all statements for the role of a {role}",
            )


def _lacking(facts: StoreFacts, needs: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if facts.system.startswith("SQLite"):
        if any("insert" not in rights for rights in (facts.rights or {}).values()):
            yield "let it write the file and its folder"
        return
    for what, rights in needs.items():
        missing = [right.upper() for right in rights if right not in (facts.rights or {}).get(what, rights)]
        if missing:
            yield f"GRANT {', '.join(missing)} ON {facts.tables[what]} TO …"


_FAR = timedelta(minutes=1)
"""From so far on two clocks that decide nothing together are worth a hint."""


def _clock_checks(facts: StoreFacts, now: datetime) -> Iterator[Check]:
    allowed = facts.allowed_skew
    if facts.now is not None:
        skew = now - facts.now
        is_far = abs(skew) > _FAR
        message = f"the clocks of this machine and of {facts.system.split()[0]} are {told(abs(skew), places=1)} apart"
        cure = "none is needed: leases go by the database's; logs of this machine show other times" if is_far else None
        yield Check("clocks", facts.system, HINT if is_far else OK, message, cure)
    if facts.written_at is not None and allowed is not None:
        behind = facts.written_at - now
        if behind > allowed:
            most = told(allowed, places=1)
            message = f"the clock of this machine is {_apart(-behind)} the last commit, and leases allow {most}"
            yield Check("clocks", facts.system, PROBLEM, message, "set the clock of this machine right (NTP)")
        else:
            yield Check("clocks", facts.system, OK, "the clock of this machine is not behind the last commit")
    if facts.writer_at is not None and facts.written_at is not None and allowed is not None:
        off = facts.writer_at - facts.written_at
        if abs(off) > allowed:
            message = f"the clock of whoever wrote last was {_apart(off)} that of the storage"
            yield Check("clocks", facts.system, HINT, message, "set the clock of that worker right (NTP)")


def _variable_checks(facts: StoreFacts) -> Iterator[Check]:
    for name, wanted in facts.wanted.items():
        yield _wanted_check(facts, name, wanted, facts.variables.get(name))
    said = {name.lower(): value.lower() for name, value in facts.variables.items()}
    for name, values, finding, message, cure in _SAID:
        if said.get(name) in values and (name != "binlog_format" or said.get("log_bin") == "on"):
            yield Check("set-up", facts.system, finding, f"{name} is {said[name]}: {message}", cure)
    if facts.engine is not None and facts.written_by not in (None, facts.engine):
        switch = f"spark-batchintory maintain --engine {facts.engine}"
        cure = f"open it through {facts.written_by}, or, while nobody works, {switch}"
        message = f"the table is written by {facts.written_by}, and this is {facts.engine}, which may only read it"
        yield Check("set-up", "batchintory.engine", PROBLEM, message, cure)


_SAID: Sequence[tuple[str, Sequence[str], str, str, str]] = (
    ("in_recovery", ("on",), HINT, "a standby, which can only be read", "to claim, connect to the primary"),
    (
        "default_transaction_read_only",
        ("on",),
        HINT,
        "nothing can be claimed",
        "ALTER ROLE … RESET default_transaction_read_only",
    ),
    ("read_only", ("on", "1"), HINT, "nothing can be claimed here", "to claim, connect to the primary"),
    (
        "binlog_format",
        ("statement",),
        PROBLEM,
        "with it no transaction at READ COMMITTED can write",
        "SET GLOBAL binlog_format = 'ROW'",
    ),
    (
        "journal_mode",
        ("delete", "truncate", "persist"),
        HINT,
        "no write-ahead log, so that readers and writers wait for each other; a network drive has none",
        "put the file on a local disk, and let the first use make it",
    ),
)
"""What a system may say, when that is worth a word, and which."""

_GRAVE = frozenset({"delta.isolationlevel", "transaction_isolation", "tx_isolation"})
_WHY = {
    "delta.isolationlevel": "under another one two workers can win the same batch",
    "delta.enabledeletionvectors": "with them the guards of turns were not tried",
    "delta.dataskippingstatscolumns": "without it look-ups open more files than they need",
    "delta.logretentionduration": "every commit lists the log since, on a local disk: claims become slower",
    "delta.deletedfileretentionduration": "every commit reads the names of files deleted since: claims become slower",
}


def _wanted_check(facts: StoreFacts, name: str, wanted: str, said: str | None) -> Check:
    topic = "isolation" if name.lower() in _GRAVE else "set-up"
    if said is not None and _plain(said) == _plain(wanted):
        return Check(topic, name, OK, said)
    why = _WHY.get(name.lower(), "claims are made for that level")
    if name.startswith("delta."):
        cure = f"ALTER TABLE {_spark_name(facts.tables['inventory'])} SET TBLPROPERTIES ('{name}' = '{wanted}')"
    else:
        cure = f"let the engine, pooler or role not change it; {wanted} is expected"
    finding = PROBLEM if name.lower() in _GRAVE and said is not None else HINT
    return Check(topic, name, finding, f"{said or 'not set'}, where {wanted} is expected: {why}", cure)


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).lower()


def _spark_name(location: str) -> str:
    return f"delta.`{location}`" if "/" in location else location


def meta_checks(place: str, facts: MetaFacts) -> list[Check]:
    """
    One meta table, which exists and has the columns its jobs ask for.
    """
    found = [Check("meta table", place, OK, f"can be read: {facts.kind}")]
    if facts.uid_index is False:
        message = "no index begins with the uid column: every acquire reads the whole table"
        found.append(Check("indexes", place, PROBLEM, message, f"{facts.make_uid_index};"))
    elif facts.uid_index:
        found.append(Check("indexes", place, OK, "the uid column has an index"))
    if facts.uid_index and facts.uid_is_unique is False:
        message = "nothing keeps uids unique: a uid that occurs twice ends an acquire in an ItemError"
        found.append(Check("indexes", place, HINT, message, "make the uid the primary key, or its index unique"))
    if facts.item_index is False:
        message = "no index begins with the item column: trace of an item reads the whole table"
        found.append(Check("indexes", place, HINT, message, f"{facts.make_item_index};"))
    if facts.obstacle is not None:
        message = f"unfinished writers cannot be seen ({facts.obstacle}): holes are left to the audit after an hour"
        found.append(
            Check("meta table", place, HINT, message, "nothing is lost; docs/late-items.md says what is evidence")
        )
    return found


_RISKY = re.compile(
    r"\b(?:now|random|rand|uuid|gen_random_uuid|getdate|sysdate|curdate|curtime|utc_timestamp|utc_date|clock_timestamp"
    r"|statement_timestamp|transaction_timestamp|unix_timestamp|monotonically_increasing_id|nextval|last_insert_id"
    r"|randomblob|newid|shuffle|timeofday|current_timestamp|current_date|localtimestamp|current_user|session_user)\s*\("
    r"|\b(?:current_timestamp|current_date|current_time|localtimestamp|localtime|sysdate|current_user|session_user)\b"
    r"|'now'",
    re.IGNORECASE,
)
_LITERAL = re.compile(r"'(?!now')(?:[^']|'')*'", re.IGNORECASE)
_SUBQUERY = re.compile(r"\(\s*select\b", re.IGNORECASE)


def filter_checks(place: str, condition: str | None) -> Iterator[Check]:
    """
    The filter of a job, as far as its text says something: whether a column is updated later cannot be seen in it.
    """
    if condition is None:
        return
    bare = _LITERAL.sub("''", condition)
    risky = [found[0].rstrip("( \t") for found in _RISKY.finditer(bare)]
    if risky:
        message = f"the filter asks {', '.join(dict.fromkeys(risky))}: what is in scope depends on when somebody looks"
        cure = "filter on what never changes, under another job name, or with accept_change=True"
        yield Check("filter", place, PROBLEM, message, cure)
    elif _SUBQUERY.search(bare):
        message = "the filter reads another table: what is in scope changes with it"
        yield Check("filter", place, HINT, message, "make sure that rows of that table are never changed or deleted")
    else:
        message = "nothing in its text changes by itself; that its columns are never updated is for you to know"
        yield Check("filter", place, OK, message)


def _apart(skew: timedelta) -> str:
    return f"{told(abs(skew), places=1)} {'ahead of' if skew > timedelta(0) else 'behind'}"
