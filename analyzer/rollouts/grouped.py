"""grouped: a parquet file that is given tables of any size and writes row groups of some megabytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# By bytes and not by rows, for responses have 100 to 100,000 characters; the bytes decide alike whatever the batches
# are.
GROUP_BYTES = 16 << 20
GROUP_ROWS = 1 << 17


class GroupedParquet:
    """A parquet file to write, with checksums. Row groups depend on the rows alone, not on how they are handed over."""

    def __init__(self, path: str, schema: pa.Schema, **options: Any) -> None:
        """`path`: of a local file that is not there yet; `options`: further ones of pyarrow's ParquetWriter."""
        import pyarrow.parquet as pq

        self._held: list[pa.Table] = []
        self._bytes = 0
        self._rows = 0
        self._writer: pq.ParquetWriter = pq.ParquetWriter(
            path, schema, compression="zstd", write_page_checksum=True, **options
        )

    def add(self, table: pa.Table) -> None:
        """Append rows, whose schema is that of the file. Raises what arrow makes of a full disk."""
        if table.num_rows == 0:
            return
        self._held.append(table)
        self._bytes += table.nbytes
        self._rows += table.num_rows
        if self._bytes >= GROUP_BYTES or self._rows >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is held, and the footer. Raises the first error; the file is closed then, too."""
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._held:
            held, self._held, self._bytes, self._rows = self._held, [], 0, 0
            table = pa.concat_tables(held)
            self._writer.write_table(table, row_group_size=table.num_rows)
