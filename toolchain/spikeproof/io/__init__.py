"""Files: atomic writes, one container format, checkpoints, bundles, data."""
