"""A tiny network with a tokenizer, and what transformers and lm_eval say of it."""
