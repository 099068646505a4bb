"""Show what a conversion did to a network: exactness, errors, perturbations, verdicts."""

from spikeproof.callable_package import make_callable

make_callable(__name__)
