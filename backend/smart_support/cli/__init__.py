"""The command line."""

from smart_support.cli.commands import main

__all__ = ["main"]
