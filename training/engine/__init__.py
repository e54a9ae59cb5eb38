"""What every training runs on: loop, optimizers, averages, checkpoints, tracking. It knows no stage."""
