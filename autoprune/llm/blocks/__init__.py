"""The decoder blocks of a language model: found in any architecture, and run one at a time."""
