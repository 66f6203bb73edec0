"""What a target is: the contract, its options, single layers, measurements."""
