# Databricks notebook source
# MAGIC %md
# MAGIC # Load: one worker slot
# MAGIC
# MAGIC Several of these run at once. They know nothing of each other: each asks the inventory for the next batch,
# MAGIC until there is none. A batch is never passed from task to task, since it belongs to the process that acquired
# MAGIC it, which extends its lease; the slot's number is there to tell the runs apart, and for nothing else.

# COMMAND ----------

import json

import spark_batchintory as bi

for name in ("place", "batch_bytes", "slot", "run"):
    dbutils.widgets.text(name, "")
place, batch_bytes = dbutils.widgets.get("place"), int(dbutils.widgets.get("batch_bytes"))
slot, run = dbutils.widgets.get("slot"), dbutils.widgets.get("run")

# COMMAND ----------

# MAGIC %md
# MAGIC `delta_options` makes the append one of this batch: a second attempt of it, by whichever slot or run, writes
# MAGIC nothing if the first one has written already.

# COMMAND ----------


def load(batch):
    rows = bi.reader(spark).schema("device STRING, at TIMESTAMP, reading DOUBLE")
    rows = rows.batchintory(batch, format="json", provenance=True)
    rows = rows.selectExpr("device", "at", "reading", "_batchintory.uid AS _uid", "_batchintory.batch_id AS _batch")
    rows.write.format("delta").options(**batch.delta_options()).mode("append").saveAsTable(f"{place}.events")
    return {"rows": spark.table(f"{place}.events").where(f"_batch = {batch.id}").count()}


# COMMAND ----------

# MAGIC %md
# MAGIC `on_error="continue"`: one bad file does not stop the slot. Its batch is recorded as failed, with the error,
# MAGIC and is due again in a minute. The task is red all the same, and its retry, a repair, or the next run takes up
# MAGIC the batch.
# MAGIC
# MAGIC `lease`: if this driver is killed, others wait a quarter of an hour for its batch, and not the hour that a
# MAGIC Delta inventory has by default.

# COMMAND ----------

with bi.open_inventory(f"delta:{place}.inventory", spark=spark) as inventory:
    summary = inventory.process(
        load,
        "load",
        f"{place}.files",
        job_identifier=f"run {run}, slot {slot}",
        batch_weight=batch_bytes,
        lease=900,
        on_error="continue",
    )
print(summary)
if summary.failed:
    raise RuntimeError(f"{summary.failed} batches failed; the inventory has their errors: {summary}")
dbutils.notebook.exit(json.dumps({"batches": summary.succeeded, "items": summary.items}))
