"""Forms of reasoning, one file each; `base.py` is what they share."""
