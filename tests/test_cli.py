"""
The command line as a user meets it: verbs, forms of output, exit codes, and what it must not load or show.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import types
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

import spark_batchintory
from spark_batchintory import cli, open_inventory

COLS = {"uid": "id", "item": "path", "weight": "size"}
FILES = {"meta_table_name": "files", "meta_table_cols": COLS}
LONG_NAME = "/landing/" + "a" * 200 + ".json"


@pytest.fixture
def url(tmp_path, monkeypatch):
    """
    A SQLite inventory that the settings name, with ten files in its meta table.
    """
    for name in [name for name in os.environ if name.startswith(("SPARK_BATCHINTORY_", "PYBATCHINTORY_"))]:
        monkeypatch.delenv(name)
    database = tmp_path / "inventory.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT, size INTEGER)")
        files = [(uid, f"/landing/{uid}.json", 10 * uid) for uid in range(1, 10)]
        connection.executemany("INSERT INTO files VALUES (?, ?, ?)", [*files, (10, LONG_NAME, 100)])
    monkeypatch.setenv("SPARK_BATCHINTORY_INVENTORY_CONN", f"sqlite:///{database}")
    return f"sqlite:///{database}"


@pytest.fixture
def begun(url):
    """
    The same after some work: batch 1 succeeded, batch 2 failed, batch 3 is running.
    """
    with open_inventory(url) as inventory:
        inventory.acquire_batch("bronze", batch_count=3, **FILES).succeeded()
        inventory.acquire_batch("bronze", batch_count=3, **FILES).failed("boom")
        inventory.acquire_batch("bronze", batch_count=3, heartbeat=False, **FILES)
    return url


def run(*arguments):
    return CliRunner().invoke(cli.app, list(arguments), prog_name="spark-batchintory")


def rows(*arguments):
    """
    The rows of a call that must succeed, read from its one JSON document.
    """
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def shell(*arguments, script="from spark_batchintory.cli import main; main()", **settings):
    """
    The command in a process of its own, with pipes, and with warnings as errors.
    """
    path = os.pathsep.join([str(Path(spark_batchintory.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path, **settings},
    )


class TestVerbs:
    def test_status(self, begun):
        """
        P7: one row per job, with the columns of the API.
        """
        (row,) = rows("status")

        assert (row["job"], row["head"], row["watermark"], row["running"], row["failed"]) == ("bronze", 10, 3, 1, 1)
        (again,) = rows("status", "bronze")
        assert {name for name in row if again[name] != row[name]} <= {"eta", "seconds_left"}

    def test_batches(self, begun):
        """
        P7: all, by status (argument or option), or the newest so many.
        """
        assert [row["id"] for row in rows("batches", "bronze")] == [1, 2, 3]
        assert [row["id"] for row in rows("batches", "bronze", "failed")] == [2]
        assert [row["id"] for row in rows("batches", "bronze", "--status", "failed")] == [2]
        assert [row["id"] for row in rows("batches", "bronze", "--limit", "2")] == [2, 3]

    def test_attempts(self, begun):
        """
        P7: the attempts of a batch.
        """
        assert [(row["attempt"], row["outcome"]) for row in rows("attempts", "2")] == [(1, "failed")]
        assert [(row["attempt"], row["outcome"]) for row in rows("attempts", "3")] == [(1, "running")]

    def test_trace(self, begun):
        """
        P7: by location or by uid.
        """
        assert [(row["batch_id"], row["status"]) for row in rows("trace", "/landing/5.json")] == [(2, "failed")]
        assert rows("trace", "--uid", "5") == rows("trace", "/landing/5.json")

    def test_plan_of_a_new_job(self, url):
        """
        Behaviour: the arguments of acquiring as options; nothing is written.
        """
        options = ("--meta-table-name", "files", "--meta-table-cols", "uid=id,item=path,weight=size")
        bounds = ("--batch-id-min", "2", "--batch-id-max", "9", "--meta-filter", "id <> 4")

        planned = rows("plan", "silver", *options, *bounds, "--batch-weight", "110.5", "--batches", "2")

        assert [(row["batch_id_start"], row["batch_id_end"], row["batch_weight"]) for row in planned] == [
            (2, 5, 100),
            (6, 6, 60),
        ]
        as_json = ("--meta-table-name", "files", "--meta-table-cols", json.dumps(COLS))
        assert [row["batch_count"] for row in rows("plan", "silver", *as_json, "--batch-count", "4")] == [4, 4, 2]
        assert run("status").exit_code == 3

    def test_plan_of_a_job_that_has_begun_knows_its_table(self, begun):
        """
        Behaviour: what is left out is as the job works with it.
        """
        assert [row["batch_id_start"] for row in rows("plan", "bronze")] == [10]

    def test_retry(self, begun):
        """
        Behaviour: failed batches by default; a dry run first, then for real, then nothing is left to do.
        """
        assert [row["id"] for row in rows("retry", "bronze", "--dry-run")] == [2]
        assert [row["id"] for row in rows("retry", "bronze", "--reason", "disk was full")] == [2]
        assert run("retry", "bronze").exit_code == 3
        assert run("retry", "bronze", "dead").exit_code == 3
        assert run("retry", "bronze", "--status", "dead").exit_code == 3

    def test_cancel(self, begun):
        """
        Behaviour: a batch is set aside, and an operator's reason is kept.
        """
        assert [row["status"] for row in rows("cancel", "3", "--reason", "wrong schema")] == ["cancelled"]
        assert [row["error"] for row in rows("attempts", "3")] == ["wrong schema"]
        assert run("cancel", "3").exit_code == 3

    def test_redo(self, begun):
        """
        Behaviour: a dry run first, then for real; then nothing is left to be done, and what is left is named.
        """
        assert [row["replaces"] for row in rows("redo", "bronze", "1", "3", "--dry-run")] == [[1]]
        (row,) = rows("redo", "bronze", "1", "3", "--reason", "wrong schema", "--meta-table-name", "files")
        assert (row["id"], row["kind"], row["status"], row["replaces"]) == (4, "redo", "queued", [1])
        result = run("redo", "bronze", "1", "9")
        assert (result.exit_code, result.stdout) == (3, "")
        assert "batch 4 (queued)" in result.stderr
        assert "2 (failed), 3 (running)" in result.stderr

    def test_mark_done(self, begun):
        """
        Behaviour: open batches and what is unclaimed are closed; the verb is also known as Python spells it.
        """
        assert [row["id"] for row in rows("mark-done", "bronze", "1", "10", "--dry-run")] == [2, 3, 0]
        assert [row["id"] for row in rows("mark_done", "bronze", "1", "6")] == [2]
        assert [row["id"] for row in rows("mark-done", "bronze", "1", "10", "--reason", "by hand")] == [3, 4]
        assert [row["error"] for row in rows("attempts", "3")] == ["by hand"]
        assert run("mark-done", "bronze", "1", "10").exit_code == 3

    def test_mark_done_of_a_job_that_never_ran(self, url):
        """
        API: "done up to uid N" is also how one comes from another system.
        """
        table = ("--meta-table-name", "files", "--meta-table-cols", "uid=id,item=path,weight=size")

        (row,) = rows("mark-done", "silver", "0", "8", *table, "--meta-filter", "id <> 4")

        assert (row["kind"], row["uids"]) == ("done", "r:1-3,5-8")
        assert [row["batch_id_start"] for row in rows("plan", "silver")] == [9]

    def test_pause_and_resume(self, begun):
        """
        Behaviour: the job's status is shown; a repeated call has nothing to do.
        """
        (row,) = rows("pause", "bronze", "--reason", "disk full")
        assert (row["job"], row["paused"], row["running"]) == ("bronze", True, 1)
        assert run("pause", "bronze").exit_code == 3
        assert [row["paused"] for row in rows("resume", "bronze")] == [False]
        assert run("resume", "bronze", "--meta-table-name", "files").exit_code == 3

    @pytest.mark.parametrize("verb", ["redo", "mark-done"])
    def test_negative_uids(self, url, verb):
        """
        API: -5 is a uid, wherever it stands and whatever options are around it; a typing error is still none.
        """
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("INSERT INTO files VALUES (-12, '/a', 1), (-5, '/b', 1)")
        with open_inventory(url) as inventory:
            for _ in range(2):
                batch = inventory.acquire_batch("bronze", batch_count=1, **FILES)
                batch.succeeded() if verb == "redo" else batch.failed("boom")

        assert [row["batch_id_start"] for row in rows(verb, "bronze", "-12", "-6", "--dry-run")] == [-12]
        assert [row["batch_id_start"] for row in rows(verb, "--dry-run", "bronze", "-5", "0")] == [-5]
        assert run(verb, "bronze", "-5", "0", "--dryrun").exit_code == 2
        assert run(verb, "bronze", "--dryrun", "0").exit_code == 2
        assert run(verb, "bronze", "-5", "-12").exit_code == 1

    def test_audit(self, begun):
        """
        API: findings are rows and exit code 1; without any it is 0.
        """
        clean = run("audit", "bronze")
        assert (clean.exit_code, clean.stdout) == (0, "")
        with closing(sqlite3.connect(begun.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("DELETE FROM files WHERE id = 2")
            connection.execute("INSERT INTO files VALUES (0, '/late', 1)")

        result = run("audit", "bronze", "--dry-run", "--json")

        assert result.exit_code == 1
        assert [(row["kind"], row["uid_start"]) for row in json.loads(result.stdout)] == [("late", 0), ("missing", 2)]

    def test_gaps(self, url):
        """
        P7: the holes that claims went past.
        """
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("DELETE FROM files WHERE id = 4")
        with open_inventory(url) as inventory:
            inventory.acquire_batch("bronze", batch_count=5, heartbeat=False, **FILES)

        assert [(row["uid_from"], row["uid_to"]) for row in rows("gaps", "bronze")] == [(4, 4)]
        assert run("gaps", "nope").exit_code == 3

    def test_coverage(self, begun):
        """
        P7: a strip with its key above the segments; with --json the segments alone.
        """
        result = run("coverage", "bronze")

        assert result.stdout.splitlines()[0] == "\u2588\u2588\u2588FFF\u2592\u2592\u2592\u00b7"
        assert result.stdout.splitlines()[3].split() == ["state", "uid_start", "uid_end", "items"]
        assert [(row["state"], row["uid_end"], row["items"]) for row in rows("coverage", "bronze")] == [
            ("done", 3, 3),
            ("failed", 6, 3),
            ("running", 9, 3),
            ("untouched", 10, 1),
        ]
        assert rows("coverage", "bronze", "--meta-table-name", "files") == rows("coverage", "bronze")

    def test_coverage_where_blocks_cannot_be_spelled(self, begun):
        """
        Behaviour: the strip is ASCII where output is, and a note or a name never ends the command.
        """
        result = shell("coverage", "bronze", PYTHONIOENCODING="ascii")

        assert (result.returncode, result.stdout.splitlines()[0]) == (0, "###FFF>>>.")

    def test_coverage_on_a_terminal_is_as_wide_as_that(self, url):
        """
        Behaviour: the strip fills the line, and does not wrap.
        """
        with open_inventory(url) as inventory:
            inventory.acquire_batch("bronze", heartbeat=False, **FILES)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("INSERT INTO files VALUES (500, '/far', 1)")

        assert len(on_terminal("coverage", "bronze", columns=60).splitlines()[0]) == 60

    def test_report(self, begun, tmp_path):
        """
        API: one file, whose name is printed; what cannot be written or found is refused.
        """
        place = tmp_path / "report.html"

        result = run("report", str(place))

        assert (result.exit_code, result.stdout) == (0, f"{place}\n")
        assert "bronze" in place.read_text(encoding="utf-8")
        assert run("report", str(place), "bronze").exit_code == 0

    def test_demo(self, url, monkeypatch):
        """
        Behaviour: the README's demo runs, and its outcome is the exit code.
        """
        stand_in = types.ModuleType("spark_batchintory.demo")
        asked = []
        stand_in.main = lambda keep, delta: asked.append(delta) or (1 if keep == Path("here") else 0)
        monkeypatch.setitem(sys.modules, "spark_batchintory.demo", stand_in)
        monkeypatch.setattr(spark_batchintory, "demo", stand_in, raising=False)

        assert [run("demo").exit_code, run("demo", "--delta", "--keep", "here").exit_code] == [0, 1]
        assert asked == [False, True]


class TestExitCodes:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("cancel", "1"),
            ("cancel", "99"),
            ("retry", "nope"),
            ("redo", "nope", "1", "2"),
            ("redo", "bronze", "2", "1"),
            ("redo", "bronze", "1", "99999999999999999999"),
            ("mark-done", "nope", "1", "2"),
            ("mark-done", "bronze", "11", "12"),
            ("mark-done", "bronze", "1", "12", "--meta-filter", "id > 1"),
            ("pause", "nope"),
            ("resume", "bronze", "--meta-table-name", "others"),
            ("report", "/nowhere/report.html"),
            ("report", "report.html", "nope"),
            ("plan", "new"),
            ("plan", "new", "--meta-table-name", "nope"),
            ("plan", "bronze", "--batch-id-min", "9", "--batch-id-max", "1"),
        ],
    )
    def test_one_for_what_is_refused(self, begun, arguments):
        """
        Behaviour: our errors are told in one line on standard error, without a traceback.
        """
        result = run(*arguments)

        assert result.exit_code == 1
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert "Error: " in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("nope",),
            ("attempts",),
            ("attempts", "x"),
            ("batches", "bronze", "finished"),
            ("batches", "bronze", "failed", "--status", "dead"),
            ("retry", "bronze", "running"),
            ("redo", "bronze", "1"),
            ("redo", "bronze", "one", "2"),
            ("mark-done", "bronze"),
            ("pause",),
            ("report",),
            ("coverage",),
            ("trace",),
            ("trace", "/landing/5.json", "--uid", "5"),
            ("plan", "bronze", "--meta-table-cols", "id"),
            ("plan", "bronze", "--meta-table-cols", "key=id"),
            ("plan", "bronze", "--batch-weight", "much"),
            ("status", "--conn", "sqlite://"),
        ],
    )
    def test_two_for_a_wrong_call(self, begun, arguments):
        """
        Behaviour: also without a verb, and for a connection as an argument, which others could read.
        """
        result = run(*arguments)

        assert (result.exit_code, result.stdout) == (2, "")

    @pytest.mark.parametrize(
        "arguments",
        [
            ("status", "nope"),
            ("batches", "nope"),
            ("batches", "bronze", "dead"),
            ("coverage", "nope"),
            ("attempts", "99"),
            ("redo", "bronze", "11", "12"),
            ("resume", "bronze"),
            ("trace", "/nope"),
            ("trace", "--uid", "10"),
            ("plan", "bronze", "--batch-id-max", "9"),
        ],
    )
    def test_three_for_nothing_found(self, begun, arguments):
        """
        Behaviour: no output but a note; with --json an empty list, which is a document too.
        """
        result = run(*arguments)

        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr
        assert run(*arguments, "--json").stdout == "[]\n"

    def test_of_a_connection_that_is_refused(self, url):
        """
        Behaviour: refused in one line, and the password of the connection is in none.
        """
        result = shell("status", SPARK_BATCHINTORY_INVENTORY_CONN="oracle://ann:hunter2hunter2@db/prod")

        assert (result.returncode, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1
        assert "hunter2" not in result.stderr

    def test_of_an_error_that_is_not_ours(self, url):
        """
        Behaviour: whatever happens is told in one masked line; a traceback could quote anything.
        """
        script = (
            "from spark_batchintory import cli\n"
            "from spark_batchintory.cli import application\n"
            "def broken(): raise RuntimeError('postgresql://ann:hunter2hunter2@db/prod')\n"
            "application.open_inventory = broken\n"
            "cli.main()"
        )

        result = shell("status", script=script)

        assert (result.returncode, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1
        assert "hunter2" not in result.stderr


class TestOutput:
    def test_to_a_pipe_is_plain_and_never_wrapped(self, begun):
        """
        Behaviour: one line per row of any width, without escape codes, whatever the environment says of colours.
        """
        with open_inventory(begun) as inventory:
            inventory.acquire_batch("bronze", heartbeat=False, **FILES)

        result = shell("trace", "--uid", "10", COLUMNS="80", FORCE_COLOR="1", CLICOLOR_FORCE="1")

        header, line = result.stdout.splitlines()
        assert header.split()[:3] == ["job", "batch_id", "attempt"]
        assert LONG_NAME in line
        assert "\x1b" not in result.stdout + result.stderr

    def test_that_cannot_be_spelled_is_escaped(self, url):
        """
        Behaviour: a name outside of the terminal's alphabet does not end the command.
        """
        with open_inventory(url) as inventory:
            inventory.acquire_batch("caf\u00e9 \u2615", heartbeat=False, **FILES)

        result = shell("status", PYTHONIOENCODING="ascii")

        assert (result.returncode, "caf\\xe9" in result.stdout) == (0, True)

    def test_on_a_terminal_is_drawn(self, begun):
        """
        Behaviour: a table on a wide terminal, one record below the other on a narrow one; names are no markup.
        """
        with closing(sqlite3.connect(begun.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("UPDATE files SET path = '[red]5[/red].json' WHERE id = 5")

        wide, narrow = on_terminal("trace", "--uid", "5", columns=200), on_terminal("status", columns=60)

        assert "[red]5[/red].json" in wide
        assert re.search(r"backlog_items\s+7\b", re.sub(r"\x1b\[\d+m", "", narrow))

    def test_reads_settings_from_a_file(self, begun, tmp_path):
        """
        Behaviour: --env-file names a dotenv file with the connection; a file that is missing is refused.
        """
        file = tmp_path / "settings.env"
        file.write_text(f"SPARK_BATCHINTORY_INVENTORY_CONN={begun}\n")
        without = {"SPARK_BATCHINTORY_INVENTORY_CONN": ""}

        found = shell("--env-file", str(file), "status", "--json", script=_WITHOUT_CONN, **without)
        missing = shell("--env-file", str(tmp_path / "nope.env"), "status", script=_WITHOUT_CONN, **without)

        assert [row["job"] for row in json.loads(found.stdout)] == ["bronze"]
        assert (missing.returncode, len(missing.stderr.splitlines())) == (1, 1)

    def test_version(self):
        """
        Behaviour: says which version this is.
        """
        assert run("--version").stdout == f"{spark_batchintory.__version__}\n"


_WITHOUT_CONN = (
    "import os; del os.environ['SPARK_BATCHINTORY_INVENTORY_CONN']\nfrom spark_batchintory.cli import main; main()"
)


def on_terminal(*arguments, columns):
    """
    What the command writes to a pseudo-terminal of this width.
    """
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    script = "from spark_batchintory.cli import main; main()"
    environment["PYTHONPATH"] = str(Path(spark_batchintory.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ):
        os.close(theirs)
        written = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return written.decode()


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way of saying that the other side is closed
        return b""


@pytest.mark.parametrize("library", ["pyspark", "rich", "psycopg", "pymysql", "jinja2"])
def test_starts_without(begun, library):
    """
    Behaviour: no JVM, no driver of another database, and nothing that only a terminal needs.
    """
    script = (
        "import sys\n"
        "from spark_batchintory.cli import app\n"
        "app(['status'], standalone_mode=False)\n"
        "app(['coverage', 'bronze'], standalone_mode=False)\n"
        f"print([name for name in sys.modules if name.split('.')[0] == {library!r}])"
    )

    result = shell(script=script)

    assert result.stdout.splitlines()[-1] == "[]", result.stderr


@pytest.mark.parametrize(
    "words",
    [
        *("status", "maintain", "batches daily", "attempts 1", "trace x", "retry daily", "cancel 1", "pause daily"),
        *("resume daily", "redo daily 1 2", "mark-done daily 1 2", "audit daily", "gaps daily", "plan daily"),
        *("coverage daily", "report report.html"),
    ],
)
def test_every_verb_may_start_spark(words, monkeypatch):
    """
    API: nobody else has a session on the command line; a verb that finds one missing starts it.
    """
    from typer.testing import CliRunner

    from spark_batchintory import cli
    from spark_batchintory.cli import application

    seen = []
    monkeypatch.setattr(application, "open_inventory", lambda **how: seen.append(how) or 1 / 0)
    CliRunner().invoke(cli.app, words.split())
    assert seen == [{"spark": application._session}]


class TestSaying:
    """
    What a call tells besides its rows.
    """

    def test_a_missing_setting_is_told_once(self, url, tmp_path, monkeypatch):
        """
        Behaviour: one line says that the inventory is a file here, not one per place that asks.
        """
        monkeypatch.delenv("SPARK_BATCHINTORY_INVENTORY_CONN")
        monkeypatch.chdir(tmp_path)

        assert shell("status").stderr.count("INVENTORY_CONN is not set") == 1

    @pytest.mark.parametrize("words", ["retry bronze", "redo bronze 1 3", "mark-done bronze 1 99"])
    def test_a_dry_run_is_told_from_a_real_one(self, begun, words):
        """
        P7: the rows are as they would become, so a note says that nothing was done.
        """
        assert "nothing was" in run(*words.split(), "--dry-run").stderr
        assert "nothing was" not in run(*words.split()).stderr

    def test_a_clean_audit_says_so(self, begun):
        """
        Behaviour: exit code 0 and no rows are a finding too, and are told as one.
        """
        result = run("audit", "bronze")

        assert (result.exit_code, result.stdout) == (0, "")
        assert "job 'bronze' is clean" in result.stderr

    def test_a_database_needs_no_maintenance(self, begun):
        """
        API: nothing to do is exit code 3, and told.
        """
        result = run("maintain")

        assert (result.exit_code, "nothing to do" in result.stderr) == (3, True)

    def test_plan_of_a_job_that_never_ran_asks_for_its_table(self, begun):
        """
        Errors: the way out is an option of this command, and the jobs that there are.
        """
        result = run("plan", "bronce")

        assert result.exit_code == 1
        assert "there is 'bronze'" in result.stderr
        assert "--meta-table-name" in result.stderr

    def test_plan_of_a_name_with_two_tables_asks_which(self, begun):
        """
        Errors: several jobs of one name are no missing table.
        """
        with closing(sqlite3.connect(begun.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("CREATE TABLE more AS SELECT * FROM files")
        with open_inventory(begun) as inventory:
            inventory.acquire_batch("bronze", "more", COLS).give_back()

        result = run("plan", "bronze")

        assert result.exit_code == 1
        assert "'files', 'more'" in result.stderr

    def test_meta_tables_of_a_delta_inventory_are_asked_for(self, url, tmp_path):
        """
        Errors: without a JVM nobody can pass a session to the command line; the setting is the way out.
        """
        delta = f"delta+rs:{tmp_path / 'inventory'}"

        result = shell("plan", "bronze", "--meta-table-name", "files", SPARK_BATCHINTORY_INVENTORY_CONN=delta)

        assert result.returncode == 1
        assert "SPARK_BATCHINTORY_META_CONN" in result.stderr


VERBS = [cli._name(command.callback) for command in cli.app.registered_commands]


class TestHelp:
    @pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "demo"])
    def test_each_verb_shows_a_call_that_is_right(self, begun, verb, monkeypatch, tmp_path):
        """
        API: help teaches: every verb has an example, and whoever types it makes no wrong call.
        """
        monkeypatch.chdir(tmp_path)  # report writes a page
        told = " ".join(run(verb, "--help").stdout.split()).partition("Example: spark-batchintory ")[2]

        assert told.split()[0] == verb
        assert run(*shlex.split(told)).exit_code != 2

    @pytest.mark.parametrize("verb", VERBS)
    def test_what_may_be_left_out_stands_in_single_brackets(self, url, verb):
        """
        API: usage reads as manuals do: ``[JOB]``, and neither ``[[JOB]]`` nor the name of a variable.
        """
        told = run(verb, "--help").stdout

        assert "[[" not in told
        assert "[status]" not in told

    def test_the_first_page_says_where_to_begin(self, url):
        """
        API: the verbs, how to connect, where to begin, and what an exit code means.
        """
        told = run("--help").stdout

        assert all(f"  {verb} " in told for verb in VERBS)
        for word in ("SPARK_BATCHINTORY_INVENTORY_CONN", "Begin with", "Exit codes"):
            assert word in " ".join(told.split())

    def test_a_process_builds_only_the_verb_that_is_called(self, begun):
        """
        API: and still knows all of them: in help, in completion, behind an option, and if one is misspelt.
        """
        assert shell("--env-file", os.devnull, "gaps", "bronze").returncode == 3
        assert shell("mark_done", "bronze", "4", "6", "--dry-run").returncode == 0
        assert "doctor" in shell("--help").stdout
        misspelt = shell("statsu")
        assert (misspelt.returncode, "status" in misspelt.stderr) == (2, True)


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [("re", {"retry", "resume", "redo"}), ("gaps --o", {"--open"}), ("retry daily d", {"dead"})],
    )
    def test_in_bash_and_zsh(self, url, words, expected):
        """
        API: verbs, options and statuses are completed.
        """
        line = f"spark-batchintory {words}"
        asked = {
            "complete_bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)},
            "complete_zsh": {"_TYPER_COMPLETE_ARGS": line},
        }
        for how, settings in asked.items():
            told = shell(_SPARK_BATCHINTORY_COMPLETE=how, **settings).stdout
            assert expected <= set(re.findall(r"[\w-]+", told)), told

    @pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
    def test_there_is_a_script_for_each_shell(self, url, name):
        """
        API: what a shell has to read is printed on demand.
        """
        told = shell(_SPARK_BATCHINTORY_COMPLETE=f"source_{name}").stdout
        assert "_SPARK_BATCHINTORY_COMPLETE" in told
