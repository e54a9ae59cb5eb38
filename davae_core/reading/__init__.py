"""What files and settings say, checked before anything believes it."""
