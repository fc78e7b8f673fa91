# Databricks notebook source
# MAGIC %md
# MAGIC # Scan
# MAGIC
# MAGIC What is new in the Volume becomes rows of `<place>.files`, each file once, whoever scans at the same time. It
# MAGIC may fail at any point: what was registered stays, and the next scan goes on with the rest.

# COMMAND ----------

import json

import spark_batchintory as bi

for name in ("place", "volume", "min_age"):
    dbutils.widgets.text(name, "")
place, volume = dbutils.widgets.get("place"), dbutils.widgets.get("volume")
min_age = float(dbutils.widgets.get("min_age"))

# COMMAND ----------

# MAGIC %md
# MAGIC The table that is loaded is made here, so that the slots need not race for it.

# COMMAND ----------

spark.sql(
    f"CREATE TABLE IF NOT EXISTS {place}.events "
    "(device STRING, at TIMESTAMP, reading DOUBLE, _uid BIGINT, _batch BIGINT) USING delta"
)

# COMMAND ----------

with bi.open_inventory(f"delta:{place}.inventory", spark=spark) as inventory:
    found = inventory.register_files(volume, f"{place}.files", "**/*.json", min_age=min_age)
print(found)
dbutils.notebook.exit(json.dumps({"registered": found.registered}))
