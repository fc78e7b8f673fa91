"""
The verbs that change what is stored: batches and jobs, tables, and what a meta table lists.
"""

from __future__ import annotations

from typing import Annotated

import typer

from spark_batchintory.cli.application import app, like, opened
from spark_batchintory.cli.options import (
    UIDS,
    AsJson,
    BatchId,
    Columns,
    Condition,
    DryRun,
    Engine,
    Job,
    MetaTableName,
    Reason,
    Retriable,
    Rewritten,
    UidMax,
    UidMin,
    either,
)
from spark_batchintory.printing import NOTHING, show, tell


@app.command(epilog=like("retry daily dead --reason 'the schema is back' --dry-run"))
def retry(
    job: Job,
    status: Annotated[
        Retriable | None, typer.Argument(metavar="STATUS", help="Which batches. Default: failed.")
    ] = None,
    only: Annotated[Retriable | None, typer.Option("--status", help="The same, as an option.")] = None,
    meta_table_name: MetaTableName = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Make failed batches due at once, or give dead ones max_attempts more; shows those changed.
    """
    wanted = either(status, only) or "failed"
    with opened() as inventory:
        answer = inventory.retry(job, wanted, meta_table_name=meta_table_name, reason=reason, dry_run=dry_run)
        show(answer, as_json)


@app.command(epilog=like("cancel 17 --reason 'wrong file'"))
def cancel(batch: BatchId, reason: Reason = None, as_json: AsJson = False) -> None:
    """
    Set a batch aside; a worker that runs it is fenced out.
    """
    with opened() as inventory:
        show(inventory.cancel(batch, reason=reason), as_json)


@app.command(epilog=like("pause daily --reason 'the disk is full'"))
def pause(job: Job, meta_table_name: MetaTableName = None, reason: Reason = None, as_json: AsJson = False) -> None:
    """
    Hand out nothing of a job until it is resumed; running batches may end.
    """
    with opened() as inventory:
        show(inventory.pause(job, meta_table_name=meta_table_name, reason=reason), as_json)


@app.command(epilog=like("resume daily"))
def resume(job: Job, meta_table_name: MetaTableName = None, reason: Reason = None, as_json: AsJson = False) -> None:
    """
    Hand out batches of a paused job again.
    """
    with opened() as inventory:
        show(inventory.resume(job, meta_table_name=meta_table_name, reason=reason), as_json)


@app.command(epilog=like("redo daily 100 199 --reason 'currency was wrong' --dry-run"), context_settings=UIDS)
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
    with opened() as inventory:
        show(inventory.redo(job, uid_min, uid_max, **how, dry_run=dry_run), as_json)


@app.command(epilog=like("mark-done daily 1 5000 --reason 'done by the old system'"), context_settings=UIDS)
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
    with opened() as inventory:
        show(inventory.mark_done(job, uid_min, uid_max, **scope, reason=reason, dry_run=dry_run), as_json)


@app.command(epilog=like("audit daily --dry-run"))
def audit(
    job: Job,
    meta_table_name: MetaTableName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report; queue nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Compare all that a job has claimed with its meta table, and queue what is late. Exits with 1 if it finds something.
    """
    with opened() as inventory:
        found = inventory.audit(job, meta_table_name=meta_table_name, dry_run=dry_run)
        show(found, as_json, exit_code=0 if found.clean else 1)


@app.command(epilog=like("register-files /data/landing files '**/*.json'"))
def register_files(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder, or a storage URL.")],
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The meta table; made if it is not there.")],
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Glob below it, such as '**/*.json'.")] = "**",
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
    with opened() as inventory:
        found = inventory.register_files(
            path, table, pattern, min_age=min_age, rewritten=rewritten.value, dry_run=dry_run
        )
        show(found, as_json, exit_code=0 if found.registered else NOTHING)


@app.command(epilog=like("migrate --dry-run"))
def migrate(reason: Reason = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """
    Make the tables, upgrade older ones, or take over those of pybatchintory; shows what was done.
    """
    with opened() as inventory:
        show(inventory.migrate(reason=reason, dry_run=dry_run), as_json)


@app.command(epilog=like("maintain"))
def maintain(engine: Engine = None) -> None:
    """
    Compact a Delta inventory, or have another engine write it; there is nothing to do for a database.
    """
    with opened() as inventory:
        inventory.maintain(engine)
        if not inventory.backend.claims_ahead:
            tell("nothing to do: a database compacts itself")
            raise typer.Exit(NOTHING)
        tell("the Delta table is compacted" if engine is None else f"{engine} writes the Delta table from now on")
