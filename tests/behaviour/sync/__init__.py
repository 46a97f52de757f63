"""Sync callers: threads, processes, notebooks, and programs that end."""
