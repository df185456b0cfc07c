"""Figures of the documents."""
