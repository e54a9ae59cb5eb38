"""Judging drawn scenes by what an eye would mind: speckle, ragged edges, wrong grain, missed captions."""
