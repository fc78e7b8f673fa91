"""
The report as a page: rendered from a template, and put in its place at once.

All texts come from other people's tables. Whatever the template shows goes through one place (`_shown`), which masks
secrets and spells out what could steer a terminal or turn text round; then jinja2 escapes it. Markup comes from the
template and from `strip` alone.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from . import reporting
from .answers import printable
from .coverage import STATES
from .durations import spelled
from .errors import ConfigurationError
from .inventory import InventoryBackend
from .masking import mask
from .meta import MetaBackend
from .strip import COLOURS, drawn_strip, legend
from .version import __version__
from .weights import weight_text

_MESSAGE = 1200
"""Characters of a message that a page shows."""


def check_place(path: str | os.PathLike[str]) -> None:
    """
    Refuse what cannot be written, before anything is read.

    Raises
    ------
    ConfigurationError
        The folder does not exist, or there is a folder of this name.
    """
    place = Path(path)
    if not place.parent.is_dir():
        raise ConfigurationError(
            f"the report cannot be written to {str(place)!r}: folder {str(place.parent)!r} is missing"
        )
    if place.is_dir():
        raise ConfigurationError(f"the report cannot be written to {str(place)!r}: that is a folder; name a file in it")


def written(
    backend: InventoryBackend,
    meta: MetaBackend,
    path: str | os.PathLike[str],
    job: str | None,
    known_secrets: Iterable[str],
) -> Path:
    """
    Gather, render, and put the page in its place.
    """
    place = Path(path)
    page = rendered(reporting.facts(backend, meta, job), known_secrets)
    _replace(place, page.encode("utf-8", "backslashreplace"))
    return place


def rendered(facts: reporting.Facts, known_secrets: Iterable[str] = ()) -> str:
    """
    The page as HTML.
    """
    # Imported here: nothing but a report needs it.
    import jinja2
    from markupsafe import Markup

    shown = _shown(tuple(known_secrets))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spark_batchintory", "templates"),
        autoescape=True,
        finalize=shown,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(moment=_moment, span=_span, number=_number, message=_message)
    return environment.get_template("report.html").render(
        facts=facts,
        version=__version__,
        states=[(state.value, COLOURS[state]) for state in STATES],
        strip=lambda stretches, title, name: Markup(drawn_strip(stretches, shown(title), name=name)),  # noqa: S704  # escaped
        legend=lambda items: Markup(legend(items)),  # noqa: S704  # numbers and our own words
        limits=reporting,
        seconds_of=reporting.seconds_of,
    )


def _shown(known_secrets: tuple[str, ...]) -> Callable[[Any], Any]:
    """
    What becomes of every value that the template shows.
    """

    def shown(value: Any) -> Any:
        if type(value) is not str:
            return value
        return "\n".join(map(printable, mask(value, known_secrets).split("\n")))

    return shown


def _replace(place: Path, content: bytes) -> None:
    """
    Write beside it, then put it in its place, so that nobody ever sees half a page.
    """
    beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(content)
        beside.replace(place)
    except OSError as error:
        raise ConfigurationError(f"the report cannot be written to {str(place)!r}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _moment(time: datetime | None) -> str:
    return "–" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def _span(length: timedelta | float | None) -> str:
    if length is None:
        return "–"
    return spelled(length if isinstance(length, timedelta) else timedelta(seconds=length))


def _number(value: Any) -> str:
    """
    A number with its thousands apart; an exact weight as it is.
    """
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return weight_text(value) if isinstance(value, float | Decimal) else str(value)


def _message(text: str | None) -> str:
    """
    A message, cut in its middle, since its beginning and its end say most.
    """
    if not text:
        return "no message"
    if len(text) <= _MESSAGE:
        return text
    return f"{text[: _MESSAGE // 2]}\n… cut …\n{text[-_MESSAGE // 2 :]}"
