"""The command `davae`."""
