"""Trained models for urbankit."""
