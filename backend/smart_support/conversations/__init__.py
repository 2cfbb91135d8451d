"""Threads, their turns, and how each conversation stands."""
