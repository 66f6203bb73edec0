"""What this machine can report about itself: a value with its source, or the reason for none."""
