"""Random networks that every engine must agree on: draw, compare, shrink, reproduce."""
