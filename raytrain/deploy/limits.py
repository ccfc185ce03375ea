"""What the service refuses before it costs anything."""

from pydantic import Field

from raytrain.config import Section

MIB = 2**20


class ServiceLimits(Section):
    """Bounds of one service process. It forecasts one request at a time: more at once would only slow each other."""

    max_body_mib: float = Field(32.0, gt=0)
    """A longer body is refused (413) as soon as that is known: from its header, or once so much has arrived."""
    max_rows: int = Field(200_000, ge=1)
    """A table with more rows is refused (413)."""
    max_requests: int = Field(8, ge=1)
    """Requests that may be received or wait at once; more are told to come back (503)."""
    max_connections: int = Field(64, ge=1)
    """Open connections; more are told to come back (503)."""
    head_s: float = Field(10.0, gt=0)
    """Seconds for the head of a request, or the connection is closed: nobody may hold one by sending nothing."""
    body_s: float = Field(60.0, gt=0)
    """Seconds for its body (408)."""
    forecast_s: float = Field(120.0, gt=0)
    """Seconds that a request may wait for its forecast (504)."""
    idle_s: float = Field(15.0, gt=0)
    """Seconds that a connection is kept for the next request."""
    drain_s: float = Field(10.0, gt=0)
    """Seconds that requests under way are given when the service is told to stop."""

    @property
    def max_body_bytes(self) -> int:
        """The same in bytes."""
        return int(self.max_body_mib * MIB)
