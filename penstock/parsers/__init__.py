"""Tool calls and reasoning out of a model's text: streams and whole answers by the same state machines."""
