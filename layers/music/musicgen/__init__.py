"""The neural networks, each readable from top to bottom; `interfaces` says what generators ask of them."""
