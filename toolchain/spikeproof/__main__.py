"""Run the command line with ``python -m spikeproof``."""

from spikeproof.cli.app import main

if __name__ == "__main__":
    main()
