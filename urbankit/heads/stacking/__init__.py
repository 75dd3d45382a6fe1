"""The parts of the head `stack`: its members, inner folds and weights."""
