"""The command line: one verb per intention, one file per verb."""
