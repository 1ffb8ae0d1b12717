"""HTTP: who may ask, how much, and the bytes that arrive and leave."""
