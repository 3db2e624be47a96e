"""A metric of one's own: one number a row; its mean is what is judged."""


def missed(targets, predictions):
    """Malignant, and not found."""
    return (targets == 0) & (predictions == 1)
