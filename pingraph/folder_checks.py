"""Finds what is wrong with the columns of a data set: how often, and the first cases of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pingraph.errors import PinGraphError
from pingraph.tables import column_names, read_table, without_decimals

_EXAMPLES = 3
_TOO_LARGE = "above the int64 range"


def count(number: int, noun: str) -> str:
    """Return "1 pin", "2 pins"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def examples(values: list | np.ndarray, places: np.ndarray | None = None) -> str:
    """Return the first values, with their rows where `places` gives them."""
    shown = [repr(v.item() if isinstance(v, np.generic) else v)[:80] for v in values[:_EXAMPLES]]
    if places is not None:
        shown = [f"{v} (row {row})" for v, row in zip(shown, places, strict=False)]
    return ", ".join(shown) + (", …" if len(values) > _EXAMPLES else "")


def read_what_is_there(path: Path, columns: tuple[str, ...], errors: list[str]) -> pa.Table | None:
    """Read those of the columns that a file has; None, and an error, when it cannot be read."""
    try:
        table = read_table(path, (), columns)
    except PinGraphError as error:
        errors.append(str(error).removeprefix(f"{path.parent}/"))
        return None
    if not table.num_columns:
        among = ", ".join(column_names(path))
        errors.append(f"{path.name}: no column '{columns[0]}' among {among}, nor any other known")
        return None
    return table


def check_ids(table: pa.Table, column: str, file: str, errors: list[str], *, unique: bool) -> bool:
    """Report missing, bad and (if `unique`) repeated ids; return whether the column can be ids."""
    if column not in table.column_names:
        errors.append(f"{file}: no column '{column}'")
        return False
    values = table.column(column)
    kind = values.type
    if not (
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ):
        errors.append(f"{file}: column '{column}' is {kind}; expected integers or strings")
        return False
    bad = {"missing": values.is_null()}
    if pa.types.is_integer(kind):
        bad["negative"] = pc.less(values, pa.scalar(0, kind))
        if pa.types.is_uint64(kind):
            bad[_TOO_LARGE] = pc.greater(values, pa.scalar(2**63 - 1, kind))
    else:
        bad["empty"] = pc.equal(pc.binary_length(values), 0)
    usable = True
    for reason, mask in bad.items():
        rows = np.flatnonzero(pc.fill_null(mask, False).to_numpy())
        if len(rows):
            errors.append(f"{file}: {count(len(rows), column)} {reason}: row {rows[0]} first")
            usable &= reason != _TOO_LARGE
    if unique:
        twice = repeated(values)
        if len(twice):
            errors.append(f"{file}: {count(len(twice), column)} repeated: {examples(twice)}")
    return usable


def repeated(values: pa.ChunkedArray) -> list:
    """Return the values that occur more than once."""
    counts = pc.value_counts(pc.drop_null(values))
    return counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist()


def check_known(
    edges: pa.Table, known: pa.Table, column: str, other: str, errors: list[str]
) -> None:
    """Report the ids of edges that the table of their side lacks."""
    used, ids = edges.column(column), known.column(column)
    if pa.types.is_integer(used.type) != pa.types.is_integer(ids.type):
        errors.append(f"edges.parquet: {column} is {used.type}, but {other} has {ids.type}")
        return
    wide = pa.int64() if pa.types.is_integer(used.type) else pa.large_string()
    inside = pc.is_in(used.cast(wide), value_set=ids.cast(wide).combine_chunks())
    rows = np.flatnonzero(pc.and_not(pc.is_valid(used), inside).to_numpy())
    if len(rows):
        shown = examples(used.take(pa.array(rows[: _EXAMPLES + 1])).to_pylist(), rows)
        errors.append(
            f"edges.parquet: {count(len(rows), 'row')} with a {column} that {other} lacks: {shown}"
        )


def check_weights(edges: pa.Table, errors: list[str]) -> None:
    """Report the weights of edges that are not finite numbers above 0, as float32."""
    if "weight" not in edges.column_names:
        return
    values = without_decimals(edges.column("weight"))
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        errors.append(f"edges.parquet: column 'weight' is {values.type}; expected numbers")
        return
    numbers = values.cast(pa.float64(), safe=False).to_numpy()
    with np.errstate(over="ignore"):
        stored = numbers.astype(np.float32)
    rows = np.flatnonzero(~((stored > 0) & np.isfinite(stored)))
    if len(rows):
        shown = examples(numbers[rows[: _EXAMPLES + 1]], rows)
        errors.append(
            f"edges.parquet: {count(len(rows), 'weight')} not finite and above 0: {shown}"
        )
