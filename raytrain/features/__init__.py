"""What models see: features, targets, preprocessing and windows."""
