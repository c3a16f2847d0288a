"""`pingraph report`: all that is known of some embeddings in one HTML file that opens offline.

The file asks for nothing from anywhere: a content security policy forbids it, and lets no script
run but the one that stands in it, named by its hash. Whatever pins, boards and runs are called
comes into it as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pingraph.errors import PinGraphError
from pingraph.files import atomic_file, write_json
from pingraph.report.cases import RULE
from pingraph.report.gather import Findings, gather
from pingraph.report.sections import sections
from pingraph.report.why import WHY_RULE, why_blocks, why_title
from pingraph.report.words import (
    also_framed,
    caveats,
    compare_runs,
    describe_data,
    describe_run,
    describe_split,
)
from pingraph.subject import told_apart

if TYPE_CHECKING:
    from pingraph.subject import Subject

_CONTENT = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:"


class Written(NamedTuple):
    """What `write_report` has written, and what whoever reads it must know."""

    page: Path
    numbers: Path
    caveats: list[str]  # what is wrong with the data, a sentence each; see `words.caveats`


def write_report(
    subjects: Sequence[Subject], out: Path, *, seed: int = 0, map_pins: int = 2000
) -> Written:
    """Measure embeddings of one data set and write the report, and its numbers as JSON beside it.

    Args:
        subjects: the embeddings.
        out: the HTML file; the numbers go to the same name with `.metrics.json` for its suffix.
        seed: of all that is drawn.
        map_pins: pins of the map at most, 0 to 20,000.

    Returns:
        The two files, and what is wrong with the data.

    Raises:
        PinGraphError: an argument is out of its range, the embeddings do not belong together (see
            `report.gather.gather`), or a file cannot be written.
    """
    if out.suffix not in (".html", ".htm"):
        raise PinGraphError(f"{out}: expected the name of an .html file")
    if not 0 <= map_pins <= 20_000:
        raise PinGraphError(f"map_pins is {map_pins}: expected 0 to 20,000")
    found = gather(told_apart(subjects), seed=seed, map_pins=map_pins)
    numbers = numbers_file(out)
    page = render(found)
    write_json(numbers, found.numbers)
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return Written(page=out, numbers=numbers, caveats=caveats(found.numbers))


def numbers_file(out: Path) -> Path:
    """Return where the numbers of a report go."""
    return out.with_suffix(".metrics.json")


def render(found: Findings) -> str:
    """Return the page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    numbers = found.numbers
    style = _source("colors.css", "pingraph") + _source("page.css")
    script = _source("page.js") + _source("pin_map.js")
    policy = f"{_CONTENT}; style-src {_hash(style)}; script-src {_hash(script)}"
    template = environment.from_string(_source("page.html.jinja"))
    return template.render(
        numbers=numbers,
        policy=policy,
        style=style,
        script=script,
        first=describe_split(numbers),
        compared=compare_runs(numbers),
        described={name: describe_run(numbers, name) for name in numbers["runs"]},
        trust=describe_data(numbers),
        sections=sections(numbers),
        cases=found.cases,
        rule=" ".join([RULE, WHY_RULE, *also_framed(numbers)]),
        why_title=why_title,
        why_blocks=why_blocks,
        map_notes=found.map["runs"],
        map_pins=len(found.map["id"]),
        map_placeless=found.map["placeless"],
        map_data=_data(found.map),
        metrics_data=_data(numbers),
    )


def _data(value: Any) -> str:
    """Return JSON that can stand in a script element: no sign of it can end the element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _source(name: str, package: str = "pingraph.report") -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
