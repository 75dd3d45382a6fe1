"""Transfer between cities: weights and labels of a run on one city for a run on another."""
