"""The command line."""

import gc
import warnings

from smart_support.cli.loading import OPTIONAL, built_when_used, gather_when_asked, left_out


def main() -> None:
    """Run the command that was typed."""
    # What is loaded stays until the end. By default the collector looks through all of it again
    # and again while it grows, which takes a fifth of the time of loading, and finds nothing.
    gc.disable()
    gather_when_asked()
    with left_out("cryptography"):  # 1.8 MiB of kinds of keys; our tokens are signed by HMAC
        import jwt  # noqa: F401
    warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
    with left_out(*OPTIONAL), built_when_used():
        from smart_support.cli.commands import cli

    gc.freeze()
    gc.enable()
    cli()
