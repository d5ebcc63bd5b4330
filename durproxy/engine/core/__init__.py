"""What decides: pure, synchronous, standard library only."""
