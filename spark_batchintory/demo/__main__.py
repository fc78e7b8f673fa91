"""
``python -m spark_batchintory.demo``.
"""

from __future__ import annotations

import argparse
import sys

from . import main

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m spark_batchintory.demo", description="The README's demo.")
    arguments.add_argument("--keep", metavar="FOLDER", help="work in this new or empty folder, and leave it there")
    arguments.add_argument("--delta", action="store_true", help="with nothing but Delta tables")
    given = arguments.parse_args()
    sys.exit(main(given.keep, delta=given.delta))
