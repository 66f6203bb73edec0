"""What a network is called with."""
