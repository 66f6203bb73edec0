"""The data sets that ship, a file each."""
