"""The adapted transformer: names, sizes, adapters, widening and merging."""
