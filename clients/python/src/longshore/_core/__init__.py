"""What the sync and the asyncio client share: nothing here talks to a server."""
