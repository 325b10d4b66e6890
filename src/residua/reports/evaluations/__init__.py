"""Evaluations of a trained network as tables and charts: for the terminal and for reports."""
