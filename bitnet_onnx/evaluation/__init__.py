"""How good a model is: perplexity, accuracy, and what an option of the export costs."""
