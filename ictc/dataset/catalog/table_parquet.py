"""Read tables in Parquet files; what results have no form for becomes text, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ictc.dataset.catalog.table_text import as_text
from ictc.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(content: bytes) -> pa.Table:
    """Read a Parquet file; decimals stay decimals.

    A struct of `bytes` and `path`, as Hugging Face `datasets` writes images, is a path where the bytes are null.

    Raises:
        InputError: a column holds bytes.
    """
    import pyarrow as pa
    from pyarrow import parquet

    return plain_table(parquet.read_table(pa.BufferReader(content)))


def plain_table(table: pa.Table) -> pa.Table:
    """Return a table whose columns all have types that results can have.

    Raises:
        InputError: a column holds bytes.
    """
    import pyarrow as pa

    columns = [_plain_column(name, table.column(n)) for n, name in enumerate(table.column_names)]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _plain_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    column = _unwrap(column)
    kind = column.type
    if _is_path_of_image(column):
        return pa.chunked_array([chunk.field("path") for chunk in column.chunks], kind.field("path").type)
    if _holds_bytes(kind):
        raise InputError(
            f"column {name} is binary: it holds bytes, which no result can; remove it, or write images into files and "
            "their paths into the table."
        )
    if pa.types.is_nested(kind):
        return pa.chunked_array([pa.array(map(as_text, column.to_pylist()), pa.string())])
    is_exact = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    keeps_type = is_exact or kind in (pa.float32(), pa.float64())
    return column if keeps_type and kind != pa.uint64() else column.cast(pa.string())


def _unwrap(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values of a column that extends or encodes another type, in that type."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _unwrap(column.cast(kind.storage_type))
    return _unwrap(column.cast(kind.value_type)) if pa.types.is_dictionary(kind) else column


def _is_path_of_image(column: pa.ChunkedArray) -> bool:
    """Whether a column is of images as `datasets` stores them, and none of them is stored in the table itself."""
    import pyarrow as pa

    kind = column.type
    if not pa.types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    return all(chunk.field("bytes").null_count == len(chunk) for chunk in column.chunks)


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    is_binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(test(kind) for test in is_binary) or any(
        _holds_bytes(kind.field(n).type) for n in range(kind.num_fields)
    )
