"""Steps from the trained network to the chip network, each with a declared, checked relation."""

from spikeproof.callable_package import make_callable

make_callable(__name__)
