"""The search: episodes, finalists, sessions on the target."""
