"""The one error a user of the trainer sees."""


class TrainingError(ValueError):
    """Something the user can put right, told in one sentence: what is wrong, with which input, what to do."""


def sentence_of(error: Exception) -> str:
    """What a user is told of an error: of the system's own, with the file it is about."""
    if isinstance(error, OSError) and error.errno is not None:
        name = error.filename or "A file"
        return f"{name} could not be read or written: {error.strerror or error}."
    return str(error)
