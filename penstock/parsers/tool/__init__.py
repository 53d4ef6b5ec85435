"""Forms of tool calls, one file each; `base.py` is what they share."""
