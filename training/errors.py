"""The one error a user of the trainer sees."""

from collections.abc import Iterable

from davae_core.reading.plain_text import SentenceError
from davae_core.reading.unforeseen import (
    gpu_is_full,
    is_sentence,
    memory_is_full,
    unforeseen_sentence,
)


class TrainingError(SentenceError):
    """Something the user can put right, told in one sentence: what is wrong, with which input, what to do."""


def sentence_of(error: Exception, files: Iterable[object] = ()) -> str:
    """What a user is told of an error: of the system's own, with the file it is about, of any other with `files`."""
    if gpu_is_full(error):
        return (
            "The GPU has too little free memory: lower train.batch_size and raise train.accumulate as much, raise "
            "train.recomputed_blocks (of a codec: switch on train.gradient_checkpointing) or set optimizer.kind to "
            "adamw8bit; while caching, lower work.batch_size."
        )
    if memory_is_full(error):
        return "This computer has too little free memory: close other programs, or take smaller batches."
    if isinstance(error, OSError) and error.errno is not None:
        name = error.filename or "A file"
        return f"{name} could not be read or written: {error.strerror or error}."
    if is_sentence(error):
        return str(error)
    return unforeseen_sentence(error, files)
