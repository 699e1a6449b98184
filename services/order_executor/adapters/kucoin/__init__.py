"""KuCoin spot, HF trading account."""
