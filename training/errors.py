"""The one error a user of the trainer sees."""


class TrainingError(ValueError):
    """Something the user can put right, told in one sentence: what is wrong, with which input, what to do."""
