"""The parts of linear_models.py."""
