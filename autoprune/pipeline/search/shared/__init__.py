"""A search in a storage that workers of other processes and machines join."""
