"""Applications that stand beside the shop and use nothing of it: only the engine and the local servers."""
