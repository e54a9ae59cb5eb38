"""`python -m training mini`: the bundled miniature from nothing."""
