# Databricks notebook source
# MAGIC %md
# MAGIC # Report
# MAGIC
# MAGIC Runs whether or not the slots succeeded. Looking changes nothing, so it may be run at any time.

# COMMAND ----------

import json

import spark_batchintory as bi

dbutils.widgets.text("place", "")
place = dbutils.widgets.get("place")

# COMMAND ----------

with bi.open_inventory(f"delta:{place}.inventory", spark=spark) as inventory:
    status, checkup = inventory.status("load"), inventory.doctor("load")
    print(status, checkup, inventory.coverage("load").strip() if status else "", sep="\n\n")
    failures = [row for row in inventory.batches("load") if row.status in ("failed", "dead")]
for row in failures:
    print(f"batch {row.id}, attempt {row.attempt}, {row.status.value}: {row.logging}")

# COMMAND ----------

# MAGIC %md
# MAGIC A red task is what the job's notifications tell of; a problem has its cure beside it, in the table above.

# COMMAND ----------

if not checkup.healthy:
    raise RuntimeError(f"doctor found problems: {[found.message for found in checkup if found.finding == 'problem']}")
dbutils.notebook.exit(json.dumps({"open": len(failures), "backlog": [row.backlog_items for row in status]}))
