"""Files for others: the folder that `davae card` lays out, and how `davae fetch` takes them from one."""
