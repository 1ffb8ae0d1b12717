"""Other trainers' reward interfaces, one file each."""
