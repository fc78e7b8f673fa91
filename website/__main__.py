"""
``python -m website``
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from website import outward, pages, scripts

BUILD = pages.ROOT / "build"
PAGES, SITE = BUILD / "pages", BUILD / "site"


def main() -> int:
    """
    Lay out the pages, have them built, and look at what they fetch.
    """
    shutil.rmtree(PAGES, ignore_errors=True)
    try:
        pages.lay_out(PAGES)
    except pages.NoPlace as error:
        print(error, file=sys.stderr)
        return 1
    scripts.bring(PAGES, BUILD)
    return _built() or _fetching()


def _built() -> int:
    # Material warns of MkDocs 2, which the pins keep away. Not --quiet: a warning that is not logged fails nothing.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "true"}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=pages.ROOT, env=environment
    ).returncode


def _fetching() -> int:
    if found := outward.fetches(SITE):
        print("pages must fetch nothing from elsewhere:", *found, sep="\n  ", file=sys.stderr)
        return 1
    print(f"{sum(1 for _ in SITE.rglob('*.html'))} pages: {SITE.relative_to(pages.ROOT)}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
