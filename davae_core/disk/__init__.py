"""What has to hold on a disk: nothing half-written stays, what is written is there, one writer at a time."""
