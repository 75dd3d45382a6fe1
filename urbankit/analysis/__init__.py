"""Analyses of embeddings: nearest regions, clusters, anchors, spatial autocorrelation."""
