"""The number formats that layers compute with."""
