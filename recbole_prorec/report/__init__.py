"""What a trained model learned, as one page: prorec report."""
