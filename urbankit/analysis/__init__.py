"""What embeddings say of regions: which are alike, and which groups they form."""
