"""`python -m training sample`: many pictures of a class-conditional model into a folder, on one GPU or many."""
