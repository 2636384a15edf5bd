"""The client for threads, made of ../_async by scripts/generate but for channel.py and runtime.py."""
