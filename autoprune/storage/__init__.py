"""Where processes on several machines meet: a log of facts behind one contract, a store a file."""
