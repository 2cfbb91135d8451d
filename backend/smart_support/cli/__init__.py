"""The command line."""

import gc


def main() -> None:
    """Run the command that was typed."""
    # What is loaded stays until the end. By default the collector looks through all of it again
    # and again while it grows, which takes a fifth of the time of loading, and finds nothing.
    gc.disable()
    from smart_support.cli.commands import cli

    gc.freeze()
    gc.enable()
    cli()
