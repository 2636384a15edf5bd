"""The asyncio client. scripts/generate makes ../_sync of it; channel.py and runtime.py alone are written for both."""
