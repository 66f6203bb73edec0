"""Before an hour is spent: everything that can fail for a user's reasons is tried once, in seconds."""
