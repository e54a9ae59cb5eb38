"""What pictures, codecs and adapters are worth in the field's own numbers (`davae evaluate`)."""
