"""Show what a conversion did to a network: exactness, errors, perturbations, verdicts."""
