"""Every group and branch is tried on cut copies before it is used."""
