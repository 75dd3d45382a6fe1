"""urbankit: region embeddings from imagery, text, points of interest and region graphs."""
