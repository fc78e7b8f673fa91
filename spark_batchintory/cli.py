"""
The command line: the looking and steering calls as verbs of ``spark-batchintory``.

Connections come from the settings alone, never from an argument, which other users of the machine could read. Rows go
to standard output, as a table (drawn on a terminal; plain, one line per row and of any width, elsewhere) or with
``--json`` as one JSON document, a list; notes and errors go to standard error, without secrets.

=====  ===========================================================
exit   meaning
=====  ===========================================================
0      done
1      refused or failed; one line on standard error says why. Or an audit found something
2      the call is wrong: an unknown verb or option, or none
3      nothing to do, or nothing found
=====  ===========================================================

Kept light, since it starts anew for each call: rich only where a table is drawn, and Spark only where the inventory or
its meta tables lie in it, since nobody else has a session here.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from spark_batchintory.batch import Status
from spark_batchintory.errors import BatchintoryError
from spark_batchintory.looking import jobs_named
from spark_batchintory.meta import ROLES
from spark_batchintory.opened import Inventory
from spark_batchintory.opening import configure, current_settings, open_inventory
from spark_batchintory.printing import NOTHING, show, strip_width, tell
from spark_batchintory.settings import inventory_connection
from spark_batchintory.version import __version__


class _Verbs(TyperGroup):
    """
    The verbs; whatever one of them refuses is told in one line and exit code 1.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """
        A verb, also as Python spells it: `mark_done` is ``mark-done``.
        """
        return super().get_command(ctx, cmd_name.replace("_", "-"))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BatchintoryError as error:
            tell(f"{type(error).__name__}: {error}")
            raise typer.Exit(1) from error


# Help is drawn on a terminal only; elsewhere boxes and colours are noise.
_on_terminal = sys.stdout.isatty() and sys.stderr.isatty()
app = typer.Typer(
    cls=_Verbs,
    help="Look at the batches of jobs, and steer them. Connections come from the environment or a dotenv file, as "
    "SPARK_BATCHINTORY_INVENTORY_CONN and SPARK_BATCHINTORY_META_CONN.",
    epilog="Begin with: spark-batchintory status. If something is wrong: spark-batchintory doctor. Exit codes: 0 done, "
    "1 refused, failed or found something, 2 wrong call, 3 nothing to do or nothing found.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if _on_terminal else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Retriable(str, Enum):
    """
    What `retry` is for.
    """

    FAILED = "failed"
    DEAD = "dead"


class Rewritten(str, Enum):
    """
    What `register_files` does with files that were written anew.
    """

    IGNORE = "ignore"
    NEW = "new"


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


def _columns(text: str) -> dict[str, str | None]:
    """
    Column names from ``uid=id,item=path,weight=size``, or as JSON; no name is no weight column.
    """
    try:
        pairs = json.loads(text) if text.lstrip().startswith("{") else dict(_pair(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"write uid=id,item=path,weight=size, or a JSON object, not {text!r}") from error
    unknown = [role for role in pairs if role not in ROLES]
    if unknown:
        raise typer.BadParameter(f"names the columns for {', '.join(ROLES)}, not for {unknown[0]!r}")
    return {role: name or None for role, name in pairs.items()}


def _pair(text: str) -> tuple[str, str]:
    role, equals, name = text.partition("=")
    if not equals:
        raise ValueError(text)
    return role.strip(), name.strip()


def _weight(text: str) -> int | Decimal:
    try:
        return int(text) if text.strip().isdecimal() else Decimal(text)
    except InvalidOperation as error:
        raise typer.BadParameter(f"{text!r} is not a number") from error


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Job = Annotated[str, typer.Argument(metavar="JOB", help="Name of the job.")]
BatchId = Annotated[int, typer.Argument(metavar="BATCH", help="Id of the batch.")]
Reason = Annotated[str | None, typer.Option(help="Why; stored with who and when.")]
MetaTableName = Annotated[str | None, typer.Option(help="The meta table, if several jobs have this name.")]
Columns = Annotated[
    Any, typer.Option(parser=_columns, metavar="uid=…,item=…,weight=…", help="Its columns. Default: the job's.")
]
Condition = Annotated[str | None, typer.Option(help="Condition in SQL. Default: the job's.")]
UidMin = Annotated[int, typer.Argument(metavar="UID_MIN", help="Lowest uid, inclusive.")]
UidMax = Annotated[int, typer.Argument(metavar="UID_MAX", help="Highest uid, inclusive.")]
Engine = Annotated[str | None, typer.Option(help="spark or delta-rs: what writes the table from now on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be changed.")]


def _like(call: str) -> str:
    """
    What the help of a verb ends with: a call as one would type it.
    """
    return f"Example: spark-batchintory {call}"


_UIDS = {"ignore_unknown_options": True}
"""For verbs that take uids: -5 is one, and no option."""


@app.callback()
def _settings(
    env_file: Annotated[
        Path | None, typer.Option(help="A dotenv file with settings, before the one the environment names.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print it.")] = False,
) -> None:
    configure(dot_env=env_file)


@app.command(epilog=_like("status daily"))
def status(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only this job.")] = None, as_json: AsJson = False
) -> None:
    """
    How far the jobs are: one row per job.
    """
    with _opened() as inventory:
        show(inventory.status(job), as_json)


@app.command(epilog=_like("plan daily --batch-weight 1e9 --batches 3"))
def plan(
    job: Job,
    meta_table_name: Annotated[str | None, typer.Option(help="Default: the table of the job, if it has begun.")] = None,
    meta_table_cols: Columns = None,
    batch_id_min: Annotated[int | None, typer.Option(help="Lowest uid.")] = None,
    batch_id_max: Annotated[int | None, typer.Option(help="Highest uid.")] = None,
    batch_weight: Annotated[
        Any, typer.Option(parser=_weight, metavar="NUMBER", help="Largest weight of a batch.")
    ] = None,
    batch_count: Annotated[int | None, typer.Option(min=1, help="Largest number of items in a batch.")] = None,
    meta_filter: Condition = None,
    batches: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """
    The new ranges the next acquires would get. Writes nothing.
    """
    with _opened() as inventory:
        scope = _scope_of(inventory, job, meta_table_name, meta_table_cols, meta_filter)
        limits = {"batch_weight": batch_weight, "batch_count": batch_count}
        bounds = {"batch_id_min": batch_id_min, "batch_id_max": batch_id_max}
        show(inventory.plan(job, **scope, **bounds, **limits, batches=batches), as_json)


@app.command(epilog=_like("batches daily failed --limit 20"))
def batches(
    job: Job,
    status: Annotated[Status | None, typer.Argument(help="Only those in this status.")] = None,
    only: Annotated[Status | None, typer.Option("--status", help="The same, as an option.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """
    The batches of a job, in order of id.
    """
    with _opened() as inventory:
        show(inventory.batches(job, _either(status, only), limit), as_json)


@app.command(epilog=_like("attempts 17"))
def attempts(batch: BatchId, as_json: AsJson = False) -> None:
    """
    The attempts of a batch, the running one included.
    """
    with _opened() as inventory:
        show(inventory.attempts(batch), as_json)


@app.command(epilog=_like("trace s3://landing/2024/06/01.json"))
def trace(
    item: Annotated[
        str | None, typer.Argument(metavar="[ITEM]", help="Location of the asset, as its meta table spells it.")
    ] = None,
    uid: Annotated[int | None, typer.Option(help="Its uid, in place of its location.")] = None,
    as_json: AsJson = False,
) -> None:
    """
    Every job, batch and attempt that saw an asset.
    """
    if (item is None) == (uid is None):
        raise typer.BadParameter("give either an ITEM or --uid")
    with _opened() as inventory:
        show(inventory.trace(item, uid=uid), as_json)


@app.command(epilog=_like("retry daily dead --reason 'the schema is back' --dry-run"))
def retry(
    job: Job,
    status: Annotated[Retriable | None, typer.Argument(help="Which batches. Default: failed.")] = None,
    only: Annotated[Retriable | None, typer.Option("--status", help="The same, as an option.")] = None,
    meta_table_name: MetaTableName = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Make failed batches due at once, or give dead ones max_attempts more; shows those changed.
    """
    wanted = _either(status, only) or "failed"
    with _opened() as inventory:
        answer = inventory.retry(job, wanted, meta_table_name=meta_table_name, reason=reason, dry_run=dry_run)
        show(answer, as_json)


@app.command(epilog=_like("cancel 17 --reason 'wrong file'"))
def cancel(batch: BatchId, reason: Reason = None, as_json: AsJson = False) -> None:
    """
    Set a batch aside; a worker that runs it is fenced out.
    """
    with _opened() as inventory:
        show(inventory.cancel(batch, reason=reason), as_json)


@app.command(epilog=_like("pause daily --reason 'the disk is full'"))
def pause(job: Job, meta_table_name: MetaTableName = None, reason: Reason = None, as_json: AsJson = False) -> None:
    """
    Hand out nothing of a job until it is resumed; running batches may end.
    """
    with _opened() as inventory:
        show(inventory.pause(job, meta_table_name=meta_table_name, reason=reason), as_json)


@app.command(epilog=_like("resume daily"))
def resume(job: Job, meta_table_name: MetaTableName = None, reason: Reason = None, as_json: AsJson = False) -> None:
    """
    Hand out batches of a paused job again.
    """
    with _opened() as inventory:
        show(inventory.resume(job, meta_table_name=meta_table_name, reason=reason), as_json)


@app.command(epilog=_like("migrate --dry-run"))
def migrate(reason: Reason = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """
    Make the tables, upgrade older ones, or take over those of pybatchintory; shows what was done.
    """
    with _opened() as inventory:
        show(inventory.migrate(reason=reason, dry_run=dry_run), as_json)


@app.command(epilog=_like("maintain"))
def maintain(engine: Engine = None) -> None:
    """
    Compact a Delta inventory, or have another engine write it; there is nothing to do for a database.
    """
    with _opened() as inventory:
        inventory.maintain(engine)


@app.command(epilog=_like("redo daily 100 199 --reason 'currency was wrong' --dry-run"), context_settings=_UIDS)
def redo(
    job: Job,
    uid_min: UidMin,
    uid_max: UidMax,
    meta_table_name: MetaTableName = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Queue the succeeded batches that hold a uid within the bounds once more; shows the new ones.
    """
    how = {"meta_table_name": meta_table_name, "reason": reason}
    with _opened() as inventory:
        show(inventory.redo(job, uid_min, uid_max, **how, dry_run=dry_run), as_json)


@app.command(epilog=_like("mark-done daily 1 5000 --reason 'done by the old system'"), context_settings=_UIDS)
def mark_done(
    job: Job,
    uid_min: UidMin,
    uid_max: UidMax,
    meta_table_name: Annotated[str | None, typer.Option(help="The meta table; needed if the job never ran.")] = None,
    meta_table_cols: Columns = None,
    meta_filter: Condition = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Close everything within the bounds as done, also what no batch holds yet; shows the batches changed or made.
    """
    scope = {"meta_table_name": meta_table_name, "meta_table_cols": meta_table_cols, "meta_filter": meta_filter}
    with _opened() as inventory:
        show(inventory.mark_done(job, uid_min, uid_max, **scope, reason=reason, dry_run=dry_run), as_json)


@app.command(epilog=_like("audit daily --dry-run"))
def audit(
    job: Job,
    meta_table_name: MetaTableName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report; queue nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Compare all that a job has claimed with its meta table, and queue what is late. Exits with 1 if it finds something.
    """
    with _opened() as inventory:
        found = inventory.audit(job, meta_table_name=meta_table_name, dry_run=dry_run)
        show(found, as_json, exit_code=0 if found.clean else 1)


@app.command(epilog=_like("gaps daily --open"))
def gaps(
    job: Job,
    is_open: Annotated[
        bool | None, typer.Option("--open/--closed", help="Only those that may still fill, or only the others.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    The holes that claims of a job left in its uids, and as what each was closed.
    """
    with _opened() as inventory:
        show(inventory.gaps(job, is_open=is_open), as_json)


@app.command(epilog=_like("coverage daily"))
def coverage(job: Job, meta_table_name: MetaTableName = None, as_json: AsJson = False) -> None:
    """
    What became of each stretch of a job's uids: a strip that shows the worst of each cell, and a table.
    """
    with _opened() as inventory:
        answer = inventory.coverage(job, meta_table_name=meta_table_name)
        if answer and not as_json:
            print(answer.strip(strip_width()))
        show(answer, as_json)


@app.command(epilog=_like("report inventory.html"))
def report(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The HTML file to write, in a folder that exists.")],
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only this job.")] = None,
) -> None:
    """
    Write one self-contained HTML page: coverage, throughput, failures, late items, slowest batches.
    """
    with _opened() as inventory:
        print(inventory.report(path, job))


@app.command(epilog=_like("register-files /data/landing files '**/*.json'"))
def register_files(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder, or a storage URL.")],
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The meta table; made if it is not there.")],
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="Glob below it, such as '**/*.json'.")] = "**",
    min_age: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of peace a file must have had. Default: 60; on S3 and Google 0."),
    ] = None,
    rewritten: Annotated[Rewritten, typer.Option(help="Files that were written anew since.")] = Rewritten.IGNORE,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Scan a folder and register the files that are not in the table yet. Exits with 3 if there are none.
    """
    with _opened() as inventory:
        found = inventory.register_files(
            path, table, pattern, min_age=min_age, rewritten=rewritten.value, dry_run=dry_run
        )
        show(found, as_json, exit_code=0 if found.registered else NOTHING)


@app.command(epilog=_like("doctor daily"))
def doctor(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only this job and its meta tables.")] = None,
    as_json: AsJson = False,
) -> None:
    """
    What is wrong with set-up and jobs, each finding with its cure. Writes nothing; exits with 1 if there is a problem.
    """
    # Imported here, as is all that one verb alone needs.
    from spark_batchintory.doctoring import broken

    try:
        inventory = _opened()
    except BatchintoryError as error:
        found = broken(error)
    else:
        with inventory:
            found = inventory.doctor(job)
    show(found, as_json, exit_code=0 if found.healthy else 1)


@app.command(epilog=_like("demo"))
def demo(
    keep: Annotated[Path | None, typer.Option(help="A new or empty folder to work in, which stays.")] = None,
    delta: Annotated[bool, typer.Option("--delta", help="With nothing but Delta tables.")] = False,
) -> None:
    """
    The README's demo: a year of real flights, from landing folder to sink.
    """
    # Imported here: it brings Spark.
    from spark_batchintory import demo as the_demo

    raise typer.Exit(the_demo.main(keep, delta=delta))


def main() -> None:
    """
    Run the command line and exit; the console script ``spark-batchintory``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name that the terminal cannot spell is shown escaped; it must not end the command.
            stream.reconfigure(errors="backslashreplace")
    _leave_out_other_verbs(sys.argv[1:])
    try:
        app(prog_name="spark-batchintory")
    except Exception as error:  # whatever is left
        # Not ours, so no fault of the caller: told in one line all the same, since a traceback may quote anything.
        tell(f"unexpected {type(error).__name__}: {error}")
        sys.exit(1)


def _leave_out_other_verbs(arguments: Sequence[str]) -> None:
    """
    Keep only the verb that is called, if it comes first: to build all of them takes as long as to answer.
    """
    verb = arguments[0].replace("_", "-") if arguments else ""
    wanted = [one for one in app.registered_commands if one.callback and _name(one.callback) == verb]
    app.registered_commands = wanted or app.registered_commands


def _name(callback: Callable[..., Any]) -> str:
    return callback.__name__.replace("_", "-")


def _opened() -> Inventory:
    settings = current_settings()
    if settings.META_CONN is None and inventory_connection(settings).kind == "delta-rs":
        return open_inventory()  # no session is started for meta tables of which nobody said that they are in Spark
    return open_inventory(spark=_session)


def _session() -> Any:
    # Asked only where something lies in Spark: it takes seconds to start.
    from spark_batchintory.backends.spark_session import started_session

    return started_session()


def _scope_of(
    inventory: Inventory, job: str, table: str | None, columns: dict[str, str | None] | None, condition: str | None
) -> dict[str, Any]:
    """
    The arguments that say what a job is about; those left out are as the job, if it has begun, works with them.
    """
    inventory.backend.prepare()
    known = [row for row in jobs_named(inventory.backend, job) if table in (None, row.meta_table)]
    begun = known[0] if len(known) == 1 else None
    if begun is None or begun.meta_columns is None:
        return {"meta_table_name": table, "meta_table_cols": columns, "meta_filter": condition}
    return {
        "meta_table_name": begun.meta_table,
        "meta_table_cols": columns or begun.meta_columns,
        "meta_filter": begun.meta_filter if condition is None else condition,
    }


def _either(argument: Enum | None, option: Enum | None) -> Any:
    if argument is not None and option is not None and argument is not option:
        raise typer.BadParameter(f"the status is both {argument.value} and {option.value}")
    chosen = argument or option
    return None if chosen is None else chosen.value
