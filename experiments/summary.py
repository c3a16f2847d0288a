"""Sets several demos side by side: python -m pingraph.experiments.summary runs/*/comparison.json"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pingraph.errors import PinGraphError
from pingraph.files import read_json
from pingraph.results import METHODS, TASKS

ROWS = (
    ("cold", "pin_to_pin"),
    ("cold", "image_to_text"),
    ("cold", "text_to_image"),
    ("warm", "pin_to_pin"),
)
METRIC = "recall@10"


def summary(comparisons: list[dict[str, Any]]) -> str:
    """Return a Markdown table of recall@10, one row a data set, task and seed.

    Args:
        comparisons: contents of comparison.json files.
    """
    lines = [
        f"| data | {METRIC} | seed | {' | '.join(METHODS.values())} | lift [95%] |",
        f"|---|---|---:|{'---:|' * (len(METHODS) + 1)}",
    ]
    ordered = sorted(comparisons, key=lambda found: (found["data"], found["seed"]))
    for data in dict.fromkeys(found["data"] for found in ordered):
        for part, task in ROWS:
            for found in ordered:
                if found["data"] == data and found[part][task] is not None:
                    entry = found[part][task][METRIC]
                    cells = [data, f"{part} {TASKS[task]}", str(found["seed"]), *_cells(entry)]
                    lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(entry: dict[str, Any]) -> list[str]:
    values = ["" if entry.get(name) is None else f"{entry[name]:.3f}" for name in METHODS]
    if entry["ci95"] is None:
        return [*values, ""]
    low, high = entry["ci95"]
    return [*values, f"{entry['lift']:+.0%} [{low:+.0%}, {high:+.0%}]"]


def main() -> None:
    """Print the table of the files that are named as arguments."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m pingraph.experiments.summary comparison.json …")
    try:
        print(summary([read_json(Path(name)) for name in sys.argv[1:]]))
    except (PinGraphError, KeyError, TypeError) as error:
        sys.exit(f"error: not the comparison.json of a demo: {error}")


if __name__ == "__main__":
    main()
