"""Quantise the checkpoint a second time and compare every integer of the bundle with it (V2).

Nothing is taken from the conversion's own rounding code. From the folded checkpoint and the
declared options follows, at the bundle's scale of a layer, what each weight, bias, threshold,
decay, table entry and host number was rounded from, and how far rounding may have moved it. The
scale itself must put the threshold on its mantissa and lie where the conversion may choose it
(:mod:`spikeproof.verify.scales`). Source: docs/semantics.md; docs/guarantees.md, "Re-quantisation".
"""
