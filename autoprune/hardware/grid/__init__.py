"""Which widths run fast on a target."""
