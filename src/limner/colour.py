"""What colours weigh in a grey picture."""

LUMA = (0.299, 0.587, 0.114)
"""Of R, G and B in luma (ITU-R BT.601), gamma-coded."""
