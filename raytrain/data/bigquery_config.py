"""What a person says about a BigQuery table."""

import re

from pydantic import Field, field_validator

from raytrain.config import Section

TABLE = re.compile(r"[A-Za-z0-9_-]{1,63}\.\w+\.\w+", re.ASCII)
COLUMN = re.compile(r"[A-Za-z_]\w{0,299}", re.ASCII)


class BigQueryConfig(Section):
    """A BigQuery table, read with the credentials of the machine and read-only scopes."""

    table: str | None = None
    """`project.dataset.table`."""
    project: str | None = None
    """Project that pays for the queries; the table's own when not given."""
    location: str | None = None
    """Where the data lives, such as `EU`; found by BigQuery when not given."""
    maximum_bytes_billed: int = Field(20 * 2**30, gt=0)
    """A query that would read more bytes is refused before it costs anything."""
    timeout_s: float = Field(900.0, gt=0)
    """Seconds that a request may take with all its repetitions."""
    api_endpoint: str | None = None
    """A stand-in server to ask instead of Google; it gets no credentials."""

    @field_validator("table")
    @classmethod
    def _is_a_table_name(cls, name: str | None) -> str | None:
        if name is not None and not TABLE.fullmatch(name):
            raise ValueError("must be `project.dataset.table` of letters, digits, _ (and - in the project)")
        return name
