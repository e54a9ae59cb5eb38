"""Damaged and hostile files, made of whole ones: the same for the same random numbers, wherever they are asked for."""
