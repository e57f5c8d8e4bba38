"""Where volumes come from: sources that list, open and make them."""
