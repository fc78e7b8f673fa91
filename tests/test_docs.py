"""
The pages against the code: names, columns and transitions that a page states are those there are.

That the examples run, and print what is shown, is the root conftest's affair; here it is words, tables and drawings.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite

import spark_batchintory
from spark_batchintory import MetaTable, auditing, completion, gaps, lifecycle, retrying, tending
from spark_batchintory.backends import delta_rows, delta_turns, sql_sessions
from spark_batchintory.backends.delta_inventory import DeltaInventory
from spark_batchintory.backends.sql_inventory import SqlInventory
from spark_batchintory.backends.sql_schema import Tables, inventory_tables
from spark_batchintory.batch import AttemptRow, BatchRow, Kind, Status
from spark_batchintory.call import checked_call
from spark_batchintory.inventory import JobCounts
from spark_batchintory.lease import BEATS_PER_LEASE
from spark_batchintory.meta import Horizon
from spark_batchintory.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOW = datetime(2024, 6, 1)  # noqa: DTZ001  # naive UTC, as in the inventory
ROW = BatchRow(
    job_id=1,
    meta_table="landing.files",
    job="daily",
    batch_id_start=1,
    batch_id_end=3,
    batch_count=3,
    batch_weight=6,
    status=Status.RUNNING,
    kind=Kind.RANGE,
    uids="r:1-3",
    digest="",
    processing_start=NOW,
    token="first",
)


def _page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def _section(text: str, title: str) -> str:
    """
    What stands under a heading, up to the next one.
    """
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[1]


def _rows(text: str) -> list[list[str]]:
    """
    The cells of the tables in a text, headings left out.
    """
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [
        row for row, below in zip(cells, [*cells[1:], [""]], strict=True) if not _is_rule(row) and not _is_rule(below)
    ]


def _is_rule(row: list[str]) -> bool:
    return set("".join(row)) <= set("-: ") and "-" in "".join(row)


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


class TestStateMachine:
    """
    docs/state-machine.md.
    """

    def test_the_table_is_that_of_the_transitions(self) -> None:
        """
        P3: who reads when an event may happen reads what the code allows.
        """
        said = {
            _names(event)[0]: frozenset(map(Status, _names(statuses)))
            for event, statuses, *_ in _rows(_page("docs/state-machine.md"))
        }

        assert said == lifecycle.TRANSITIONS

    def test_the_drawing_is_that_of_the_transitions(self) -> None:
        """
        P3: every arrow leaves a status in which its event may happen, and none is missing.
        """
        drawn = {event: {origin for origin, _ in arrows} for event, arrows in _arrows().items()}

        assert drawn == {event: set(statuses) for event, statuses in lifecycle.TRANSITIONS.items()}

    def test_the_drawing_knows_every_status(self) -> None:
        """
        P7: a status that an inventory shows is in the drawing.
        """
        drawn = {status for arrows in _arrows().values() for arrow in arrows for status in arrow}

        assert drawn == set(Status)

    @pytest.mark.parametrize("event", sorted(lifecycle.TRANSITIONS))
    def test_arrows_end_where_the_rules_lead(self, event: str) -> None:
        """
        P3: following the rules from each status leads to exactly the ends that are drawn.
        """
        reached = {(status, end) for status in lifecycle.TRANSITIONS[event] for end in _ends(event, status)}

        assert reached == _arrows()[event]

    def test_numbers_of_the_retry_are_those_in_force(self) -> None:
        """
        The formula, the number of attempts and of lost leases on the page are the defaults.
        """
        text = _section(_page("docs/state-machine.md"), "When it is tried again")

        assert timedelta(hours=1) == retrying.DELAY_CEILING
        assert retrying.LOSS_LIMIT == 10
        assert Settings.model_fields["RETRY_DELAY"].default == timedelta(seconds=60)
        assert Settings.model_fields["MAX_ATTEMPTS"].default == ROW.max_attempts == 3
        for words in ("min(1 h", "60 s by default", "3 by default", "the tenth"):
            assert words in text


def _arrows() -> dict[str, set[tuple[Status, Status]]]:
    """
    Event → (from, to) of every arrow between two statuses in the drawing.
    """
    drawing = re.search(r"```mermaid\n(.*?)```", _page("docs/state-machine.md"), re.DOTALL)
    assert drawing
    found: dict[str, set[tuple[Status, Status]]] = defaultdict(set)
    for origin, end, event in re.findall(r"^ *(\w+) --> (\w+) : (\w+)", drawing[1], re.MULTILINE):
        found[event].add((Status(origin), Status(end)))
    return dict(found)


def _ends(event: str, status: Status) -> set[Status]:
    """
    The statuses to which `event` may lead from `status`, with few and with many attempts behind it.
    """
    fresh = replace(ROW, status=status)
    worn = replace(fresh, charged=fresh.max_attempts - 1, losses=retrying.LOSS_LIMIT - 1)
    return {_after(event, row).status for row in (fresh, worn)}


def _after(event: str, row: BatchRow) -> BatchRow:
    rules: Mapping[str, Callable[[BatchRow], BatchRow]] = {
        "claim": _claimed,
        "succeed": lambda row: lifecycle.succeeded(row, now=NOW, number=1, result=None, logging=None),
        "fail": lambda row: lifecycle.failed(row, now=NOW, delay=timedelta(0), result=None, logging=None),
        "give_back": lambda row: lifecycle.given_back(row, now=NOW),
        "cancel": lambda row: lifecycle.cancelled(row, now=NOW),
        "retry": lambda row: lifecycle.made_due(row, now=NOW, more_attempts=1),
        "mark_done": lambda row: lifecycle.marked_done(row, now=NOW),
    }
    return rules[event](row)


def _claimed(row: BatchRow) -> BatchRow:
    dead = lifecycle.lost(row, now=NOW) if row.status is Status.RUNNING else None
    return dead or lifecycle.retaken(
        row, now=NOW, token="second", worker="w", lease=timedelta(minutes=1), job_identifier=None
    )


class TestTables:
    """
    docs/inventory-tables.md.
    """

    tables = inventory_tables("inventory", None, sqlite.dialect())

    def test_every_table_has_its_section(self) -> None:
        """
        P7: who looks into the database finds each table explained.
        """
        titles = re.findall(r"^## (\w+)$", _page("docs/inventory-tables.md"), re.MULTILINE)

        assert sorted(titles) == sorted(self.tables.metadata.tables)

    @pytest.mark.parametrize("part", [field.name for field in fields(Tables) if field.name != "metadata"])
    def test_columns_are_those_of_the_table(self, part: str) -> None:
        """
        P7: every column has its meaning on the page, in the order of the table, and no column is made up.
        """
        table = getattr(self.tables, part)
        said = [_names(row[0])[0] for row in _rows(_section(_page("docs/inventory-tables.md"), table.name))]

        assert said == list(table.columns.keys())

    def test_statuses_kinds_and_outcomes_are_all_named(self) -> None:
        """
        P7: each value that stands in these columns stands on the page.
        """
        page = _page("docs/inventory-tables.md")
        meanings = {_names(row[0])[0]: set(_names(row[1])) for row in _rows(page)}

        outcomes = re.findall(r"\w+", (AttemptRow.__doc__ or "").split("`outcome` is ")[1])

        assert {status.value for status in Status} <= meanings["status"]
        assert {kind.value for kind in Kind} <= meanings["kind"]
        assert set(outcomes) - {"or"} == meanings["outcome"]


class TestDelta:
    """
    docs/delta.md.
    """

    page = "docs/delta.md"

    def test_every_kind_of_record_is_told(self) -> None:
        """
        P7: who looks into the table finds each kind of row explained, and no other.
        """
        told = [
            name for row in _rows(_section(_page(self.page), "What lies in the table"))[:6] for name in _names(row[0])
        ]

        assert sorted(told) == sorted(
            [*delta_rows.BATCHES, *delta_rows.GAPS, delta_rows.JOB, delta_rows.ATTEMPT, delta_rows.ACT]
        )

    def test_the_view_has_the_columns_of_the_other_inventories(self) -> None:
        """
        P7: a query that was written for the SQL table works on the view, whatever it selects.
        """
        left_out = re.search(r"EXCEPT \(([\w, ]+)\)", _page(self.page))
        assert left_out
        columns = [name for name in delta_rows.COLUMNS if name not in left_out[1].split(", ")]

        assert columns == list(TestTables.tables.inventory.columns.keys())

    def test_figures_are_those_in_force(self) -> None:
        """
        P3: who reckons with the lease and with grouped commits of the page reckons with those of the code.
        """
        page = _page(self.page)

        assert DeltaInventory.default_lease == timedelta(hours=1)
        assert f"up to {delta_turns._GROUP} in one commit" in page
        assert f"the first job is {delta_rows.id_of(1, 1)}" in " ".join(page.split())


class TestLateItems:
    """
    docs/late-items.md.
    """

    page = "docs/late-items.md"

    def test_figures_are_those_in_force(self) -> None:
        """
        P1: who reckons with a figure of the page reckons with that of the code.
        """
        rows = {row[0]: row[1:] for row in _rows(_section(_page(self.page), "Figures"))}
        audited = next(cells for name, cells in rows.items() if name.startswith("audited per look"))

        assert rows["open gaps per look"] == [f"{number:,}" for number in (tending._GAPS, tending._IDLE_GAPS)]
        for cell, items in zip(audited, (tending._WINDOW, tending._IDLE_WINDOW), strict=True):
            assert f"{items:,} items or {auditing._TILES} ranges" in cell
        assert (timedelta(seconds=1), 12, 0.01) == (gaps.LOOK_EVERY, gaps.LOOK_CLAIMS, gaps.LOOK_SHARE)
        assert "when 1 s has passed" in rows["looks"][0]
        assert "12 batches" in rows["looks"][0]
        assert "1 %: a look that took t makes the next one wait for 100 t" in rows["at most of the time"][0]

    def test_other_numbers_are_those_in_force(self) -> None:
        """
        P1: so it is with those that stand in a sentence.
        """
        layers, evidence, filtered = (
            " ".join(_section(_page(self.page), title).split())
            for title in ("Three layers", "What counts as evidence", "With a filter")
        )

        assert f"Up to {gaps._APART} holes among {gaps._STRETCH:,} items are a gap each" in layers
        assert (timedelta(hours=1), timedelta(minutes=10)) == (gaps.LEFT_AFTER, tending._LONG)
        assert "looked at for an hour and then closed as `left`" in evidence
        assert "after 10 minutes a warning" in evidence
        assert f"Where it spans {gaps._CHEAP:,} uids or more" in filtered
        assert (tending._DEAR, tending._IDLE_DEAR) == (1, 16)
        assert "at most one such gap per look (16 if idle)" in filtered

    def test_words_for_a_closed_gap_are_all_told(self) -> None:
        """
        P7: what `closed_as` can hold is told on both pages, and nothing else.
        """
        page = _section(_page(self.page), "What counts as evidence")
        told = {_names(row[0])[0] for row in _rows(page) if len(row) == 2}
        meanings = {_names(row[0])[0]: set(_names(row[1])) for row in _rows(_page("docs/inventory-tables.md"))}
        sources = [_page(f"spark_batchintory/{name}.py") for name in ("gap_looking", "publications")]
        found = {word for text in sources for word in re.findall(r'(?:late, |else |verdict=)"(\w+)"|"(left)"', text)}
        words = {word for pair in found for word in pair if word} | {Horizon(None).verdict}

        assert told == words == meanings["closed_as"]


class TestLease:
    """
    docs/lease.md.
    """

    def test_windows_are_those_in_force(self) -> None:
        """
        P3: the specification's figures are those of the code.
        """
        page = _page("docs/lease.md")
        windows = {row[0]: row[1:] for row in _rows(_section(page, "Windows"))}

        assert SqlInventory.default_lease == timedelta(minutes=10)
        assert windows["lease L"][1] == "10 min"
        assert windows["between two beats"] == [f"L / {BEATS_PER_LEASE}", "2 min"]
        assert windows["beats that may fail in a row"][0] == f"{BEATS_PER_LEASE - 1}"
        assert Settings.model_fields["MAX_HOLD"].default == timedelta(hours=24)
        assert windows["the heartbeat ends by itself"][1] == "24 h"
        assert windows["lost leases until a batch is dead"][0] == f"{retrying.LOSS_LIMIT}"
        assert f"{retrying.PATIENCE.total_seconds():.0f} s, then `InventoryUnavailable`" in page
        assert f"PostgreSQL and MariaDB: {sql_sessions.IDLE_LIMIT:.0f} s" in page
        assert f"older by the wait, {sql_sessions.LOCK_WAIT:.0f} s at most" in " ".join(page.split())

    def test_endings_that_are_named_exist(self) -> None:
        """
        API: every call of a batch that the specification names is one.
        """
        named = set(re.findall(r"`(?:batch\.)?(\w+)\(", _page("docs/lease.md")))

        assert {"check", "succeeded", "give_back", "delta_options", "output_path"} <= named
        assert {name for name in named if not hasattr(spark_batchintory.Batch, name)} == set()


class TestBackfill:
    """
    docs/backfill.md; what it says of sinks is run by tests/spark/test_replacing.py.
    """

    def test_what_is_logged_is_logged_so(self) -> None:
        """
        Complete: who waits for a line in the log waits for one that comes.
        """
        page = _page("docs/backfill.md")
        call = checked_call(
            job="convert_3_to_7",
            table=MetaTable("files"),
            job_identifier=None,
            batch_id_min=3,
            batch_id_max=7,
            batch_weight=None,
            batch_count=None,
            oversize="alone",
            lease=timedelta(minutes=10),
            max_attempts=3,
            retry_delay=timedelta(seconds=60),
            accept_change=False,
        )
        done = completion.Standing(JobCounts({Status.SUCCEEDED: 3}), done_items=5)
        left = completion.Standing(JobCounts({Status.SUCCEEDED: 1, Status.RUNNING: 1, Status.FAILED: 1}))

        for standing in (done, left):
            assert f"    {completion.sentence(call, standing, head=7)}\n" in page


class TestReadme:
    """
    README.md, as far as it is no example.
    """

    def test_settings_are_those_there_are(self) -> None:
        """
        Every setting is in the table, or named beside the one it belongs to, and none is made up.
        """
        said = {
            name
            for row in _rows(_section(_page("README.md"), "Settings"))
            for name in re.findall(r"\b[A-Z][A-Z_]{4,}\b", row[0] + row[1])
        }

        assert said - {"COMMITTED", "SERIALIZABLE"} == set(Settings.model_fields)

    def test_arguments_are_those_there_are(self) -> None:
        """
        The table of arguments is the signature of `acquire_batch`.
        """
        said = [name for row in _rows(_section(_page("README.md"), "Acquiring")) for name in _names(row[0])]
        signature = inspect.signature(spark_batchintory.Inventory.acquire_batch)

        assert sorted(said) == sorted(set(signature.parameters) - {"self"})

    def test_verbs_are_those_there_are(self) -> None:
        """
        The command line that the page shows is the command line.
        """
        from typer.main import get_command

        from spark_batchintory.cli import app

        verbs = set(get_command(app).commands)

        assert set(re.findall(r"`spark-batchintory ([\w-]+)", _page("README.md"))) == verbs


class TestTree:
    """
    The tree in README.md, and docs/architecture.md.
    """

    PACKAGE = ROOT / "spark_batchintory"

    def test_the_tree_is_that_of_the_repository(self) -> None:
        """
        A newcomer is told of every folder, and of none that is not there.
        """
        said = {name for row in _rows(_section(_page("README.md"), "The tree")) for name in _names("".join(row))}
        paths = {name for name in said if "/" in name or "." in name or name == "Makefile"}
        folders = {f"{folder.relative_to(ROOT)}/" for folder in [*self._folders(ROOT), *self._folders(self.PACKAGE)]}

        assert [name for name in sorted(paths) if not (ROOT / name).exists()] == []
        assert folders - paths == set()

    def _folders(self, place: Path) -> list[Path]:
        """
        The folders in it that are kept: what git ignores, and what hides, is somebody's own.
        """
        ignored = [line.rstrip("/") for line in _page(".gitignore").splitlines() if line and not line.startswith("#")]
        kept = [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return [path for path in kept if not any(path.match(pattern) for pattern in ignored)]

    def test_where_a_change_goes_names_every_module(self) -> None:
        """
        Whoever looks for the home of a line finds it: no module is left out, and none is made up.
        """
        rows = _rows(_section(_page("docs/architecture.md"), "Where a change goes"))
        said = {name for row in rows for cell in row[1:] for name in _names(cell) if not name.endswith("…")}
        modules = {file.stem for file in self.PACKAGE.glob("*.py")} - {"__init__"} | {"cli"}

        assert modules - said == set()
        assert [name for name in sorted(said - modules) if not self._is_there(name)] == []

    def _is_there(self, name: str) -> bool:
        paths = (name, f"{name}.py", f"backends/{name}.py")
        return name == "acquire_batch" or any((self.PACKAGE / path).exists() for path in paths)


class TestFaults:
    """
    docs/faults.md.
    """

    DATABASES = ("sqlite", "postgres", "maria")

    @pytest.fixture
    def collected(self) -> dict[str, list[str]]:
        """
        All tests there are, with what each is run with.
        """
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240).stdout
        found = defaultdict(list)
        for path, name, run_with in re.findall(r"^(tests/[\w/]+\.py)::(?:\w+::)*(\w+)(.*)$", listed, re.MULTILINE):
            found[f"{path}::{name}"].append(run_with)
        return found

    def test_every_fault_is_shown_on_every_database(self, collected: Mapping[str, list[str]]) -> None:
        """
        P1 to P8: each cell of the matrix names a test, and that one is run on the database of its column.
        """
        missing = []
        rows = [row for row in _rows(_page("docs/faults.md")) if len(row) == 5]
        for row in rows:
            for database, cell in zip(self.DATABASES, row[2:], strict=True):
                named = re.findall(r"`(tests/[^`]+)`", cell)
                if not named and not cell.startswith("not tried"):
                    missing.append((row[0], database))
                missing += [(test, database) for test in named if not self._is_run(collected[test], database)]

        assert len(rows) >= 40
        assert missing == []

    def _is_run(self, runs: list[str], database: str) -> bool:
        elsewhere = any(other in run for run in runs for other in self.DATABASES)
        return any(database in run for run in runs) or (bool(runs) and not elsewhere)


class TestAllPages:
    """
    Whatever page it is.
    """

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
    def test_links_lead_somewhere(self, page: Path) -> None:
        """
        A link within the repository names a file that is there, and a heading that is in it.
        """
        broken = [link for link in _links(page) if not _leads_somewhere(page, link)]

        assert broken == []

    def test_tests_that_are_named_exist(self) -> None:
        """
        P1 to P8: a test that a page refers to is there under that name.
        """
        named = {name for page in PAGES for name in re.findall(r"`([\w/]+\.py)::(\w+)`", page.read_text("utf-8"))}
        missing = [(path, test) for path, test in sorted(named) if f"def {test}(" not in _page(path)]

        assert named
        assert missing == []

    def test_every_promise_is_told(self) -> None:
        """
        All eight promises stand on their page, each with what shows it.
        """
        sections = re.split(r"^## ", _page("docs/promises.md"), flags=re.MULTILINE)[1:]

        assert [section[:2] for section in sections] == [f"P{number}" for number in range(1, 9)]
        assert all("**Holds" in section and "::test_" in section for section in sections)

    def test_files_that_code_refers_to_exist(self) -> None:
        """
        A docstring that sends its reader to a page names one that is there.
        """
        named = {
            name
            for file in (ROOT / "spark_batchintory").rglob("*.py")
            for name in re.findall(r"docs/[\w/.-]+\.md", file.read_text("utf-8"))
        }

        assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []

    @pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.name)
    def test_decisions_are_short_and_complete(self, page: Path) -> None:
        """
        A decision fits a screen or two, and says what it was, why, and at what price.
        """
        text = page.read_text("utf-8")

        assert len(text.splitlines()) < 60
        assert text.startswith(f"# {int(page.name[:4])}. ")
        for part in ("## Context", "## Options", "## Decision", "## Consequences"):
            assert part in text


def _links(page: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")) if "://" not in link]


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page if not name else (page.parent / name).resolve()
    if name.endswith("performance.md"):  # written by `make bench`
        return True
    return target.is_file() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
