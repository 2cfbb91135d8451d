"""Secrets at rest, and the record of who did what."""
