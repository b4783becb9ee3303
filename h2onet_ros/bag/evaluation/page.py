"""Pages of reports: HTML that carries all it shows, so that it can be mailed and opened anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from h2onet_ros.bag.errors import NO_ROOM, BagError, DiskFullError


def write_page(path: Path, template: str, values: dict[str, Any]) -> None:
    """Fill one of the `templates` and write it.

    Raises:
        BagError: where the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("h2onet_ros.bag.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template(template).render(**values)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        path.unlink(missing_ok=True)
        kind = DiskFullError if error.errno in NO_ROOM else BagError
        raise kind(f"Cannot write the report {path}: {error.strerror}.") from error


def number(value: float | None, digits: int = 1, factor: float = 1.0, unit: str = "") -> str:
    """A number for people; a dash for None."""
    if value is None or value != value:
        return "–"
    text = f"{value * factor:.{digits}f}"
    return f"{text} {unit}" if unit else text


def percent(value: float | None) -> str:
    """A share in percent; a dash for None."""
    return number(value, 1, 100, "%")
