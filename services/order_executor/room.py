"""How many plans trade at once."""

import asyncio


class Place:
    """A plan's place in the room, or none: it is taken while the plan trades, and left for others while nothing but
    its bookings and its end should come.
    """

    def __init__(self, room: asyncio.Semaphore, *, is_taken: bool) -> None:
        self._room = room
        self.is_taken = is_taken

    async def take(self) -> None:
        """Wait for a place, unless it is taken already."""
        if not self.is_taken:
            await self._room.acquire()
            self.is_taken = True

    def leave(self) -> None:
        """Let another have it."""
        if self.is_taken:
            self.is_taken = False
            self._room.release()
