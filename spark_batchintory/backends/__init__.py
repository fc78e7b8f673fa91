"""
Adapters: every quirk of a database or of Spark, and nothing else. What they must do is said in `inventory` and `meta`.
"""
