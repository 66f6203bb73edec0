"""How the places of weights are written: encodings that encode and decode real masks. Bits are the length of that."""
