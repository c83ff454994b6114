"""Parquet files as lines of JSON, and lines of answers as a Parquet file.

A run reads and writes lines, which can be ended anywhere; a table is read before it and written
after it. Needs pyarrow, only where a file is a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...files import new_file
from ..api.errors import ApiError
from ..api.reading import json_of

__all__ = ["as_lines", "as_table"]

SUFFIX = ".parquet"
ROWS = 1000  # that are in the memory at a time
COLUMNS = ("custom_id", "method", "url", "body")


@contextmanager
def as_lines(source: Path, target: Path) -> Iterator[Path]:
    """Yield the file of lines that a source is; of a table, one is made beside the target."""
    if source.suffix != SUFFIX:
        yield source
        return
    made = target.with_name(f"{target.name}.in.jsonl")
    with (
        new_file(made, replaces=True) as file,
        file.open("w", encoding="utf-8", newline="\n") as lines,
    ):
        for row in _rows(source):
            lines.write(_line(source, row))
    yield made
    made.unlink()


@contextmanager
def as_table(target: Path) -> Iterator[Path]:
    """Yield the file that a run writes its lines to; a table is made of it in the end."""
    if target.suffix != SUFFIX:
        yield target
        return
    if target.exists():
        raise ConfigError(
            f"the output {target} exists, expected a new name", hint="choose another one"
        )
    lines = target.with_name(f"{target.name}.jsonl")
    yield lines
    with new_file(target) as file:
        _write(lines, file)
    lines.unlink()
    lines.with_name(f"{lines.name}.run").unlink()


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(source) as table:
            for batch in table.iter_batches(batch_size=ROWS):
                for row in batch.to_pylist():
                    yield {name: _value(name, value) for name, value in row.items()}
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{source} cannot be read as a Parquet file: {error}") from error


def _line(source: Path, row: dict[str, Any]) -> str:
    try:
        return json.dumps(row) + "\n"
    except TypeError as error:  # bytes, times, decimal numbers
        raise ConfigError(
            f"{source} has a value that JSON does not have, expected texts, numbers, structs and"
            f" lists: {error}"
        ) from None


def _value(name: str, value: Any) -> Any:
    """Return a value as JSON has it: a body may be text; a struct has null for what it lacks."""
    if name == "body" and isinstance(value, str):
        with suppress(ApiError):  # the line is refused for it
            return json_of(value.encode())
        return value
    return _without_nulls(value) if name == "body" else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(v) for name, v in value.items() if v is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _write(lines: Path, file: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    schema = pyarrow.schema([
        ("id", text), ("custom_id", text), ("status_code", pyarrow.int32()),
        ("request_id", text), ("body", text), ("error", text),
    ])  # fmt: skip
    with parquet.ParquetWriter(file, schema) as table, lines.open(encoding="utf-8") as answers:
        rows: list[dict[str, Any]] = []
        for line in answers:
            rows.append(_row(json.loads(line)))
            if len(rows) == ROWS:
                table.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows = []
        table.write_table(pyarrow.Table.from_pylist(rows, schema))


def _row(answer: dict[str, Any]) -> dict[str, Any]:
    response, error = answer["response"] or {}, answer["error"]
    return {
        "id": answer["id"],
        "custom_id": answer["custom_id"],
        "status_code": response.get("status_code"),
        "request_id": response.get("request_id"),
        "body": json.dumps(response["body"]) if response else None,
        "error": json.dumps(error) if error else None,
    }
