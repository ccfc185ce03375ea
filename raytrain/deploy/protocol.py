"""HTTP/1.1 that lets nobody hold a connection with a request that never comes."""

import asyncio
from typing import Any


def bounded_protocol(head_s: float) -> type[asyncio.Protocol]:
    """uvicorn's own protocol, which closes idle connections only once they had a first answer.

    Args:
        head_s: seconds for the head of a request, counted from the connection or the first byte after an answer.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class BoundedProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._arm()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._answers():
                self._disarm()
            elif self.timeout_keep_alive_task is None:  # the beginning of a request, and no answer before it
                self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def _answers(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _arm(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(head_s, self._give_up)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._deadline = None
            if not self._answers():
                self.transport.close()

    return BoundedProtocol
