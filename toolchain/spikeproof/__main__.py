"""Run the command line: the command ``spikeproof``, and ``python -m spikeproof``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it with one line from the first import on."""
    try:
        from spikeproof.cli.app import main as start

        start()
    except KeyboardInterrupt:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends now; a second one changes nothing
        from spikeproof.cli.app import report_interruption

        sys.exit(report_interruption(sys.argv[1:]))


if __name__ == "__main__":
    main()
