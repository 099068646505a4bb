"""One file per check; :mod:`spikeproof.verify.checks.registry` lists them."""
