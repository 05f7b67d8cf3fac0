"""The neural networks, each readable from top to bottom; `interfaces` says what the generators ask of them."""
