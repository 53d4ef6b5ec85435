"""Training of the bundled model: the network, its optimizer, its batches and its export.

Used by `scripts/train_tiny.py` only; nothing in the `penstock` package imports it.
"""
