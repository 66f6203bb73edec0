"""Static widths and exits in one search: the agent picks both, thresholds are solved for each candidate."""
