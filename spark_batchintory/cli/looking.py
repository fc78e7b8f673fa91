"""
The verbs that only look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spark_batchintory.batch import Status
from spark_batchintory.cli.application import app, like, opened
from spark_batchintory.cli.options import AsJson, BatchId, Columns, Condition, Job, MetaTableName, either, exact_weight
from spark_batchintory.errors import BatchintoryError, ConfigurationError
from spark_batchintory.looking import jobs_named, no_job, one_job
from spark_batchintory.opened import Inventory
from spark_batchintory.printing import show, strip_width


@app.command(epilog=like("status daily"))
def status(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Only this job.")] = None, as_json: AsJson = False
) -> None:
    """
    How far the jobs are: one row per job.
    """
    with opened() as inventory:
        show(inventory.status(job), as_json)


@app.command(epilog=like("plan daily --batch-weight 1e9 --batches 3"))
def plan(
    job: Job,
    meta_table_name: Annotated[str | None, typer.Option(help="Default: the table of the job, if it has begun.")] = None,
    meta_table_cols: Columns = None,
    batch_id_min: Annotated[int | None, typer.Option(help="Lowest uid.")] = None,
    batch_id_max: Annotated[int | None, typer.Option(help="Highest uid.")] = None,
    batch_weight: Annotated[
        Any, typer.Option(parser=exact_weight, metavar="NUMBER", help="Largest weight of a batch.")
    ] = None,
    batch_count: Annotated[int | None, typer.Option(min=1, help="Largest number of items in a batch.")] = None,
    meta_filter: Condition = None,
    batches: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """
    The new ranges the next acquires would get. Writes nothing.
    """
    with opened() as inventory:
        scope = _scope_of(inventory, job, meta_table_name, meta_table_cols, meta_filter)
        limits = {"batch_weight": batch_weight, "batch_count": batch_count}
        bounds = {"batch_id_min": batch_id_min, "batch_id_max": batch_id_max}
        show(inventory.plan(job, **scope, **bounds, **limits, batches=batches), as_json)


def _scope_of(
    inventory: Inventory, job: str, table: str | None, columns: dict[str, str | None] | None, condition: str | None
) -> dict[str, Any]:
    """
    The arguments that say what a job is about; those left out are as the job, if it has begun, works with them.
    """
    inventory.backend.prepare()
    known = [row for row in jobs_named(inventory.backend, job) if table in (None, row.meta_table)]
    if table is None and not known:
        raise ConfigurationError(f"{no_job(inventory.backend, job)}; for a job that never ran, pass --meta-table-name")
    begun = known[0] if len(known) == 1 else one_job(inventory.backend, job, table) if known else None
    if begun is None or begun.meta_columns is None:
        return {"meta_table_name": table, "meta_table_cols": columns, "meta_filter": condition}
    return {
        "meta_table_name": begun.meta_table,
        "meta_table_cols": columns or begun.meta_columns,
        "meta_filter": begun.meta_filter if condition is None else condition,
    }


@app.command(epilog=like("batches daily failed --limit 20"))
def batches(
    job: Job,
    status: Annotated[Status | None, typer.Argument(metavar="STATUS", help="Only those in this status.")] = None,
    only: Annotated[Status | None, typer.Option("--status", help="The same, as an option.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """
    The batches of a job, in order of id.
    """
    with opened() as inventory:
        show(inventory.batches(job, either(status, only), limit), as_json)


@app.command(epilog=like("attempts 17"))
def attempts(batch: BatchId, as_json: AsJson = False) -> None:
    """
    The attempts of a batch, the running one included.
    """
    with opened() as inventory:
        show(inventory.attempts(batch), as_json)


@app.command(epilog=like("trace s3://landing/2024/06/01.json"))
def trace(
    item: Annotated[
        str | None, typer.Argument(metavar="ITEM", help="Location of the asset, as its meta table spells it.")
    ] = None,
    uid: Annotated[int | None, typer.Option(help="Its uid, in place of its location.")] = None,
    as_json: AsJson = False,
) -> None:
    """
    Every job, batch and attempt that saw an asset.
    """
    if (item is None) == (uid is None):
        raise typer.BadParameter("give either an ITEM or --uid")
    with opened() as inventory:
        show(inventory.trace(item, uid=uid), as_json)


@app.command(epilog=like("gaps daily --open"))
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
    with opened() as inventory:
        show(inventory.gaps(job, is_open=is_open), as_json)


@app.command(epilog=like("coverage daily"))
def coverage(job: Job, meta_table_name: MetaTableName = None, as_json: AsJson = False) -> None:
    """
    What became of each stretch of a job's uids: a strip that shows the worst of each cell, and a table.
    """
    with opened() as inventory:
        answer = inventory.coverage(job, meta_table_name=meta_table_name)
        if answer and not as_json:
            print(answer.strip(strip_width()))
        show(answer, as_json)


@app.command(epilog=like("report inventory.html"))
def report(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The HTML file to write, in a folder that exists.")],
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Only this job.")] = None,
) -> None:
    """
    Write one self-contained HTML page: coverage, throughput, failures, late items, slowest batches.
    """
    with opened() as inventory:
        print(inventory.report(path, job))


@app.command(epilog=like("doctor daily"))
def doctor(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Only this job and its meta tables.")] = None,
    as_json: AsJson = False,
) -> None:
    """
    What is wrong with set-up and jobs, each finding with its cure. Writes nothing; exits with 1 if there is a problem.
    """
    # Imported here, as is all that one verb alone needs.
    from spark_batchintory.doctoring import broken

    try:
        inventory = opened()
    except BatchintoryError as error:
        found = broken(error)
    else:
        with inventory:
            found = inventory.doctor(job)
    show(found, as_json, exit_code=0 if found.healthy else 1)
